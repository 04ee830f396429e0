import { type RecordQuality, recordQuality } from '../core/quality.ts';
import type { LeewayRecord, RecordOf } from '../core/records.ts';
import { decodeDcgm } from './dcgm.ts';
import type { Absent, Attributes, Sample } from './decode-result.ts';
import type { CpuTimes } from './proc-stat.ts';

/** What one scrape of an exporter says in records. */
export type Exported = {
  /** One `gpu` record a device, in the order of first mention. */
  readonly gpus: readonly LeewayRecord[];
  /** What a node exporter says of its machine; null when it is none. Shares need the reading before as well. */
  readonly host: ExportedHost | null;
  /** Samples of families that have no record. */
  readonly unmapped: number;
};

export type ExportedHost = {
  readonly node: string | null;
  /** Seconds by mode, summed over the cores, in hundredths (the kernel's resolution). */
  readonly cpu: CpuTimes;
  readonly memory_used_bytes: number | null;
};

/** How the scrape is stamped: its time (Unix ms) and the name of the machine where the text says none. */
export type Scrape = { readonly at_ms: number; readonly node: string | null; readonly fallback_node: string };

/**
 * Prometheus text as records of events.md: dcgm-exporter's families as `gpu`, node-exporter's CPU and memory as the
 * parts of `host`. Other families are only counted: there is no record that holds any metric. Rates of NVLink and PCIe
 * have no field (the record holds counters), MIG instances have none either: with them a whole GPU's utilization is
 * `mig_unsupported`. What contradicts itself or is out of range is `lost`. Throws LW-INPUT when no line can be read.
 */
export function exporterRecords(text: string, scrape: Scrape): Exported {
  const { samples, absent } = decodeDcgm(text);
  const gpus = new Map<string, Gpu>();
  const host = new HostReading();
  let unmapped = 0;
  for (const reading of [...samples, ...absent]) {
    const isMapped = isOfGpu(reading.attributes)
      ? gpuOf(gpus, reading.attributes).take(reading, scrape.at_ms)
      : host.take(reading);
    if (!isMapped) unmapped++;
  }
  return {
    gpus: [...gpus.values()].flatMap((gpu) => gpu.record(scrape)),
    host: host.result(),
    unmapped,
  };
}

/** A value older than this against the scrape is stale: Prometheus's look-back of five minutes. */
const STALE_AFTER_MS = 300_000;
/** GPUs of one exporter: a node has 16 at most, a gateway of many nodes some hundreds. */
const GPUS_MAX = 4_096;

type Reading = Sample | Absent;
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

function isOfGpu(attributes: Attributes): boolean {
  return attributes['gpu'] !== undefined || attributes['hw.id'] !== undefined;
}

function gpuOf(gpus: Map<string, Gpu>, attributes: Attributes): Gpu {
  const key = `${attributes['host.name'] ?? ''}|${attributes['hw.id'] ?? attributes['gpu'] ?? ''}`;
  const known = gpus.get(key);
  if (known !== undefined) return known;
  const gpu = new Gpu(attributes);
  if (gpus.size < GPUS_MAX) gpus.set(key, gpu);
  return gpu;
}

/** One device as its samples come. */
class Gpu {
  readonly #index: string | null;
  readonly #id: string | null;
  readonly #host: string | null;
  readonly #values = new Map<NumberField, number>();
  readonly #quality = new Map<string, RecordQuality>();
  readonly #throttle = new Map<string, boolean>();
  #at_ms: number | null = null;
  #hasMig = false;

  constructor(attributes: Attributes) {
    this.#index = attributes['gpu'] ?? null;
    this.#id = attributes['hw.id'] ?? null;
    this.#host = attributes['host.name'] ?? null;
  }

