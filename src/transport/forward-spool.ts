import type { Clock } from '../core/clock.ts';
import { LIMITS } from '../core/limits.ts';
import type { Backlog, Batch, Bus, Delivery, Published } from '../core/ports.ts';
import type { Outcome } from '../core/outcome.ts';
import type { StoredRecord } from '../core/tables.ts';
import type { ForwardLog } from './forward-log.ts';

/** JSON of a batch, at most: a body that unpacks to this is within the caps of every gateway. */
const BATCH_CHARACTERS_MAX = LIMITS.body_bytes_max / 8;

/** A batch keeps its sender waiting this long after it is durable: a batch costs the node more than its records. */
type Pace = { readonly clock: Clock; readonly pace_ms: number };

/**
 * The bus of a sidecar: its own spool, with names of its own. A batch of a collector becomes one batch a record type, so that
 * each is one frame of one table and may travel alone, numbered 1, 2, 3 … by source without gaps, across restarts. The
 * sender's epoch and sequence are not used. A repeat of a batch (the same array of records) goes on where it failed.
 */
export class ForwardSpool implements Bus {
  readonly #spool: Bus;
  readonly #log: ForwardLog;
  readonly #next = new Map<string, number>();
  /** What of a batch that failed is durable already. */
  readonly #begun = new WeakMap<readonly StoredRecord[], StoredRecord[][]>();
  /** Records of the batch in hand of each source that are durable while the rest of it is not. */
  readonly #begun_count = new Map<string, number>();

  readonly #pace: Pace | null;
  readonly #hurried = new AbortController();

  constructor(spool: Bus, log: ForwardLog, pace: Pace | null = null) {
    this.#spool = spool;
    this.#log = log;
    this.#pace = pace;
  }

  async publish({ source, records }: Pick<Batch, 'source' | 'records'>, signal: AbortSignal): Promise<Published> {
    const left = this.#begun.get(records) ?? split(records);
    this.#begun.set(records, left);
    this.#begun_count.set(source, records.length - left.reduce((sum, part) => sum + part.length, 0));
    for (let part = left[0]; part !== undefined; part = left[0]) {
      await this.#publishOne(source, part, signal);
      left.shift();
      this.#begun_count.set(source, (this.#begun_count.get(source) ?? 0) + part.length);
    }
    this.#begun_count.delete(source);
    // durable; what comes meanwhile is one batch afterwards
    if (this.#pace !== null)
      await this.#pace.clock.sleep(this.#pace.pace_ms, this.#hurried.signal).catch(() => undefined);
    return { repeated: false };
  }

  /** Records that are durable of a batch of `source` that failed half-way; its sender still holds all of it. */
  begunOf(source: string): number {
    return this.#begun_count.get(source) ?? 0;
  }

  /** Ends all pauses, those to come too. */
  hurry(): void {
    this.#hurried.abort();
  }

  /** A number is used up by success alone: one that failed goes to the next batch. */
  async #publishOne(source: string, records: readonly StoredRecord[], signal: AbortSignal): Promise<void> {
    for (;;) {
      const sequence = this.#next.get(source) ?? this.#log.acknowledged(source) + 1;
      const { repeated } = await this.#spool.publish({ source, epoch: this.#log.epoch, sequence, records }, signal);
      this.#next.set(source, sequence + 1);
      if (!repeated) return; // else the number is that of a batch from before the start
    }
  }

  consume(handle: (delivery: Delivery) => Promise<Outcome>, signal: AbortSignal): Promise<void> {
    return this.#spool.consume(handle, signal);
  }

  backlog(): Backlog {
    return this.#spool.backlog();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#spool[Symbol.asyncDispose]();
    await this.#log.close();
  }
}

/** Records by type, in pieces that fit a body. O(bytes). */
function split(records: readonly StoredRecord[]): StoredRecord[][] {
  const parts: StoredRecord[][] = [];
  for (const group of Map.groupBy(records, ({ type }) => type).values()) {
    let characters = 0;
    let part: StoredRecord[] = [];
    for (const record of group) {
      const size = JSON.stringify(record).length;
      if (part.length > 0 && characters + size > BATCH_CHARACTERS_MAX) {
        parts.push(part);
        part = [];
        characters = 0;
      }
      part.push(record);
      characters += size;
    }
    parts.push(part);
  }
  return parts;
}
