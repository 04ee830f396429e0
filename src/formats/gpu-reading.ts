import type { RecordQuality } from '../core/quality.ts';
import type { LeewayRecord, RecordOf } from '../core/records.ts';
import type { Attributes } from './decode-result.ts';

type NumberField = Exclude<
  {
    [Field in keyof RecordOf<'gpu'>]-?: RecordOf<'gpu'>[Field] extends number | undefined ? Field : never;
  }[keyof RecordOf<'gpu'>],
  'at_ms' | 'gpu'
>;

type Source = {
  readonly field: NumberField;
  readonly metric: string;
  readonly where: Attributes;
  readonly divisor: number;
};

function source(field: NumberField, metric: string, where: Attributes = {}, divisor = 1): Source {
  return { field, metric, where, divisor };
}

const SM = { clock_domain: 'sm' };
const SENT = { 'network.io.direction': 'transmit' };
const RECEIVED = { 'network.io.direction': 'receive' };

/** Record fields by metric of core/catalog.ts; of two sources of one field the first that has a value counts. */
const SOURCES: readonly Source[] = [
  source('utilization', 'hw.gpu.utilization', { 'hw.gpu.task': 'general' }),
  source('sm_active', 'hw.gpu.sm.utilization'),
  source('memory_used_bytes', 'hw.gpu.memory.usage'),
  source('memory_total_bytes', 'hw.gpu.memory.limit'),
  source('sm_clock_mhz', 'hw.gpu.speed', SM, 1e6),
  source('sm_clock_max_mhz', 'hw.gpu.speed.limit', { ...SM, 'hw.limit_type': 'max' }, 1e6),
  source('temperature_c', 'hw.temperature', { 'hw.sensor_location': 'gpu' }),
  source('power_w', 'hw.power'),
  source('energy_j', 'hw.energy'),
  source('ecc_uncorrected', 'hw.errors', { 'error.type': 'uncorrected', 'ecc.scope': 'volatile' }),
  source('xid', 'hw.gpu.xid.last'),
  source('pcie_tx_bytes', 'hw.gpu.io', SENT),
  source('pcie_rx_bytes', 'hw.gpu.io', RECEIVED),
  source('pcie_generation', 'hw.gpu.pcie.generation', { scope: 'current' }),
  source('pcie_width', 'hw.gpu.pcie.width', { scope: 'current' }),
  source('nvlink_tx_bytes', 'hw.gpu.interconnect.io', SENT),
  source('nvlink_rx_bytes', 'hw.gpu.interconnect.io', RECEIVED),
];
const SOURCES_BY_METRIC = Map.groupBy(SOURCES, ({ metric }) => metric);
/** The reasons that events.md names. */
const RECORD_THROTTLE: ReadonlySet<string> = new Set([
  'sw_power_cap',
  'hw_thermal',
  'sw_thermal',
  'hw_slowdown',
  'power_brake',
]);

/** Where a `gpu` record keeps a value; `instance` only says that the device is cut into MIG instances. */
export type GpuPlace =
  | { readonly kind: 'field'; readonly field: NumberField; readonly divisor: number }
  | { readonly kind: 'throttle'; readonly reason: string }
  | { readonly kind: 'mask' }
  | { readonly kind: 'instance' };

/** The place of a metric of core/catalog.ts with these attributes in the `gpu` record; null: it has none. */
export function gpuPlace(metric: string, attributes: Attributes): GpuPlace | null {
  if (attributes['mig.gi'] !== undefined) return { kind: 'instance' };
  if (metric === 'hw.gpu.throttle.mask') return { kind: 'mask' };
  if (metric === 'hw.gpu.throttle.active') return { kind: 'throttle', reason: attributes['reason'] ?? '' };
  if (attributes['link'] !== undefined) return null; // the record holds the sum of a device's links
  const found = SOURCES_BY_METRIC.get(metric)?.find(({ where }) =>
    Object.entries(where).every(([name, value]) => attributes[name] === value),
  );
  return found === undefined ? null : { kind: 'field', field: found.field, divisor: found.divisor };
}

/** Who a device is: the exporter's index, the vendor's id, the machine; null where nothing says it. */
export type GpuName = { readonly index: string | null; readonly id: string | null; readonly host: string | null };

