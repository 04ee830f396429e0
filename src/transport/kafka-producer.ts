import { crc32 } from 'node:zlib';
import type { Clock } from '../core/clock.ts';
import { LeewayError } from '../core/errors.ts';
import type { Batch, Published } from '../core/ports.ts';
import { untilAborted } from '../core/until-aborted.ts';
import type { KafkaDriver, KafkaOut } from './kafka-driver.ts';
import type { KafkaEvent } from './kafka-event.ts';
import { frameMessages } from './kafka-frames.ts';
import { SourceTally } from './known-sequences.ts';

export type FrameProducerOptions = {
  readonly driver: KafkaDriver;
  readonly topic: string;
  /** Partitions of the topic: what a source's name is spread over. */
  readonly partitions: number;
  readonly clock: Clock;
  /** Bytes that wait for Kafka's acknowledgement; beyond them publish answers LW-SPOOL-FULL. */
  readonly in_flight_bytes_max: number;
  /** A batch that Kafka has not acknowledged by then is given back to its sender. */
  readonly publish_timeout_ms: number;
  readonly onEvent: (event: KafkaEvent) => void;
};

/**
 * Bytes of one partition in one call: a client makes one record batch of them, and brokers take 1 MiB a batch by default
 * (`message.max.bytes`); a tenth is left for keys and heads.
 */
const ROUND_PARTITION_BYTES = 943_718;
/** Bytes of one call: what a broker of ours takes in about 100 ms. */
const ROUND_BYTES = 8 * 1_048_576;
const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 2_000;

type Entry = {
  readonly batch: Batch;
  readonly messages: readonly KafkaOut[];
  readonly bytes: number;
  readonly records: number;
  readonly born_ms: number;
  readonly settle: (error: unknown) => void;
  unsent: number;
};

type Queued = { readonly entry: Entry; readonly message: KafkaOut };

/**
 * Batches to Kafka. One call is in flight; what is published meanwhile goes into the next one (group commit), so that the
 * order of a source is kept without an idempotent producer. A failed call is repeated with exactly the same messages until
 * they are acknowledged or their time is over: a repeat is a second copy, absorbed by the primary key, never a loss.
 */
export class FrameProducer {
  readonly #options: FrameProducerOptions;
  readonly #pending = new Map<string, Promise<void>>();
  readonly #entries = new Set<Entry>();
  readonly #tally = new SourceTally();
  readonly #closing = new AbortController();
  #queue: Queued[] = [];
  #bytes = 0;
  #sending: Promise<void> | null = null;

