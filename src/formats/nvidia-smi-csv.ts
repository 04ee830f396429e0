import { type Attributes, Decoding, type DecodeResult, notDecodable, quoted } from './decode-result.ts';
import { isErrorLine, linesOf, type Section, sectionsOf, stateOf } from './nvidia-smi-capture.ts';
import { canonicalField, decodeCell, fieldRule, isTextField } from './nvidia-smi-fields.ts';
import { gpusOfCapture, type ListedGpu } from './nvidia-smi-list.ts';
import { decodeProcessRow, type ProcessTable, processTable } from './nvidia-smi-processes.ts';
import { absentReason } from './quantity.ts';

/** A column of --query-gpu: canonical field and the unit its header names in brackets, if any. */
export type Column = { readonly field: string; readonly unit: string | null };

/** Columns: driver 610 has 241. */
const COLUMNS_MAX = 2_000;
/** Characters of a line: 241 columns of at most 100. */
const LINE_CHARACTERS_MAX = 262_144;

/** The columns of a header line; null when no name of it is a field we know, so that it is no header. */
export function headerColumns(line: string): readonly Column[] | null {
  if (line.length > LINE_CHARACTERS_MAX) return null;
  const names = line.split(',', COLUMNS_MAX + 1);
  if (names.length > COLUMNS_MAX) return null;
  const columns = names.map((name): Column => {
    const match = /^([^[\]]*)\[([^[\]]{1,16})\]$/.exec(name.trim());
    return { field: canonicalField(match?.[1] ?? name), unit: match?.[2]?.trim() ?? null };
  });
  return columns.some(isKnown) ? columns : null;
}

function isKnown({ field }: Column): boolean {
  return fieldRule(field) !== null || isTextField(field);
}

