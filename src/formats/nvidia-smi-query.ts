import { type AbsentReason, type RecordQuality, recordQuality } from '../core/quality.ts';
import { ok, type Outcome, reject } from '../core/outcome.ts';
import { quoted } from './decode-result.ts';
import { headerColumns, rowCells } from './nvidia-smi-csv.ts';
import { canonicalField, fieldRule, readField, THROTTLE_REASONS } from './nvidia-smi-fields.ts';
import { absentReason, scaled } from './quantity.ts';

/**
 * The fields that the collector asks nvidia-smi for, in today's spelling. `power.draw` is the 1 s average on Ampere
 * and later. Send `queryFields(help)` instead where the driver is older: one unknown name fails the whole query.
 */
export const QUERY_GPU_FIELDS = [
  'timestamp',
  'index',
  'uuid',
  'name',
  'pci.bus_id',
  'driver_version',
  'utilization.gpu',
  'memory.used',
  'memory.total',
  'clocks.current.sm',
  'clocks.max.sm',
  'temperature.gpu',
  'power.draw',
  'power.draw.average',
  'power.draw.instant',
  'clocks_event_reasons.sw_power_cap',
  'clocks_event_reasons.hw_slowdown',
  'clocks_event_reasons.hw_thermal_slowdown',
  'clocks_event_reasons.hw_power_brake_slowdown',
  'clocks_event_reasons.sw_thermal_slowdown',
  'ecc.errors.uncorrected.volatile.total',
  'pcie.link.gen.current',
  'pcie.link.width.current',
  'mig.mode.current',
] as const;

/**
 * Of QUERY_GPU_FIELDS those that this driver knows, each in the spelling of its own `--help-query-gpu` text
 * (`clocks_throttle_reasons.*` on drivers before about 530). O(length of the text).
 */
export function queryFields(help: string): readonly string[] {
  const spellings = new Map<string, string>();
  for (const match of help.matchAll(/"([A-Za-z0-9_.]{1,100})"/g)) {
    const name = match[1] ?? '';
    const canonical = canonicalField(name);
    if (!spellings.has(canonical)) spellings.set(canonical, name);
  }
  return QUERY_GPU_FIELDS.flatMap((field) => spellings.get(field) ?? []);
}

/** The part of the `gpu` record (events.md) that nvidia-smi can say; absent fields are left out, the reason in `quality`. */
export type GpuFields = {
  utilization?: number;
  memory_used_bytes?: number;
  memory_total_bytes?: number;
  sm_clock_mhz?: number;
  sm_clock_max_mhz?: number;
  temperature_c?: number;
  power_w?: number;
  ecc_uncorrected?: number;
  pcie_generation?: number;
  pcie_width?: number;
  throttle?: readonly string[];
};

export type GpuReading = {
  /** Index of the GPU in this boot; null when not asked for or absent. */
  readonly gpu: number | null;
  readonly uuid: string | null;
  readonly name: string | null;
  readonly pci_bus_id: string | null;
  readonly driver_version: string | null;
  readonly mig_enabled: boolean;
  readonly fields: Readonly<GpuFields>;
  readonly quality: Readonly<Record<string, RecordQuality>>;
};

type NumberField = Exclude<keyof GpuFields, 'throttle'>;

/** Record field, its nvidia-smi fields in order of preference, and the power of ten from base unit to the record's. */
const SOURCES: readonly (readonly [NumberField, readonly string[], number])[] = [
  ['utilization', ['utilization.gpu'], 0],
  ['memory_used_bytes', ['memory.used'], 0],
  ['memory_total_bytes', ['memory.total'], 0],
  ['sm_clock_mhz', ['clocks.current.sm'], -6],
  ['sm_clock_max_mhz', ['clocks.max.sm'], -6],
  ['temperature_c', ['temperature.gpu'], 0],
  ['power_w', ['power.draw', 'power.draw.average', 'power.draw.instant'], 0],
  ['ecc_uncorrected', ['ecc.errors.uncorrected.volatile.total'], 0],
  ['pcie_generation', ['pcie.link.gen.current', 'pcie.link.gen.gpucurrent'], 0],
  ['pcie_width', ['pcie.link.width.current'], 0],
];

/** The reasons that events.md names. */
const RECORD_THROTTLE: readonly string[] = ['sw_power_cap', 'hw_thermal', 'sw_thermal', 'hw_slowdown', 'power_brake'];

