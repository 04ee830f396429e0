import { type RecordQuality, recordQuality } from '../core/quality.ts';
import type { LeewayRecord } from '../core/records.ts';
import { decodeDcgm } from './dcgm.ts';
import type { Absent, Sample } from './decode-result.ts';
import { gpuKey, type GpuName, gpuName, gpuPlace, GpuReading, type GpuStamp } from './gpu-reading.ts';
import type { CpuTimes } from './proc-stat.ts';
import type { ScrapedServing } from './scraped-serving.ts';

/** What one scrape of an exporter says in records. */
export type Exported = {
  /** One `gpu` record a device, in the order of first mention. */
  readonly gpus: readonly LeewayRecord[];
  /** What a node exporter says of its machine; null when it is none. Shares need the reading before as well. */
  readonly host: ExportedHost | null;
  /** Windows of serving that this scrape closed. */
  readonly serving: readonly LeewayRecord[];
  /** Samples of families that have no record. */
  readonly unmapped: number;
};

export type ExportedHost = {
  readonly node: string | null;
  /** Seconds by mode, summed over the cores, in hundredths (the kernel's resolution). */
  readonly cpu: CpuTimes;
  readonly memory_used_bytes: number | null;
};

/**
 * Prometheus text as records of events.md: dcgm-exporter's families as `gpu`, node-exporter's CPU and memory as the
 * parts of `host`. Other families are only counted: there is no record that holds any metric. Rates of NVLink and PCIe
 * have no field (the record holds counters), MIG instances have none either: with them a whole GPU's utilization is
 * `mig_unsupported`. What contradicts itself or is out of range is `lost`. Serving metrics are counted in `serving`, which
 * the caller keeps from scrape to scrape; its windows close one scrape later. Throws LW-INPUT when no line can be read.
 */
export function exporterRecords(text: string, scrape: GpuStamp, serving: ScrapedServing | null = null): Exported {
  const { samples, absent } = decodeDcgm(text);
  const gpus = new Map<string, GpuReading>();
  const host = new HostReading();
  let unmapped = 0;
  for (const reading of [...samples, ...absent]) {
    const name = gpuName(reading.attributes);
    const isMapped =
      (name === null ? host.take(reading) : take(readingOf(gpus, name), reading, scrape.at_ms)) ||
      (serving !== null && takeServing(serving, reading, scrape.at_ms));
    if (!isMapped) unmapped++;
  }
  return {
    gpus: [...gpus.values()].flatMap((gpu) => gpu.record(scrape)),
    host: host.result(),
    serving: serving?.take() ?? [],
    unmapped,
  };
}

/** A value older than this against the scrape is stale: Prometheus's look-back of five minutes. */
const STALE_AFTER_MS = 300_000;
/** GPUs of one exporter: a node has 16 at most, a gateway of many nodes some hundreds. */
const GPUS_MAX = 4_096;

type Reading = Sample | Absent;

function readingOf(gpus: Map<string, GpuReading>, name: GpuName): GpuReading {
  const key = gpuKey(name);
  const known = gpus.get(key);
  if (known !== undefined) return known;
  const gpu = new GpuReading(name);
  if (gpus.size < GPUS_MAX) gpus.set(key, gpu);
  return gpu;
}

/** Whether the record has a place for the reading. */
function take(gpu: GpuReading, reading: Reading, now_ms: number): boolean {
  const place = gpuPlace(reading.metric, reading.attributes);
  if (place === null) return false;
  if ('reason' in reading) gpu.absent(place, recordQuality(reading.reason));
  else {
    const reason = place.kind === 'field' ? doubt(reading, now_ms) : null;
    if (reason !== null) gpu.absent(place, reason);
    else gpu.value(place, Number(reading.value), reading.at_ms);
  }
  return place.kind !== 'instance';
}

function takeServing(serving: ScrapedServing, reading: Reading, now_ms: number): boolean {
  if ('reason' in reading) return false;
  const { metric, attributes, value, at_ms = now_ms } = reading;
  return serving.put(metric, attributes, { at_ms, value: Number(value) });
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