/** The columns of a header that stands between rows (files put together, a loop started anew); null for a row. */
function nextHeader(line: string): readonly Column[] | null {
  const first = canonicalField(line.slice(0, Math.max(0, line.indexOf(','))).replace(/ \[.*/, ''));
  if (!isKnown({ field: first, unit: null })) return null;
  const columns = headerColumns(line);
  return columns !== null && columns.filter(isKnown).length * 2 > columns.length ? columns : null;
}

/** The cells of a row, or null when their number is not that of the columns: nvidia-smi quotes nothing. */
export function rowCells(line: string, columns: number): readonly string[] | null {
  if (line.length > LINE_CHARACTERS_MAX) return null;
  const cells = line.split(',', columns + 1).map((cell) => cell.trim());
  return cells.length === columns ? cells : null;
}

/**
 * `nvidia-smi --query-gpu=… --format=csv` with its header (units in the header, in the value, or both; `nounits` too),
 * and the tables of compute, accounted applications and retired pages. In a capture all such sections, with the
 * attribute `state`. Throws LW-INPUT when there is neither a header nor an error text of the tool.
 */
export function decodeNvidiaSmiCsv(text: string): DecodeResult {
  const decoding = new Decoding();
  const listed = gpusOfCapture(text);
  const seen = new Set<string>();
  let understood = false;
  for (const section of sectionsOf(text, /--query-[a-z-]+=/, 'nvidia-smi --query-gpu=… --format=csv'))
    understood = decodeTable(decoding, section, { listed, seen }) || understood;
  if (!understood)
    throw notDecodable('no header of nvidia-smi --format=csv', 'field names in the first line (not noheader)');
  return decoding.result();
}

type Inventory = { readonly listed: readonly ListedGpu[]; readonly seen: Set<string> };

function decodeTable(decoding: Decoding, section: Section, inventory: Inventory): boolean {
  const context = { ...inventory, state: stateOf(section), readings: new Map<string, number>() };
  let table: { columns: readonly Column[]; processes: ProcessTable | null } | null = null;
  let understood = false;
  for (const line of linesOf(section.body)) {
    if (line.trim() === '') continue;
    const header: readonly Column[] | null = table === null ? headerColumns(line) : nextHeader(line);
    if (header !== null) table = { columns: header, processes: processTable(header) };
    else if (table?.processes != null) decodeProcessRow(decoding, table.processes, line, context.state);
    else if (isErrorLine(decoding, line, context.state)) understood = true;
    else if (table !== null) decodeGpuRow(decoding, table.columns, line, context);
    else decoding.warn('LW-DECODE-LINE', quoted(line));
    understood ||= table !== null;
  }
  return understood;
}

type Context = Inventory & { readonly state: Attributes; readonly readings: Map<string, number> };

/** Attributes that tell rows apart: `row` where no field names the GPU, `reading` from its second row on (`-l 1`). */
function placeOf(device: Attributes, readings: Map<string, number>): Attributes {
  const key = JSON.stringify(device);
  const count = readings.get(key) ?? 0;
  readings.set(key, count + 1);
  if (Object.keys(device).length === 0) return { row: String(count) };
  return count === 0 ? {} : { reading: String(count) };
}

function decodeGpuRow(decoding: Decoding, columns: readonly Column[], line: string, context: Context): void {
  const cells = rowCells(line, columns.length);
  if (cells === null) return rejectRow(decoding, columns, line, context.state);
  const row = new Map(columns.map(({ field }, index) => [field, cells[index] ?? '']));
  const owner = deviceOf(row);
  const device = { ...owner, ...placeOf(owner, context.readings), ...context.state };
  const mig = row.get('mig.mode.current')?.toLowerCase() === 'enabled';
  const taken = new Set<string>();
  for (const [index, { field, unit }] of columns.entries()) {
    if (IDENTITY_FIELDS.has(field) && absentReason(cells[index] ?? '') === null) continue;
    if (taken.has(field)) {
      decoding.warn('LW-DECODE-DUPLICATE', `column ${field.slice(0, 100)} occurs twice`);
      continue;
    }
    taken.add(field);
    decodeCell(decoding, { field, text: cells[index] ?? '', unit, device, mig });
  }
  addToInventory(decoding, row, context);
}

const IDENTITY_FIELDS: ReadonlySet<string> = new Set([
  'timestamp',
  'index',
  'uuid',
  'pci.bus_id',
  'name',
  'driver_version',
]);

/** A row that does not fit its header: which cell is whose is unknown, so every field of it is absent. */
function rejectRow(decoding: Decoding, columns: readonly Column[], line: string, state: Attributes): void {
  const found = line.length > LINE_CHARACTERS_MAX ? 'too many' : line.split(',', COLUMNS_MAX).length;
  decoding.warn('LW-DECODE-COLUMNS', `${found} cells under ${columns.length} columns: ${quoted(line)}`);
  for (const { field } of columns) {
    const rule = fieldRule(field);
    if (rule !== null) decoding.absent(rule.metric, { ...state, ...rule.attributes }, 'parse_error');
  }
}

/** Attributes of a GPU from its texts: vendor id, index and PCI address, each only when printed. */
function deviceOf(row: ReadonlyMap<string, string>): Attributes {
  const attributes: Record<string, string> = {};
  const text = (field: string): string | null => {
    const cell = row.get(field) ?? '';
    return absentReason(cell) === null ? cell : null;
  };
  const bus = text('pci.bus_id');
  const id = text('uuid') ?? bus;
  const index = text('index');
  if (id !== null) attributes['hw.id'] = id;
  if (index !== null) attributes['gpu'] = index;
  if (bus !== null) attributes['pci.bus_id'] = bus;
  return attributes;
}

function addToInventory(decoding: Decoding, row: ReadonlyMap<string, string>, inventory: Inventory): void {
  const device = deviceOf(row);
  const key = `${device['hw.id']}|${device['gpu']}|${device['pci.bus_id']}`;
  if (device['hw.id'] === undefined || inventory.seen.has(key)) return;
  inventory.seen.add(key);
  const name = row.get('name') ?? '';
  const driver = row.get('driver_version') ?? '';
  const listed = inventory.listed.find((gpu) => gpu.index === device['gpu'] && gpu.uuid === device['hw.id']);
  decoding.device({
    'hw.id': device['hw.id'],
    name: absentReason(name) === null ? name : null,
    driver: absentReason(driver) === null ? driver : null,
    mig: listed?.mig ?? [],
    ...(device['gpu'] === undefined ? {} : { index: Number(device['gpu']) }),
    ...(device['pci.bus_id'] === undefined ? {} : { 'pci.bus_id': device['pci.bus_id'] }),
  });
}
