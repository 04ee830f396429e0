import { assert } from '../core/assert.ts';
import type { Clock } from '../core/clock.ts';
import { LeewayError } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import type { Outcome } from '../core/outcome.ts';
import type { Backlog, Batch, Bus, Delivery, NoteAside, Published } from '../core/ports.ts';
import { untilAborted } from '../core/until-aborted.ts';
import type { KafkaConnection, KafkaDriver } from './kafka-driver.ts';
import type { KafkaEvent } from './kafka-event.ts';
import { STREAMS_MAX } from './kafka-frames.ts';
import { FrameProducer } from './kafka-producer.ts';
import { prepareScratch, type ScratchDisk, systemScratch } from './kafka-scratch.ts';
import { KafkaWorker } from './kafka-worker.ts';
import { SourceTally } from './known-sequences.ts';

export type KafkaDriverName = 'kafkajs' | 'platformatic';

export type KafkaBusOptions = {
  /** A name, or a driver that is open already. */
  readonly driver: KafkaDriverName | KafkaDriver;
  readonly brokers: readonly string[];
  readonly tls?: KafkaConnection['tls'];
  readonly sasl?: KafkaConnection['sasl'];
  /** Topics are `<prefix>frames.v1` and `<prefix>deadletter.v1`, the group is `<prefix>workers`. Default `leeway.`. */
  readonly topic_prefix?: string;
  /** Creates missing topics; otherwise a missing topic is LW-KAFKA-TOPIC with the command that creates it. */
  readonly create_topics?: { readonly partitions: number; readonly replication: number } | null;
  /** Directory for the files of deliveries; they are copies and need no durable disk. */
  readonly scratch_dir: string;
  /** Default: the file system. */
  readonly scratch_disk?: ScratchDisk;
  readonly clock: Clock;
  readonly onEvent?: (event: KafkaEvent) => void;
  /** Bytes that may wait for Kafka's acknowledgement. Default 64 MiB. */
  readonly in_flight_bytes_max?: number;
  /** A batch that Kafka has not acknowledged by then is given back. Default 30 s. */
  readonly publish_timeout_ms?: number;
  /** A delivery is handed on at so many rows or bytes, or when its first frame has waited so long. */
  readonly delivery_rows_max?: number;
  readonly delivery_bytes_max?: number;
  readonly delivery_wait_ms?: number;
  /** Bytes read ahead of the store. Default 64 MiB. */
  readonly buffer_bytes_max?: number;
  /** Default 10 s: the time that a dead worker's partitions wait for another one. */
  readonly session_timeout_ms?: number;
  readonly heartbeat_ms?: number;
  /** Lag without progress for this long replaces the consumer; at least two sessions, which a join may have to wait for. Default 30 s. */
  readonly stall_ms?: number;
  /**
   * Stream of partition 0 in lineages. A topic that was deleted and created again numbers its messages anew: raise this by
   * the number of partitions that it had, or frames of now would bear the lineage of frames of then, and the account would
   * take the ones for the others. Default 0.
   */
  readonly stream_first?: number;
};

const DEFAULTS = {
  topic_prefix: 'leeway.',
  in_flight_bytes_max: 64 * 1_048_576,
  publish_timeout_ms: 30_000,
  // the spool's figures: what the store sorts in memory, and freshness against statements a second
  delivery_rows_max: 200_000,
  delivery_bytes_max: 48 * 1_048_576,
  delivery_wait_ms: 300,
  buffer_bytes_max: 64 * 1_048_576,
  session_timeout_ms: 10_000,
  heartbeat_ms: 1_000,
  stall_ms: 30_000,
  stream_first: 0,
} as const;

/** 5 s: leaders are elected within one of a healthy cluster. */
const CREATED_ATTEMPTS_MAX = 50;
const CREATED_WAIT_MS = 100;
/** Batches are acknowledged in milliseconds, while a leader is elected in a second or two. Beyond, brokers answer and do not write. */
const UNACKNOWLEDGED_MS_MAX = 5_000;
/** Publishes under way at disposal get this long. */
const CLOSE_GRACE_MS = 5_000;

