import { validateRecord } from '../core/parse-record.ts';
import type { LeewayRecord } from '../core/records.ts';
import type { HistogramRow, SampleRows, SeriesRow } from '../core/samples.ts';
import { mappingOf } from './catalog-mapping.ts';
import { type GpuSeries, MappedGpus } from './mapped-gpu.ts';
import { SampleReader } from './sample-reader.ts';
import { OVERFLOW_LABEL } from './series-labels.ts';
import { servingPart } from './serving-part.ts';
import { type ServingPart, ServingWindows } from './serving-windows.ts';
import { STALE_HIGH, STALE_LOW } from './stale-marker.ts';

/** Series of one tenant that are ours: 2,500 GPUs × 20 fields and the serving beside them, about 500 B each. */
const MAPPED_MAX = 100_000;
/** Windows that wait for the next body that is stored, about 2 kB each. */
const RETURNED_MAX = 10_000;
/** A bit for each of the low 16 bits of an id: what is not ours is told by one look. */
const SIEVE = 65_536;

type Mapped = {
  readonly low: number;
  readonly high: number;
  readonly id: string;
  readonly gpu: GpuSeries | null;
  readonly part: ServingPart | null;
};
type Reading = {
  readonly part: ServingPart;
  readonly at_ms: number;
  readonly values: readonly number[];
  readonly bounds: readonly number[];
};

/** What a body's series come to: `gpu` records, which the same body always gives, and `inference` windows that it closed. */
export type MappedRecords = { readonly gpus: readonly LeewayRecord[]; readonly windows: readonly LeewayRecord[] };

/**
 * One tenant's series that are really ours (formats/catalog-mapping.ts), as records of events.md: `gpu` and `inference`.
 * Whether a series is ours is decided once, when it is new; after that a body costs nothing as long as none is, and one
 * look a sample otherwise. The samples stay series as well: a record holds a fifth of what a sender says, and what was
 * written is what must be read back. A record is a row of its own and counts as no sample.
 */
export class CatalogMapper {
  readonly #source: string;
  readonly #gpus = new MappedGpus();
  readonly #windows = new ServingWindows();
  readonly #by_low = new Map<number, Mapped[]>();
  readonly #by_id = new Map<string, Mapped>();
  #sieve: Uint8Array | null = null;
  #returned: LeewayRecord[] = [];

  /** `source`: the sender's name, for what names no machine. */
  constructor(source: string) {
    this.#source = source;
  }

  /** Series that came for the first time; told again they change nothing. */
  learn(rows: readonly SeriesRow[]): void {
    for (const row of rows) {
      const mapping = mappingOf(row);
      if (mapping === null || row.labels[OVERFLOW_LABEL] !== undefined) continue;
      if (this.#by_id.has(row.id) || this.#by_id.size >= MAPPED_MAX) continue;
      const gpu = mapping.record === 'gpu' ? this.#gpus.series(row, mapping, this.#source) : null;
      const part = mapping.record === 'inference' ? servingPart(this.#windows, row, mapping, this.#source) : null;
      if (gpu !== null || part !== null) this.#add(row.id, { gpu, part });
    }
  }

  /** The records of one body. */
  take(samples: SampleRows, histograms: readonly HistogramRow[]): MappedRecords {
    if (this.#sieve === null) return { gpus: [], windows: [] };
    const windows = this.#returned;
    this.#returned = [];
    const readings = [
      ...this.#readSamples(new SampleReader(samples), this.#sieve),
      ...this.#readHistograms(histograms),
    ];
    for (const { part, at_ms, values, bounds } of readings.toSorted((a, b) => a.at_ms - b.at_ms)) {
      const record = this.#windows.put(part, at_ms, values, bounds);
      if (record !== null && isSound(record)) windows.push(record);
    }
    return { gpus: this.#gpus.take().filter(isSound), windows };
  }

  /** Takes back the windows of a body that was not stored: it may come again, but they close only once. */
  giveBack({ windows }: MappedRecords): void {
    for (const record of windows) if (this.#returned.length < RETURNED_MAX) this.#returned.push(record);
  }

  /** Forgets the series that `isHeld` does not know any more. */
  sweep(isHeld: (low: number, high: number) => boolean): void {
    for (const mapped of this.#by_id.values()) {
      if (isHeld(mapped.low, mapped.high)) continue;
      this.#by_id.delete(mapped.id);
      const others = (this.#by_low.get(mapped.low) ?? []).filter((one) => one !== mapped);
      if (others.length > 0) this.#by_low.set(mapped.low, others);
      else this.#by_low.delete(mapped.low);
      if (mapped.part !== null) this.#windows.forget(mapped.part);
      if (mapped.gpu !== null) this.#gpus.forget(mapped.gpu);
    }
  }

  #add(id: string, of: Pick<Mapped, 'gpu' | 'part'>): void {
    const bits = BigInt(id);
    const low = Number(BigInt.asIntN(32, bits));
    const mapped: Mapped = { ...of, id, low, high: Number(BigInt.asIntN(32, bits >> 32n)) };
    this.#by_id.set(id, mapped);
    this.#by_low.set(low, [...(this.#by_low.get(low) ?? []), mapped]);
    this.#sieve ??= new Uint8Array(SIEVE);
    this.#sieve[low & (SIEVE - 1)] = 1;
  }

  *#readSamples(samples: SampleReader, sieve: Uint8Array): Generator<Reading> {
    const { ids } = samples;
    for (const row of sieved(ids, sieve)) {
      const low = ids[row * 2] as number; // a row of the samples
      const mapped = this.#by_low.get(low)?.find(({ high }) => high === ids[row * 2 + 1]);
      if (mapped === undefined) continue;
      const { gpu, part } = mapped;
      if (isStale(samples, row)) {
        if (part !== null) this.#windows.end(part);
        continue;
      }
      const value = samples.value(row);
      if (gpu !== null) this.#gpus.put(gpu, samples.at_ms(row), value, () => samples.text(row));
      else if (part !== null && part.mapping.part !== 'histogram' && Number.isFinite(value))
        yield { part, at_ms: samples.at_ms(row), values: [value], bounds: [] };
    }
  }

  *#readHistograms(histograms: readonly HistogramRow[]): Generator<Reading> {
    for (const { series, at_ms, count, sum, positive_buckets, custom_values, stale } of histograms) {
      const part = this.#by_id.get(series)?.part ?? null;
      if (part === null) continue;
      if (stale) {
        this.#windows.end(part);
        continue;
      }
      const buckets = custom_values.length > 0 ? positive_buckets : []; // exponential: count and sum, no fixed bounds
      const values = [count, sum ?? 0, ...buckets].map(Number);
      if (values.every(Number.isFinite)) yield { part, at_ms, values, bounds: custom_values.map(Number) };
    }
  }
}

/** Strangers' numbers may add up to what no record holds: 10^300 requests. They are kept as series. */
function isSound(record: LeewayRecord): boolean {
  return validateRecord(record).kind === 'ok';
}

/** Rows whose id may be one of ours. */
function sieved(ids: Int32Array, sieve: Uint8Array): number[] {
  const rows: number[] = [];
  for (let at = 0; at < ids.length; at += 2) if (sieve[(ids[at] as number) & (SIEVE - 1)] !== 0) rows.push(at >> 1);
  return rows;
}

function isStale(samples: SampleReader, row: number): boolean {
  if (!samples.isRaw(row)) return false;
  const [low, high] = samples.words(row);
  return low === STALE_LOW && high === STALE_HIGH;
}