/** The device that a value with these attributes belongs to, or null when they name none. */
export function gpuName(attributes: Attributes): GpuName | null {
  const of = (name: string): string | null => attributes[name]?.slice(0, NAME_MAX) ?? null;
  const [index, id] = [of('gpu'), of('hw.id')];
  return index === null && id === null ? null : { index, id, host: of('host.name') };
}

/** Names of records are at most this long (core/records.ts). */
const NAME_MAX = 512;

/** A text that is the same for the same device, and only for it. */
export function gpuKey({ host, id, index }: GpuName): string {
  return `${host ?? ''}|${id ?? index ?? ''}`;
}

/** How a reading is stamped: its time (Unix ms) and the name of the machine; `fallback_node` where the source says none. */
export type GpuStamp = { readonly at_ms: number; readonly node: string | null; readonly fallback_node: string };

/** One device as its values come, at one time. */
export class GpuReading {
  readonly name: GpuName;
  readonly #values = new Map<NumberField, number>();
  readonly #quality = new Map<string, RecordQuality>();
  readonly #throttle = new Map<string, boolean>();
  #at_ms: number | null = null;
  #hasMig = false;

  constructor(name: GpuName) {
    this.name = name;
  }

  /** A value in the catalog's unit; `at_ms` where the source stamps it. The first of two counts. */
  value(place: GpuPlace, value: number, at_ms?: number): void {
    if (place.kind === 'instance') this.#hasMig = true;
    else if (place.kind === 'throttle') {
      if (RECORD_THROTTLE.has(place.reason)) this.#throttle.set(place.reason, value === 1);
    } else if (place.kind === 'field' && place.field === 'xid' && !Number.isInteger(value)) this.absent(place, 'lost');
    else if (place.kind === 'field' && !this.#values.has(place.field)) {
      // shared GPUs repeat the device's value for each pod
      this.#values.set(place.field, value / place.divisor);
      this.#quality.delete(place.field);
      if (at_ms !== undefined) this.#at_ms = Math.max(this.#at_ms ?? 0, at_ms);
    }
  }

  /** A value that is not there, or does not count, and why. */
  absent(place: GpuPlace, reason: RecordQuality): void {
    if (place.kind === 'instance') this.#hasMig = true;
    else if (place.kind === 'mask') this.#quality.set('throttle', reason);
    else if (place.kind === 'field' && !this.#values.has(place.field) && !this.#quality.has(place.field))
      this.#quality.set(place.field, reason);
  }

  /** Whether nothing that `other` says is said here too: two halves of one reading. */
  isApartFrom(other: GpuReading): boolean {
    const mine = new Set<string>([...this.#values.keys(), ...this.#quality.keys(), ...this.#throttle.keys()]);
    const theirs = [...other.#values.keys(), ...other.#quality.keys(), ...other.#throttle.keys()];
    return theirs.every((field) => !mine.has(field));
  }

  /** Takes over what another reading of the same device says. */
  merge(other: GpuReading): void {
    for (const [field, value] of other.#values) this.#values.set(field, value);
    for (const [field, reason] of other.#quality) this.#quality.set(field, reason);
    for (const [reason, active] of other.#throttle) this.#throttle.set(reason, active);
    this.#hasMig ||= other.#hasMig;
  }

  /** The record, in a list; empty when there is nothing to say. */
  record({ at_ms, node, fallback_node }: GpuStamp): LeewayRecord[] {
    if (this.#values.size === 0 && this.#quality.size === 0 && this.#throttle.size === 0) return [];
    if (this.#hasMig)
      for (const field of ['utilization', 'sm_active'] as const)
        if (!this.#values.has(field)) this.#quality.set(field, 'mig_unsupported');
    if (this.#values.get('xid') === 0) this.#values.delete('xid'); // 0 = there was none
    const { index, id, host } = this.name;
    const number = index !== null && /^\d{1,6}$/.test(index) ? Number(index) : index;
    return [
      {
        type: 'gpu',
        node: node ?? host ?? fallback_node,
        gpu: number ?? id ?? 'unknown',
        at_ms: this.#at_ms ?? at_ms,
        ...Object.fromEntries(this.#values),
        ...(this.#throttle.size > 0
          ? { throttle: [...this.#throttle].flatMap(([reason, on]) => (on ? [reason] : [])) }
          : {}),
        ...(this.#quality.size > 0 ? { quality: Object.fromEntries(this.#quality) } : {}),
      },
    ];
  }
}