/**
 * The scaled bus: Kafka. Failures: LW-KAFKA-TOPIC (a topic is missing), LW-KAFKA-AUTH, LW-UNREACHABLE, LW-DATA-DIR.
 *
 * `publish` is acknowledged by all in-sync replicas. It knows no repeats but those of a batch that is still on its way: a
 * repeat is stored twice in the topic and once in the store. `backlog` says what this process knows: `bytes`, `oldest_ms`
 * and `in_flight` count what waits for an acknowledgement and what was read and is not yet stored here; offsets say how
 * many frames wait in the topic (`frames`, of the whole group, while this process consumes), not whose they are, so of a
 * frame that no worker has read `in_flight` knows nothing (the log of pipeline/acknowledged-log.ts does). `quarantined`: set
 * aside by this process since its start.
 */
export async function openKafkaBus(options: KafkaBusOptions): Promise<Bus> {
  const settings = { ...DEFAULTS, ...options };
  const { topic_prefix, session_timeout_ms, heartbeat_ms, brokers } = settings;
  const connection = {
    brokers,
    tls: options.tls ?? false,
    sasl: options.sasl ?? null,
    session_timeout_ms,
    heartbeat_ms,
  };
  const driver = await openDriver(options.driver, connection);
  try {
    const frames = `${topic_prefix}frames.v1`;
    const dead = `${topic_prefix}deadletter.v1`;
    const partitions = await ensureTopics(driver, [frames, dead], options);
    const count = partitions.get(frames) ?? 0;
    if (count + settings.stream_first > STREAMS_MAX)
      throw new LeewayError(
        'LW-CONFIG',
        `bus.stream_first ${settings.stream_first} and the ${count} partitions of ${frames} are more than ${STREAMS_MAX} ` +
          'streams: lower bus.stream_first, or use a topic with fewer partitions',
      );
    const scratch_disk = options.scratch_disk ?? systemScratch();
    const scratch_prefix = await prepareScratch(scratch_disk, options.scratch_dir, options.clock.now_ms());
    const onEvent = options.onEvent ?? (() => undefined);
    const { clock, in_flight_bytes_max, publish_timeout_ms, buffer_bytes_max, stream_first } = settings;
    const stall_ms = Math.max(settings.stall_ms, 2 * session_timeout_ms);
    const producer = new FrameProducer({
      driver,
      topic: frames,
      partitions: count,
      clock,
      in_flight_bytes_max,
      publish_timeout_ms,
      onEvent,
    });
    const worker = new KafkaWorker({
      driver,
      topic: frames,
      group: `${topic_prefix}workers`,
      dead_letters: { topic: dead, partitions: partitions.get(dead) ?? 1 },
      clock,
      scratch_dir: options.scratch_dir,
      scratch_disk,
      scratch_prefix,
      stream_first,
      delivery: {
        rows_max: settings.delivery_rows_max,
        bytes_max: settings.delivery_bytes_max,
        wait_ms: settings.delivery_wait_ms,
      },
      buffer_bytes_max,
      stall_ms,
      onEvent,
    });
    return new KafkaBus({ driver, topic: frames, producer, worker });
  } catch (error) {
    await driver.close();
    throw error;
  }
}

async function openDriver(name: KafkaDriverName | KafkaDriver, connection: KafkaConnection): Promise<KafkaDriver> {
  if (typeof name !== 'string') return name;
  // loaded on demand: the embedded service needs neither package
  switch (name) {
    case 'kafkajs':
      return (await import('./kafkajs-driver.ts')).kafkajsDriver(connection);
    case 'platformatic':
      return (await import('./platformatic-driver.ts')).platformaticDriver(connection);
  }
}

