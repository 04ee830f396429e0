import type { Clock } from '../../core/clock.ts';
import { LeewayError } from '../../core/errors.ts';
import { integerBelow, type Random } from '../../core/random.ts';
import type { BatchMaker, MarkedBatch } from './marked-batch.ts';
import type { ServiceClient } from './service-client.ts';

/** Batches under way at once. */
const LANES = 2;
/** Every third batch leaves twice at the same moment, every fifth once more after its acknowledgement. */
const TWIN_EVERY = 3;
const AGAIN_EVERY = 5;
/** Batches of the whole run that are sent once more at the end, when the store has them. */
const LATE_REPEATS_MAX = 12;
const RETRY_MS_MIN = 50;
const RETRY_MS_MAX = 500;

/** A batch that the service acknowledged. Times are of the clock's elapsed scale. */
export type SentBatch = {
  readonly batch: MarkedBatch;
  readonly acknowledged_at_ms: number;
  /** From the first attempt to the acknowledgement. */
  readonly acknowledged_after_ms: number;
};

/** What was sent, counted. Records of a batch count each time they leave. */
export type SendingFigures = {
  batches: number;
  records: number;
  /** Sent again on purpose. */
  repeated_batches: number;
  repeated_records: number;
  /** Sent again because an attempt failed: its outcome is not known. */
  retried_batches: number;
  retried_records: number;
  /** Records that came in two different batches. */
  copied_records: number;
  /** Records that the service refused, with the first reason. */
  refused: number;
  refusal: string | null;
};

export type SendingOptions = {
  readonly client: ServiceClient;
  readonly maker: BatchMaker;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  /** A batch that is not acknowledged for so long ends the proof (LW-TIMEOUT). */
  readonly patience_ms: number;
  /** Pause between two batches. */
  readonly pace_ms: number;
  readonly onAcknowledged: (sent: SentBatch) => void;
};

/** Sends marked batches until they are acknowledged, and some of them again although they were. */
export class Sending {
  readonly #options: SendingOptions;
  readonly sent: SentBatch[] = [];
  readonly figures: SendingFigures = {
    batches: 0,
    records: 0,
    repeated_batches: 0,
    repeated_records: 0,
    retried_batches: 0,
    retried_records: 0,
    copied_records: 0,
    refused: 0,
    refusal: null,
  };
  #sequence = 0;

  constructor(options: SendingOptions) {
    this.#options = options;
  }

  /** Sends batch after batch while `wants(n)` of the number sent so far. Throws LW-DELIVERY, LW-TIMEOUT, LW-UNAUTHENTICATED. */
  async run(wants: (sent: number) => boolean): Promise<void> {
    await Promise.all(Array.from({ length: LANES }, () => this.#lane(wants)));
  }

  /** Sends some batches of the whole run once more, oldest and newest among them, then the closing batch. */
  async finish(): Promise<void> {
    const step = Math.max(1, Math.ceil(this.sent.length / LATE_REPEATS_MAX));
    for (let index = 0; index < this.sent.length; index += step) {
      const again = this.sent[index];
      if (again !== undefined) await this.#repeat(again.batch);
    }
    await this.#deliver(this.#options.maker.close(++this.#sequence), false);
  }

  async #lane(wants: (sent: number) => boolean): Promise<void> {
    const { maker, clock, pace_ms, signal } = this.#options;
    while (wants(this.#sequence)) {
      const batch = maker.make(++this.#sequence);
      await this.#deliver(batch, batch.sequence % TWIN_EVERY === 0);
      if (batch.sequence % AGAIN_EVERY === 0) await this.#repeat(batch);
      await clock.sleep(pace_ms * LANES, signal);
    }
  }

  /** `twin`: a second copy leaves at the same moment. */
  async #deliver(batch: MarkedBatch, twin: boolean): Promise<void> {
    const { clock, onAcknowledged } = this.#options;
    this.figures.batches++;
    this.figures.records += batch.rows;
    this.figures.copied_records += batch.copies;
    const started_ms = clock.elapsed_ms();
    const copy = twin ? this.#repeat(batch) : Promise.resolve();
    const taken = this.#untilTaken(batch).then(() => {
      const acknowledged_at_ms = clock.elapsed_ms();
      const sent = { batch, acknowledged_at_ms, acknowledged_after_ms: acknowledged_at_ms - started_ms };
      this.sent.push(sent);
      onAcknowledged(sent);
    });
    await Promise.all([taken, copy]);
  }

  async #repeat(batch: MarkedBatch): Promise<void> {
    this.figures.repeated_batches++;
    this.figures.repeated_records += batch.rows;
    await this.#untilTaken(batch);
  }

  async #untilTaken(batch: MarkedBatch): Promise<void> {
    const { client, clock, random, signal, patience_ms } = this.#options;
    const until_ms = clock.elapsed_ms() + patience_ms;
    for (let attempt = 0; ; attempt++) {
      const outcome = await client.send(batch);
      if (outcome.kind === 'ok') {
        this.figures.refused += outcome.value.refused;
        this.figures.refusal ??= outcome.value.reason;
        return;
      }
      if (outcome.kind === 'reject')
        throw new LeewayError('LW-DELIVERY', `batch ${batch.sequence} of the selftest was refused: ${outcome.reason}`);
      if (clock.elapsed_ms() >= until_ms)
        throw new LeewayError(
          'LW-TIMEOUT',
          `batch ${batch.sequence} was not acknowledged within ${patience_ms} ms: ${outcome.reason}; see the log of the service`,
        );
      this.figures.retried_batches++;
      this.figures.retried_records += batch.rows;
      const backoff_ms = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** Math.min(attempt, 10));
      await clock.sleep(Math.max(backoff_ms / 2 + integerBelow(random, backoff_ms), outcome.after_ms ?? 0), signal);
    }
  }
}
