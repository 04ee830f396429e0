import { crc32 } from 'node:zlib';
import type { Clock } from '../core/clock.ts';
import { LeewayError } from '../core/errors.ts';
import type { FrameHeader } from '../core/ports.ts';
import { untilAborted } from '../core/until-aborted.ts';
import { type KafkaConsumer, type KafkaDriver, type KafkaIn, leaveGroup } from './kafka-driver.ts';
import { readMessage } from './kafka-frames.ts';

/** A message of the dead-letter topic, read back. */
export type KafkaLetter = {
  /** Where it stands in the dead-letter topic: `partition/offset`. */
  readonly id: string;
  readonly partition: number;
  readonly message: KafkaIn;
  readonly code: string | null;
  readonly reason: string | null;
  /** Bytes of the message that was set aside; the letter keeps at most LIMITS.kafka_dead_letter_bytes_max of them. */
  readonly bytes: number;
  readonly table: string | null;
  /** What the kept bytes are, read now; a text: why they are no frame. */
  readonly frame: FrameHeader | string;
  /** Set: this is no letter but the note that the letter of this id was replayed. */
  readonly replayed: string | null;
};

export type LetterTopic = {
  readonly driver: KafkaDriver;
  readonly topic: string;
  /** A group of its own that never commits: every reading begins at the beginning. */
  readonly group: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
};

/** Messages read ahead: 64 of the largest letters are 32 MiB. */
const AHEAD_MAX = 64;
/** Joining a group takes seconds; a broker that says nothing for so long will say nothing. */
const SILENCE_MS_MAX = 30_000;

/**
 * Every message of the dead-letter topic up to where it ends now, partition by partition as they come. Rejects with
 * LW-TIMEOUT when the broker falls silent, with the signal's reason as soon as it fires, and as the driver does.
 */
export async function* kafkaLetters({ driver, topic, group, clock, signal }: LetterTopic): AsyncGenerator<KafkaLetter> {
  const ends = new Map<number, bigint>();
  const positions = await untilAborted(driver.positions(topic, group), signal);
  for (const { partition, low, end } of positions) if (end > low) ends.set(partition, end);
  if (ends.size === 0) return;
  const inbox = new Inbox();
  const joining = driver.consume(topic, group, {
    onAssigned: () => undefined,
    onMessages: (partition, messages) => inbox.add(partition, messages),
    onFailed: (error) => inbox.fail(error),
  });
  const consumer = await untilAborted(joining, signal).catch((error: unknown) => {
    void joining.then((late) => late.close()).catch(() => undefined); // it comes too late to be of use
    throw error;
  });
  const read = new Map<number, bigint>();
  try {
    while (ends.size > 0) {
      signal.throwIfAborted();
      const item = inbox.take(consumer);
      if (item === null) {
        await inbox.news(clock, signal);
        continue;
      }
      const { partition, message } = item;
      const end = ends.get(partition);
      // what comes again after a rebalance, and what was set aside while we read, is not ours
      if (end === undefined || message.offset >= end || message.offset <= (read.get(partition) ?? -1n)) continue;
      read.set(partition, message.offset);
      if (message.offset + 1n >= end) ends.delete(partition);
      yield letterOf(partition, message);
    }
  } finally {
    await leaveGroup(consumer, clock);
  }
}

/** Messages on their way from the driver's callback to the reader. */
class Inbox {
  #items: { readonly partition: number; readonly message: KafkaIn }[] = [];
  #failure: LeewayError | null = null;
  #wake: () => void = () => undefined;
  #isPaused = false;

  add(partition: number, messages: readonly KafkaIn[]): void {
    for (const message of messages) this.#items.push({ partition, message });
    this.#wake();
  }

  fail(error: LeewayError): void {
    this.#failure = error;
    this.#wake();
  }

  take(consumer: KafkaConsumer): { readonly partition: number; readonly message: KafkaIn } | null {
    if (this.#failure !== null) throw this.#failure;
    const item = this.#items.shift() ?? null;
    const isFull = this.#items.length > AHEAD_MAX;
    if (isFull !== this.#isPaused && (isFull || this.#items.length === 0)) {
      this.#isPaused = isFull;
      if (isFull) consumer.pause();
      else consumer.resume();
    }
    return item;
  }

  /** Waits for something to take, or for the signal. */
  async news(clock: Clock, signal: AbortSignal): Promise<void> {
    const over = new AbortController();
    const news = new Promise<'news'>((resolve) => {
      this.#wake = () => resolve('news');
    });
    const silence = clock.sleep(SILENCE_MS_MAX, AbortSignal.any([over.signal, signal])).then(
      () => 'silence' as const,
      () => 'news' as const, // aborted: there are news, or nobody waits for them
    );
    const first = this.#items.length > 0 || this.#failure !== null ? 'news' : await Promise.race([news, silence]);
    over.abort();
    if (first === 'silence')
      throw new LeewayError(
        'LW-TIMEOUT',
        `Kafka sent nothing of the dead-letter topic for ${SILENCE_MS_MAX} ms; try again`,
      );
  }
}

function letterOf(partition: number, message: KafkaIn): KafkaLetter {
  const text = (name: string): string | null => message.headers.get(name)?.toString() ?? null;
  const held = readMessage(message, { partition, offset: message.offset }, 0n);
  return {
    id: `${partition}/${message.offset}`,
    partition,
    message,
    code: text('code'),
    reason: text('reason'),
    bytes: Number(text('bytes') ?? message.value?.length ?? 0),
    table: text('table'),
    frame: typeof held === 'string' ? held : held.header,
    replayed: text('replayed'),
  };
}

/**
 * Produces the message of a letter to the frames topic again, as it came, then notes in the dead-letter topic that it was.
 * When the note is lost the letter is offered once more: a row that is there already counts once. Throws LW-INPUT for what
 * is no frame, and as the driver does.
 */
export async function replayKafkaLetter(
  driver: KafkaDriver,
  letter: KafkaLetter,
  topics: { readonly frames: string; readonly dead_letters: string },
): Promise<void> {
  const { frame, message, table, id, partition } = letter;
  const value = message.value ?? Buffer.alloc(0);
  if (typeof frame === 'string' || table === null)
    throw new LeewayError('LW-INPUT', `${id} cannot be replayed: ${typeof frame === 'string' ? frame : 'no table'}`);
  const key = message.key ?? Buffer.from(frame.source);
  const partitions = (await driver.partitions([topics.frames])).get(topics.frames);
  if (partitions === undefined)
    throw new LeewayError('LW-KAFKA-TOPIC', `Kafka has no topic ${topics.frames}, or this login may not see it`);
  // where the producer of frames puts this source (kafka-producer.ts)
  await driver.produce(topics.frames, [{ partition: crc32(key) % partitions, key, value, headers: { table } }]);
  await driver.produce(topics.dead_letters, [{ partition, key, value: Buffer.alloc(0), headers: { replayed: id } }]);
}