async function ensureTopics(
  driver: KafkaDriver,
  topics: readonly string[],
  options: KafkaBusOptions,
): Promise<ReadonlyMap<string, number>> {
  const message_bytes_max = LIMITS.kafka_message_bytes_max;
  const found = await driver.partitions(topics);
  const missing = topics.filter((topic) => !found.has(topic));
  if (missing.length === 0) return found;
  const wanted = options.create_topics ?? null;
  if (wanted === null) {
    const commands = missing.map(
      (topic) =>
        `kafka-topics.sh --bootstrap-server ${options.brokers[0]} --create --topic ${topic} --partitions 6 ` +
        `--replication-factor 3 --config min.insync.replicas=2 --config max.message.bytes=${message_bytes_max}`,
    );
    throw new LeewayError(
      'LW-KAFKA-TOPIC',
      `Kafka has no topic ${missing.join(' and no topic ')}, or this login may not see it; create it: ${commands.join(' ; ')}`,
    );
  }
  await driver.createTopics(missing.map((topic) => ({ topic, ...wanted, message_bytes_max })));
  return createdTopics(driver, topics, options.clock);
}

/** What was created is not known to every broker at once. */
async function createdTopics(
  driver: KafkaDriver,
  topics: readonly string[],
  clock: Clock,
): Promise<ReadonlyMap<string, number>> {
  let cause: unknown;
  for (let attempt = 0; attempt < CREATED_ATTEMPTS_MAX; attempt++) {
    try {
      const found = await driver.partitions(topics);
      if (topics.every((topic) => (found.get(topic) ?? 0) > 0)) return found;
    } catch (error) {
      if (!(error instanceof LeewayError)) throw error;
      cause = error;
    }
    await clock.sleep(CREATED_WAIT_MS, new AbortController().signal);
  }
  const reason = `Kafka was told to create ${topics.join(' and ')} and does not list them`;
  throw new LeewayError('LW-KAFKA-TOPIC', reason, { cause });
}

type Parts = {
  readonly driver: KafkaDriver;
  readonly topic: string;
  readonly producer: FrameProducer;
  readonly worker: KafkaWorker;
};

class KafkaBus implements Bus {
  readonly #parts: Parts;
  #isConsuming = false;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  publish(batch: Batch, signal: AbortSignal): Promise<Published> {
    return this.#parts.producer.publish(batch, signal);
  }

  async consume(
    handle: (delivery: Delivery) => Promise<Outcome>,
    signal: AbortSignal,
    noteAside?: NoteAside,
  ): Promise<void> {
    assert(!this.#isConsuming, 'one consumer at a time');
    this.#isConsuming = true;
    try {
      await this.#parts.worker.consume(handle, signal, noteAside);
    } finally {
      this.#isConsuming = false;
    }
  }

  backlog(): Backlog {
    const { producer, worker } = this.#parts;
    const { held, quarantined } = worker.tallies;
    const in_flight = new SourceTally();
    for (const tally of [producer.tally, ...held])
      for (const count of tally.list()) in_flight.add(count, count.records);
    return {
      bytes: producer.bytes + worker.bytes,
      frames: producer.frames + worker.frames,
      oldest_ms: Math.max(producer.oldest_ms, worker.oldest_ms),
      in_flight: in_flight.list(),
      torn_frames: 0,
      damaged_frames: worker.unreadable_frames,
      quarantined: quarantined.list(),
      quarantined_frames: worker.quarantined_frames,
    };
  }

  async reach(signal: AbortSignal): Promise<void> {
    const { driver, producer, topic } = this.#parts;
    const waiting_ms = Math.round(producer.oldest_ms);
    if (waiting_ms > UNACKNOWLEDGED_MS_MAX)
      throw new LeewayError('LW-UNREACHABLE', `a batch waits for Kafka's acknowledgement, for ${waiting_ms} ms now`);
    const found = await untilAborted(driver.partitions([topic]), signal);
    if (!found.has(topic)) throw new LeewayError('LW-KAFKA-TOPIC', `Kafka has no topic ${topic}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { producer, driver } = this.#parts;
    await producer.close(CLOSE_GRACE_MS);
    await driver.close();
  }
}