  constructor(options: FrameProducerOptions) {
    this.#options = options;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get frames(): number {
    let frames = 0;
    for (const entry of this.#entries) frames += entry.messages.length;
    return frames;
  }

  /** Age of the oldest batch that waits, 0 when none does. */
  get oldest_ms(): number {
    for (const entry of this.#entries) return this.#options.clock.elapsed_ms() - entry.born_ms;
    return 0;
  }

  get tally(): SourceTally {
    return this.#tally;
  }

  /** Resolves when Kafka has acknowledged every frame of the batch. `repeated`: the same batch was on its way already. */
  async publish(batch: Batch, signal: AbortSignal): Promise<Published> {
    signal.throwIfAborted();
    if (this.#closing.signal.aborted) throw closingError();
    const name = `${batch.epoch} ${batch.sequence} ${batch.source}`;
    const twin = this.#pending.get(name);
    if (twin !== undefined) {
      await untilAborted(twin, signal);
      return { repeated: true };
    }
    const entry = this.#entryOf(batch);
    this.#pending.set(name, entry.durable);
    const forget = (): boolean => this.#pending.delete(name);
    entry.durable.then(forget, forget);
    this.#sending ??= this.#send();
    await untilAborted(entry.durable, signal);
    return { repeated: false };
  }

  /** Lets what is under way finish, for `grace_ms` at most; the rest is given back. */
  async close(grace_ms: number): Promise<void> {
    const { clock } = this.#options;
    if (this.#sending !== null)
      await Promise.race([this.#sending, clock.sleep(grace_ms, this.#closing.signal).catch(() => undefined)]);
    this.#closing.abort();
    for (const entry of this.#entries) this.#forget(entry, closingError());
  }

  #entryOf(batch: Batch): { readonly durable: Promise<void> } {
    const { partitions, clock, in_flight_bytes_max } = this.#options;
    const key = Buffer.from(batch.source);
    const partition = crc32(key) % partitions;
    const messages: KafkaOut[] = [];
    let bytes = 0;
    let records = 0;
    for (const { table, rows, value } of frameMessages(batch)) {
      messages.push({ partition, key, value, headers: { table } });
      bytes += value.length;
      records += rows;
    }
    // a batch above the limit is let through alone: refused it would be sent again for ever
    if (this.#bytes > 0 && this.#bytes + bytes > in_flight_bytes_max)
      throw new LeewayError(
        'LW-SPOOL-FULL',
        `${this.#bytes} bytes wait for Kafka's acknowledgement, ${bytes} more would pass the limit of ` +
          `${in_flight_bytes_max}; nothing was accepted: send again later`,
      );
    const { promise: durable, resolve, reject } = Promise.withResolvers<void>();
    const settle = (error: unknown): void => (error === null ? resolve() : reject(error));
    const born_ms = clock.elapsed_ms();
    const entry = { batch, messages, bytes, records, born_ms, settle, unsent: messages.length };
    this.#entries.add(entry);
    this.#bytes += bytes;
    this.#tally.add(batch, records);
    for (const message of messages) this.#queue.push({ entry, message });
    return { durable };
  }

  #forget(entry: Entry, error: unknown): void {
    if (!this.#entries.delete(entry)) return;
    this.#bytes -= entry.bytes;
    this.#tally.add(entry.batch, -entry.records);
    entry.settle(error);
  }

  async #send(): Promise<void> {
    await Promise.resolve(); // what is published in the same turn shares the first call
    while (this.#queue.length > 0) await this.#sendRound(this.#nextRound());
    this.#sending = null;
  }

  /** Takes the next call's messages from the queue; what has to wait keeps its order within its partition. */
  #nextRound(): Queued[] {
    const round: Queued[] = [];
    const left: Queued[] = [];
    const filled = new Map<number, number>();
    let bytes = 0;
    for (const queued of this.#queue) {
      if (!this.#entries.has(queued.entry)) continue; // given back meanwhile
      const { partition, value } = queued.message;
      const used = filled.get(partition) ?? 0;
      const fits = used === 0 || used + value.length <= ROUND_PARTITION_BYTES;
      if (fits && bytes < ROUND_BYTES) {
        round.push(queued);
        bytes += value.length;
        filled.set(partition, used + value.length);
      } else {
        left.push(queued);
        filled.set(partition, ROUND_PARTITION_BYTES); // nothing overtakes it
      }
    }
    this.#queue = left;
    return round;
  }

  /** Repeats the same messages until Kafka has them or nobody waits for them any more. */
  async #sendRound(round: readonly Queued[]): Promise<void> {
    const { driver, topic, clock, onEvent } = this.#options;
    let waiting = round;
    for (let attempt = 0; waiting.length > 0; attempt++) {
      try {
        await driver.produce(
          topic,
          waiting.map((queued) => queued.message),
        );
        return this.#acknowledge(waiting);
      } catch (error) {
        if (!(error instanceof LeewayError)) throw error;
        if (error.code === 'LW-BODY-SIZE') return await this.#isolate(waiting, error);
        onEvent({ kind: 'kafka_produce_failed', reason: `${waiting.length} frames: ${error.message}` });
        this.#expire(error);
        const wait_ms = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** Math.min(attempt, 10));
        await clock.sleep(wait_ms, this.#closing.signal).catch(() => undefined); // closing: all are given back
        waiting = waiting.filter((queued) => this.#entries.has(queued.entry));
      }
    }
  }

  /** One message is too large for the topic: finds it by halves, so that its neighbours are not refused with it. */
  async #isolate(round: readonly Queued[], error: LeewayError): Promise<void> {
    const [first] = round;
    if (first === undefined) return;
    if (round.length === 1) return this.#forget(first.entry, error);
    const middle = round.length >>> 1;
    await this.#sendRound(round.slice(0, middle));
    await this.#sendRound(round.slice(middle).filter((queued) => this.#entries.has(queued.entry)));
  }

  #acknowledge(sent: readonly Queued[]): void {
    for (const { entry } of sent) {
      entry.unsent--;
      if (entry.unsent === 0) this.#forget(entry, null);
    }
  }

  #expire(cause: LeewayError): void {
    const { clock, publish_timeout_ms } = this.#options;
    const now_ms = clock.elapsed_ms();
    for (const entry of this.#entries) {
      if (now_ms - entry.born_ms < publish_timeout_ms) continue;
      const code = cause.code === 'LW-UNREACHABLE' ? 'LW-SPOOL-IO' : cause.code;
      const reason = `Kafka did not acknowledge the batch within ${publish_timeout_ms} ms (${cause.message})`;
      this.#forget(entry, new LeewayError(code, `${reason}: send it again`, { cause }));
    }
  }
}

function closingError(): LeewayError {
  return new LeewayError('LW-SPOOL-IO', 'the bus is closing; nothing was acknowledged: send the batch again');
}
