import type { Clock } from '../core/clock.ts';
import { LeewayError } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import type { Batch, Bus } from '../core/ports.ts';
import { parseRecord } from '../core/parse-record.ts';
import type { LeewayRecord } from '../core/records.ts';
import { untilAborted } from '../core/until-aborted.ts';

/** One line that was not accepted; `line` counts from 1. */
export type RejectedLine = { readonly line: number; readonly code: string; readonly reason: string };

/** What became of a body of NDJSON. `rejected` lists the first LIMITS.rejected_listed_max, `rejected_by_code` counts all. */
export type Admitted = {
  readonly records: readonly LeewayRecord[];
  readonly accepted: number;
  readonly rejected: readonly RejectedLine[];
  readonly rejected_by_code: Readonly<Record<string, number>>;
};

/** Parses NDJSON line by line; a bad line rejects itself alone, blank lines count as lines and nothing else. */
export function admit(text: string): Admitted {
  const records: LeewayRecord[] = [];
  const rejected: RejectedLine[] = [];
  const rejected_by_code: Record<string, number> = {};
  let line = 0;
  for (let from = 0; from < text.length; ) {
    const feed = text.indexOf('\n', from);
    const to = feed === -1 ? text.length : feed;
    line++;
    const content = text.slice(from, to);
    from = to + 1;
    if (content.trim() === '') continue;
    const outcome = parseRecord(content);
    if (outcome.kind === 'ok') {
      records.push(outcome.value);
      continue;
    }
    const { code, reason } = outcome;
    rejected_by_code[code] = (rejected_by_code[code] ?? 0) + 1;
    if (rejected.length < LIMITS.rejected_listed_max) rejected.push({ line, code, reason });
  }
  return { records, accepted: records.length, rejected, rejected_by_code };
}

export type SenderOptions = { readonly bus: Bus; readonly source: string; readonly epoch: number };

/**
 * Numbers the batches of one source within one epoch: 1, 2, 3 … without gaps. A number whose batch the bus refused
 * goes to the next batch, so a gap in the stored sequences always means loss. A batch goes on its way when its caller
 * stops waiting: its number stays its own until the bus has answered.
 *
 * A bus that did not answer in time (Kafka) may have a refused batch all the same. Then its number names two: both are
 * stored and counted by frames, but while the second waits for the store, the log of the acknowledged takes it for stored.
 * A number that is given up instead would be a gap for every batch that Kafka never had.
 */
export class NumberedSender {
  readonly #options: SenderOptions;
  readonly #returned: number[] = [];
  /** A batch on its way is not given up. */
  readonly #never = new AbortController().signal;
  #next = 1;

  constructor(options: SenderOptions) {
    this.#options = options;
  }

  /** Resolves when `content` (at least one record or sample) is durable; rejects as Bus.publish does. */
  async send(content: Pick<Batch, 'records' | 'samples'>, signal: AbortSignal): Promise<void> {
    const { bus, source, epoch } = this.#options;
    signal.throwIfAborted();
    const sequence = this.#returned.shift() ?? this.#next++;
    const published = bus.publish({ source, epoch, sequence, ...content }, this.#never);
    published.catch(() => this.#returned.push(sequence));
    await untilAborted(published, signal);
  }
}

/** Records of a publisher: emitted = durable + waiting + declared loss. */
export type PublisherCounts = {
  readonly source: string;
  readonly epoch: number;
  readonly emitted: number;
  readonly durable: number;
  readonly waiting: number;
  readonly declared_loss: {
    readonly buffer_full: number;
    /** Of batches that the other side will never take, whatever the number of attempts. */
    readonly refused: number;
  };
};

export type PublisherOptions = SenderOptions & {
  readonly clock: Clock;
  /** Records held while the bus refuses; beyond it the oldest are dropped and declared. Default 100,000: about 30 MB. */
  readonly buffer_records_max?: number;
  /** Records a batch. Default 5,000. */
  readonly batch_records_max?: number;
  /** Wait before a batch that the bus refused is sent again. Default 500 ms. */
  readonly retry_ms?: number;
};

/**
 * What collectors of this process hand records to: `offer` never waits and never fails, `run` moves the records to
 * the bus in numbered batches. While the bus refuses, the batch in hand is repeated and the buffer drops its oldest. A
 * batch that is too large (LW-BODY-SIZE) is halved, one that is refused for good (LW-DELIVERY) is declared lost.
 */
export class Publisher {
  readonly #options: PublisherOptions;
  readonly #sender: NumberedSender;
  #buffer: LeewayRecord[] = [];
  #sending: readonly LeewayRecord[] = [];
  #emitted = 0;
  #durable = 0;
  #dropped = 0;
  #refused = 0;
  #wake: () => void = () => undefined;

  constructor(options: PublisherOptions) {
    this.#options = options;
    this.#sender = new NumberedSender(options);
  }

  offer(records: readonly LeewayRecord[]): void {
    const { buffer_records_max = 100_000 } = this.#options;
    this.#emitted += records.length;
    for (const record of records) this.#buffer.push(record);
    const excess = this.#buffer.length - buffer_records_max;
    if (excess > 0) {
      this.#buffer.splice(0, excess);
      this.#dropped += excess;
    }
    this.#wake();
  }

  counts(): PublisherCounts {
    return {
      source: this.#options.source,
      epoch: this.#options.epoch,
      emitted: this.#emitted,
      durable: this.#durable,
      waiting: this.#buffer.length + this.#sending.length,
      declared_loss: { buffer_full: this.#dropped, refused: this.#refused },
    };
  }

  /** Moves records until `signal` fires, then makes one last attempt for what is left. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, retry_ms = 500 } = this.#options;
    while (!signal.aborted) {
      if (this.#sending.length === 0 && this.#buffer.length === 0) await this.#offered(signal);
      else if (!(await this.#sendOne())) await clock.sleep(retry_ms, signal).catch(() => undefined); // aborted: the loop ends
    }
    while ((this.#sending.length > 0 || this.#buffer.length > 0) && (await this.#sendOne()));
  }

  /** Sends the batch in hand, or the next; false when the bus refused it for now. */
  async #sendOne(): Promise<boolean> {
    const { batch_records_max = 5_000 } = this.#options;
    if (this.#sending.length === 0) this.#sending = this.#buffer.splice(0, batch_records_max);
    try {
      await this.#sender.send({ records: this.#sending }, new AbortController().signal);
    } catch (error) {
      if (!(error instanceof LeewayError)) throw error;
      return this.#refusedFor(error); // nothing was acknowledged
    }
    this.#durable += this.#sending.length;
    this.#sending = [];
    return true;
  }

  /** After a refusal: true when there is something else to send at once. */
  #refusedFor(error: LeewayError): boolean {
    const isTooLarge = error.code === 'LW-BODY-SIZE';
    if (!isTooLarge && error.code !== 'LW-DELIVERY') return false; // LW-SPOOL-FULL, LW-UNREACHABLE, …: the same batch again
    const half = Math.ceil(this.#sending.length / 2);
    if (isTooLarge && half < this.#sending.length) {
      this.#buffer.unshift(...this.#sending.slice(half));
      this.#sending = this.#sending.slice(0, half);
      return true;
    }
    this.#refused += this.#sending.length;
    this.#sending = [];
    return true;
  }

  #offered(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        signal.removeEventListener('abort', done);
        resolve();
      };
      this.#wake = done;
      signal.addEventListener('abort', done, { once: true });
    });
  }
}
