import { validateRecord } from '../core/parse-record.ts';
import type { LeewayRecord } from '../core/records.ts';
import { mappingOf } from './catalog-mapping.ts';
import { servingPart } from './serving-part.ts';
import { type ServingPart, ServingWindows } from './serving-windows.ts';

/** Series of one target: a server of 50 models with 10 histograms of 20 buckets. */
const SERIES_MAX = 10_000;

/** The serving metrics of one scraped target as `inference` records, as if they were pushed (formats/catalog-mapper.ts). */
export class ScrapedServing {
  readonly #instance: string;
  readonly #windows = new ServingWindows();
  readonly #parts = new Map<string, ServingPart | null>();
  #closed: LeewayRecord[] = [];

  /** `instance`: host and port of the target, the replica of what it says. */
  constructor(instance: string) {
    this.#instance = instance;
  }

  /** One value of a scrape; whether it is of a serving metric. */
  put(
    metric: string,
    labels: Readonly<Record<string, string>>,
    at: { readonly at_ms: number; readonly value: number },
  ): boolean {
    const part = this.#partOf(metric, labels);
    if (part === null || part.mapping.part === 'histogram' || !Number.isFinite(at.value)) return false;
    const record = this.#windows.put(part, at.at_ms, [at.value], []);
    if (record !== null && validateRecord(record).kind === 'ok') this.#closed.push(record);
    return true;
  }

  /** The windows that closed since the last call. */
  take(): readonly LeewayRecord[] {
    const closed = this.#closed;
    this.#closed = [];
    return closed;
  }

  #partOf(metric: string, labels: Readonly<Record<string, string>>): ServingPart | null {
    const mapping = mappingOf({ metric, labels, unit: '' });
    if (mapping === null || mapping.record !== 'inference') return null;
    const key = `${metric}${JSON.stringify(labels)}`;
    const known = this.#parts.get(key);
    if (known !== undefined || this.#parts.size >= SERIES_MAX) return known ?? null;
    const named = { instance: this.#instance, ...labels };
    const part = servingPart(this.#windows, { labels: named, kind: 'unknown' }, mapping, this.#instance);
    this.#parts.set(key, part);
    return part;
  }
}