/**
 * One row of `--query-gpu`. `fields` = the names asked for, or the cells of the CSV header (units in brackets kept).
 * With `noheader,nounits` values are in the units the tool documents (MiB, %, MHz, W, C).
 * Rejects with LW-DECODE-COLUMNS when cells and names differ in number, LW-DECODE-SOURCE-ERROR for an error text.
 */
export function parseQueryGpuCsvLine(fields: readonly string[], line: string): Outcome<GpuReading> {
  const columns = headerColumns(fields.join(','));
  if (columns === null) return reject('LW-DECODE-UNKNOWN-FIELD', 'no field name of nvidia-smi --query-gpu');
  const cells = rowCells(line.trimEnd(), columns.length);
  if (cells === null) {
    const code = columns.length > 1 && !line.includes(',') ? 'LW-DECODE-SOURCE-ERROR' : 'LW-DECODE-COLUMNS';
    return reject(code, `${quoted(line)} under ${columns.length} columns`);
  }
  const row = new Map(columns.map(({ field, unit }, at): [string, Cell] => [field, { text: cells[at] ?? '', unit }]));
  const quality: Record<string, RecordQuality> = {};
  const mig_enabled = row.get('mig.mode.current')?.text.toLowerCase() === 'enabled';
  return ok({
    gpu: integer(row.get('index')),
    uuid: text(row.get('uuid')),
    name: text(row.get('name')),
    pci_bus_id: text(row.get('pci.bus_id')),
    driver_version: text(row.get('driver_version')),
    mig_enabled,
    fields: recordFields(row, quality, mig_enabled),
    quality,
  });
}

type Cell = { readonly text: string; readonly unit: string | null };
type Row = ReadonlyMap<string, Cell>;

function text(cell: Cell | undefined): string | null {
  return cell === undefined || absentReason(cell.text) !== null ? null : cell.text;
}

function integer(cell: Cell | undefined): number | null {
  return cell !== undefined && /^\d{1,6}$/.test(cell.text) ? Number(cell.text) : null;
}

function recordFields(row: Row, quality: Record<string, RecordQuality>, mig: boolean): GpuFields {
  const record: GpuFields = {};
  for (const [name, sources, exponent] of SOURCES) {
    const asked = sources.filter((source) => row.has(source));
    if (asked.length === 0) continue;
    const readings = asked.map((source) => readNumber(row, source, mig));
    const found = readings.find((reading) => typeof reading === 'number');
    const inside =
      found !== undefined &&
      found >= (name === 'temperature_c' ? -273.15 : 0) &&
      (name !== 'utilization' || found <= 1);
    if (found !== undefined && inside) record[name] = shifted(found, exponent);
    else quality[name] = found === undefined ? recordQuality(firstReason(readings)) : 'lost';
  }
  addThrottle(row, record, quality, mig);
  return record;
}

function firstReason(readings: readonly (number | AbsentReason)[]): AbsentReason {
  const reason = readings[0];
  return typeof reason === 'string' ? reason : 'lost';
}

function shifted(value: number, exponent: number): number {
  return exponent === 0 ? value : Number(scaled(String(value), exponent === -6 ? 'us' : ''));
}

function readNumber(row: Row, field: string, mig: boolean): number | AbsentReason {
  const rule = fieldRule(field);
  const cell = row.get(field);
  if (rule === null || cell === undefined) return 'unsupported';
  const reading = readField(rule, cell.text, cell.unit);
  if (reading.kind === 'value') return Number(reading.value);
  return mig && rule.mig && reading.reason === 'unsupported' ? 'mig_unsupported' : reading.reason;
}

/** The reasons that hold the clocks now. With one of them unreadable the list would be a guess, so it is left out. */
function addThrottle(row: Row, record: GpuFields, quality: Record<string, RecordQuality>, mig: boolean): void {
  const active: string[] = [];
  let asked = 0;
  for (const [field, reason] of THROTTLE_REASONS) {
    if (!RECORD_THROTTLE.includes(reason) || !row.has(`clocks_event_reasons.${field}`)) continue;
    asked++;
    const reading = readNumber(row, `clocks_event_reasons.${field}`, mig);
    if (typeof reading === 'string') {
      quality['throttle'] = recordQuality(reading);
      return;
    }
    if (reading === 1) active.push(reason);
  }
  if (asked > 0) record.throttle = active;
}
