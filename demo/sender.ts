import { randomBytes } from 'node:crypto';
import { type Clock, systemClock } from '../src/core/clock.ts';
import { type Random, systemRandom } from '../src/core/random.ts';
import type { LeewayRecord } from '../src/core/records.ts';
import { type EventTransport, type LeewayTarget, openTransport, type Receipt } from './event-transport.ts';

/** The sender's own account. emitted = acknowledged + rejected + pending + lost. All in records. */
export type SenderAccount = {
  readonly source: string;
  readonly epoch: number;
  readonly emitted: number;
  readonly acknowledged: number;
  /** Refused one by one in a batch that was otherwise accepted. */
  readonly rejected: number;
  readonly pending: number;
  readonly lost: {
    /** Arrived while the buffer was full. */
    readonly buffer_full: number;
    /** In a batch that the service refused for good (400, 413, 415, 422). */
    readonly refused: number;
    /** Not acknowledged when the time to close was up; of the last batch, the service may hold them after all. */
    readonly unsent: number;
  };
  readonly batches: number;
  readonly retries: number;
  readonly last_error: string | null;
};

export type Sender = {
  /** Takes a record; never blocks, never throws. */
  emit(record: LeewayRecord): void;
  account(): SenderAccount;
  /** Sends what is left for at most `timeout_ms`, then gives up on the rest; the account is final. */
  close(timeout_ms: number): Promise<SenderAccount>;
};

export type SenderOptions = {
  readonly batch_ms?: number;
  readonly records_max?: number;
  readonly clock?: Clock;
  readonly random?: Random;
};

const BATCH_MS = 200;
/** 20,000 records of about 600 bytes are 12 MB: 5 minutes of the busiest process (60 records a second) without a service. */
const RECORDS_MAX = 20_000;
/** 2,000 × 600 bytes = 1.2 MB a request, far under the service's 16 MiB. */
const BATCH_RECORDS_MAX = 2_000;
const BATCH_BYTES_MAX = 4 * 1_048_576;
const RETRY_BASE_MS = 100;
const RETRY_MAX_MS = 2_000;

/**
 * Opens a buffered sender of NDJSON batches, one at a time over one kept connection.
 * A batch is (source, epoch, sequence); it is repeated under the same sequence until it is acknowledged, so that a repeat
 * after a lost answer stores nothing twice. A batch refused for good is counted as lost and its sequence used again: the
 * sequence of acknowledged batches has no gap.
 */
export function openSender(target: LeewayTarget, options: SenderOptions = {}): Sender {
  return new BufferedSender(target, options);
}

class BufferedSender implements Sender {
  readonly #source: string;
  readonly #transport: EventTransport;
  readonly #batch_ms: number;
  readonly #records_max: number;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #epoch = Number(randomBytes(8).readBigUInt64BE() >> 11n);
  readonly #closing = new AbortController();
  readonly #abandon = new AbortController();
  readonly #running: Promise<void>;
  #lines: string[] = [];
  #in_flight = 0;
  #sequence = 1;
  #count = { emitted: 0, acknowledged: 0, rejected: 0, buffer_full: 0, refused: 0, unsent: 0, batches: 0, retries: 0 };
  #last_error: string | null = null;

  constructor(target: LeewayTarget, options: SenderOptions) {
    this.#source = target.source;
    this.#transport = openTransport(target);
    this.#batch_ms = options.batch_ms ?? BATCH_MS;
    this.#records_max = options.records_max ?? RECORDS_MAX;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    this.#running = this.#run();
  }

  emit(record: LeewayRecord): void {
    this.#count.emitted++;
    if (this.#closing.signal.aborted) this.#count.unsent++;
    else if (this.#lines.length + this.#in_flight >= this.#records_max) this.#count.buffer_full++;
    else this.#lines.push(JSON.stringify(record));
  }

  account(): SenderAccount {
    const { buffer_full, refused, unsent, ...count } = this.#count;
    return {
      source: this.#source,
      epoch: this.#epoch,
      ...count,
      pending: this.#lines.length + this.#in_flight,
      lost: { buffer_full, refused, unsent },
      last_error: this.#last_error,
    };
  }

  async close(timeout_ms: number): Promise<SenderAccount> {
    this.#closing.abort();
    const limit = setTimeout(() => this.#abandon.abort(), timeout_ms);
    await this.#running;
    clearTimeout(limit);
    this.#transport.close();
    return this.account();
  }

  async #run(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      await this.#rest(this.#batch_ms, this.#closing.signal);
      await this.#drain();
    }
    await this.#drain();
    this.#count.unsent += this.#lines.length;
    this.#lines = [];
  }

  async #drain(): Promise<void> {
    while (this.#lines.length > 0 && !this.#abandon.signal.aborted) {
      const batch = this.#takeBatch();
      this.#in_flight = batch.length;
      await this.#deliver(batch);
    }
  }

  #takeBatch(): string[] {
    let bytes = 0;
    let rows = 0;
    for (const line of this.#lines) {
      bytes += line.length + 1;
      if (rows === BATCH_RECORDS_MAX || (rows > 0 && bytes > BATCH_BYTES_MAX)) break;
      rows++;
    }
    return this.#lines.splice(0, rows);
  }

  async #deliver(batch: readonly string[]): Promise<void> {
    const body = Buffer.from(`${batch.join('\n')}\n`);
    for (let attempt = 1; ; attempt++) {
      const named = { body, records: batch.length, epoch: this.#epoch, sequence: this.#sequence };
      const outcome = await this.#transport.deliver(named, this.#abandon.signal);
      if (outcome.kind === 'ok') return this.#acknowledged(batch.length, outcome.value);
      this.#last_error = `${outcome.code}: ${outcome.reason}`;
      if (outcome.kind === 'reject') return this.#lost('refused', batch.length);
      if (this.#abandon.signal.aborted) return this.#lost('unsent', batch.length);
      this.#count.retries++;
      await this.#rest(this.#backoff_ms(attempt, outcome.after_ms), this.#abandon.signal);
    }
  }

  #lost(reason: 'refused' | 'unsent', rows: number): void {
    this.#in_flight = 0;
    this.#count[reason] += rows;
  }

  #acknowledged(rows: number, receipt: Receipt): void {
    this.#in_flight = 0;
    this.#sequence++;
    this.#count.batches++;
    this.#count.rejected += receipt.rejected;
    this.#count.acknowledged += rows - receipt.rejected;
  }

  #backoff_ms(attempt: number, at_least_ms: number | null): number {
    const doubled = Math.min(RETRY_MAX_MS, RETRY_BASE_MS * 2 ** Math.min(attempt - 1, 16));
    return Math.max(doubled * (0.8 + 0.4 * this.#random.next()), at_least_ms ?? 0);
  }

  async #rest(duration_ms: number, until: AbortSignal): Promise<void> {
    try {
      await this.#clock.sleep(duration_ms, until);
    } catch (error) {
      if (!until.aborted) throw error;
    }
  }
}
