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

/** A partition that could not be written to: it is tried alone until that succeeds, so that the others need not wait for it. */
type Held = { readonly attempt: number; readonly not_before_ms: number; readonly messages: readonly Queued[] };

/**
 * Batches to Kafka. One call is in flight; what is published meanwhile goes into the next one (group commit), so that the
 * order of a source is kept without an idempotent producer. What a failed call held is repeated with exactly the same
 * messages, each partition by itself, until they are acknowledged or their time is over: a repeat is a second copy, absorbed
 * by the primary key, never a loss. Of a partition without a leader the others see one failed call.
 */
export class FrameProducer {
  readonly #options: FrameProducerOptions;
  readonly #pending = new Map<string, Promise<void>>();
  readonly #entries = new Set<Entry>();
  readonly #tally = new SourceTally();
  readonly #closing = new AbortController();
  readonly #held = new Map<number, Held>();
  #queue: Queued[] = [];
  #bytes = 0;
  #wake: () => void = () => undefined;
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
    this.#wake();
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
    this.#wake();
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
    for (;;) {
      const round = this.#nextRound((partition) => !this.#held.has(partition));
      if (round.length > 0) await this.#sendRound(round, 0);
      const next = this.#nextHeld();
      if (next !== null && next.wait_ms <= 0) await this.#sendHeld(next.partition);
      else if (round.length === 0 && next !== null) await this.#news(next.wait_ms);
      else if (round.length === 0) break;
    }
    this.#sending = null;
  }

  /**
   * Takes the next call's messages to partitions that `takes` agrees to from the queue; what has to wait keeps its order
   * within its partition.
   */
  #nextRound(takes: (partition: number) => boolean): Queued[] {
    const round: Queued[] = [];
    const left: Queued[] = [];
    const filled = new Map<number, number>();
    let bytes = 0;
    for (const queued of this.#queue) {
      if (!this.#entries.has(queued.entry)) continue; // given back meanwhile
      const { partition, value } = queued.message;
      const used = filled.get(partition) ?? 0;
      const fits = used === 0 || used + value.length <= ROUND_PARTITION_BYTES;
      if (fits && bytes < ROUND_BYTES && takes(partition)) {
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

  /** One call. What it could not write waits for another one, each partition by itself. */
  async #sendRound(round: readonly Queued[], attempt: number): Promise<void> {
    const { driver, topic, onEvent } = this.#options;
    const sent = round.filter((queued) => this.#entries.has(queued.entry));
    if (sent.length === 0) return;
    try {
      await driver.produce(
        topic,
        sent.map((queued) => queued.message),
      );
    } catch (error) {
      if (!(error instanceof LeewayError)) throw error;
      if (error.code === 'LW-BODY-SIZE') return await this.#isolate(sent, error);
      onEvent({ kind: 'kafka_produce_failed', reason: `${sent.length} frames: ${error.message}` });
      this.#expire(error);
      return this.#hold(sent, attempt);
    }
    this.#acknowledge(sent);
  }

  #hold(failed: readonly Queued[], attempt: number): void {
    const now_ms = this.#options.clock.elapsed_ms();
    const partitions = Map.groupBy(failed, ({ message }) => message.partition);
    // of several partitions one may be to blame: each is tried alone at once
    const wait_ms = partitions.size > 1 ? 0 : Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** Math.min(attempt, 10));
    for (const [partition, messages] of partitions)
      this.#held.set(partition, { attempt: attempt + 1, not_before_ms: now_ms + wait_ms, messages });
  }

  /** The held partition that is to be tried next among those that have something to send; null when none has. */
  #nextHeld(): { readonly partition: number; readonly wait_ms: number } | null {
    if (this.#held.size === 0) return null;
    const now_ms = this.#options.clock.elapsed_ms();
    const queued = new Set(this.#queue.map(({ message }) => message.partition));
    let first: { partition: number; wait_ms: number } | null = null;
    for (const [partition, held] of this.#held) {
      const messages = held.messages.filter(({ entry }) => this.#entries.has(entry)); // the others were given back
      this.#held.set(partition, { ...held, messages });
      if (messages.length === 0 && !queued.has(partition)) continue;
      const wait_ms = held.not_before_ms - now_ms;
      if (first === null || wait_ms < first.wait_ms) first = { partition, wait_ms };
    }
    return first;
  }

  /** Tries a held partition alone: what failed there or, when nobody waits for that any more, what came after it. */
  async #sendHeld(partition: number): Promise<void> {
    const held = this.#held.get(partition);
    if (held === undefined) return;
    const round = held.messages.length > 0 ? held.messages : this.#nextRound((other) => other === partition);
    if (round.length === 0) return;
    this.#held.delete(partition); // unless it fails again
    await this.#sendRound(round, held.attempt);
  }

  /** Waits until something is published, the producer is closed or `wait_ms` are over. */
  async #news(wait_ms: number): Promise<void> {
    const over = new AbortController();
    const woken = new Promise<void>((resolve) => (this.#wake = resolve));
    await Promise.race([this.#options.clock.sleep(wait_ms, over.signal).catch(() => undefined), woken]);
    over.abort();
  }

  /** One message is too large for the topic: finds it by halves, so that its neighbours are not refused with it. */
  async #isolate(round: readonly Queued[], error: LeewayError): Promise<void> {
    const [first] = round;
    if (first === undefined) return;
    if (round.length === 1) return this.#forget(first.entry, error);
    const middle = round.length >>> 1;
    for (const half of [round.slice(0, middle), round.slice(middle)]) {
      // what lies behind a failure keeps its order
      const isHeld = Map.groupBy(half, ({ message }) => this.#held.has(message.partition));
      for (const queued of isHeld.get(true) ?? []) this.#holdBehind(queued);
      await this.#sendRound(isHeld.get(false) ?? [], 0);
    }
  }

  #holdBehind(queued: Queued): void {
    const { partition } = queued.message;
    const held = this.#held.get(partition);
    if (held !== undefined) this.#held.set(partition, { ...held, messages: [...held.messages, queued] });
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