  /** Whether the record has a place for the reading. */
  take(reading: Reading, now_ms: number): boolean {
    const { metric, attributes } = reading;
    if (attributes['mig.gi'] !== undefined) {
      this.#hasMig = true;
      return false;
    }
    if (metric === 'hw.gpu.throttle.mask') return this.#takeMask(reading);
    if (metric === 'hw.gpu.throttle.active') return this.#takeThrottle(reading);
    const found = SOURCES_BY_METRIC.get(metric)?.find(({ where }) =>
      Object.entries(where).every(([name, value]) => attributes[name] === value),
    );
    if (found === undefined) return false;
    const { field, divisor } = found;
    const reason = 'reason' in reading ? recordQuality(reading.reason) : doubt(reading, now_ms);
    if (reason !== null) {
      if (!this.#values.has(field) && !this.#quality.has(field)) this.#quality.set(field, reason);
      return true;
    }
    if ('reason' in reading || this.#values.has(field)) return true; // shared GPUs repeat the device's value for each pod
    this.#values.set(field, Number(reading.value) / divisor);
    this.#quality.delete(field);
    if (reading.at_ms !== undefined) this.#at_ms = Math.max(this.#at_ms ?? 0, reading.at_ms);
    return true;
  }

  record(scrape: Scrape): LeewayRecord[] {
    if (this.#values.size === 0 && this.#quality.size === 0 && this.#throttle.size === 0) return [];
    if (this.#hasMig)
      for (const field of ['utilization', 'sm_active'] as const)
        if (!this.#values.has(field)) this.#quality.set(field, 'mig_unsupported');
    if (this.#values.get('xid') === 0) this.#values.delete('xid'); // 0 = there was none
    const quality = Object.fromEntries(this.#quality);
    const index = this.#index !== null && /^\d{1,6}$/.test(this.#index) ? Number(this.#index) : this.#index;
    return [
      {
        type: 'gpu',
        node: scrape.node ?? this.#host ?? scrape.fallback_node,
        gpu: index ?? this.#id ?? 'unknown',
        at_ms: this.#at_ms ?? scrape.at_ms,
        ...Object.fromEntries(this.#values),
        ...(this.#throttle.size > 0
          ? { throttle: [...this.#throttle].flatMap(([reason, on]) => (on ? [reason] : [])) }
          : {}),
        ...(this.#quality.size > 0 ? { quality } : {}),
      },
    ];
  }

  #takeMask(reading: Reading): boolean {
    if ('reason' in reading) this.#quality.set('throttle', recordQuality(reading.reason));
    return true;
  }

  #takeThrottle(reading: Reading): boolean {
    const reason = reading.attributes['reason'] ?? '';
    if ('value' in reading && RECORD_THROTTLE.has(reason)) this.#throttle.set(reason, Number(reading.value) === 1);
    return true;
  }
}

/** Why a value does not count, or null. */
function doubt(sample: Sample, now_ms: number): RecordQuality | null {
  if (sample.quality === 'stale' || (sample.at_ms !== undefined && now_ms - sample.at_ms > STALE_AFTER_MS))
    return 'stale';
  return sample.quality === 'suspect' ? 'lost' : null;
}

const MODES: ReadonlySet<string> = new Set(['user', 'nice', 'system', 'idle', 'iowait', 'irq', 'softirq', 'steal']);
const HUNDREDTHS = 100;

/** What a node exporter says; see its collectors cpu, meminfo and uname. */
class HostReading {
  #cpu = { total: 0, idle: 0, iowait: 0 };
  #hasCpu = false;
  #node: string | null = null;
  #memory_total: number | null = null;
  #memory_available: number | null = null;

  take(reading: Reading): boolean {
    if ('reason' in reading) return false;
    const { metric, attributes } = reading;
    const value = Number(reading.value);
    switch (metric) {
      case 'node_cpu_seconds_total':
        return this.#takeCpu(attributes['mode'] ?? '', value);
      case 'node_memory_MemTotal_bytes':
        this.#memory_total = value;
        return true;
      case 'node_memory_MemAvailable_bytes':
        this.#memory_available = value;
        return true;
      case 'node_uname_info':
        this.#node = attributes['nodename'] ?? null;
        return true;
      default:
        return false;
    }
  }

  result(): ExportedHost | null {
    if (!this.#hasCpu) return null;
    const { total, idle, iowait } = this.#cpu;
    const cpu = {
      total: Math.round(total * HUNDREDTHS),
      idle: Math.round(idle * HUNDREDTHS),
      iowait: Math.round(iowait * HUNDREDTHS),
    };
    const [all, free] = [this.#memory_total, this.#memory_available];
    return {
      node: this.#node,
      cpu,
      memory_used_bytes: all === null || free === null || free > all ? null : all - free,
    };
  }

  #takeCpu(mode: string, seconds: number): boolean {
    if (!MODES.has(mode)) return false;
    this.#hasCpu = true;
    this.#cpu.total += seconds;
    if (mode === 'idle') this.#cpu.idle += seconds;
    if (mode === 'iowait') this.#cpu.iowait += seconds;
    return true;
  }
}
