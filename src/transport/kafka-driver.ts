import { type Clock, systemClock } from '../core/clock.ts';
import { LeewayError } from '../core/errors.ts';

/**
 * What Leeway asks of a Kafka client. Two packages answer it (kafkajs-driver.ts, platformatic-driver.ts); the setting
 * `bus.driver` chooses. Everything that protects data (retries, order, when offsets are committed) lies above this line,
 * so that it is the same with both. Every method rejects with LeewayError: LW-UNREACHABLE (try again), LW-KAFKA-AUTH,
 * LW-KAFKA-TOPIC, LW-BODY-SIZE (a message that the broker finds too large), LW-CONFLICT (the group moved on).
 */
export interface KafkaDriver {
  /** Number of partitions of those of `topics` that exist and are visible to this login. */
  partitions(topics: readonly string[]): Promise<ReadonlyMap<string, number>>;
  /** Creates topics; one that exists already stays as it is. */
  createTopics(topics: readonly TopicSpec[]): Promise<void>;
  /**
   * Resolves when all in-sync replicas hold every message. After a rejection any part of them may be stored: the producer
   * is not idempotent, so a repeat is a second record and never swallows another one. Messages of one partition keep
   * their order within a call; the caller has at most one call in flight.
   */
  produce(topic: string, messages: readonly KafkaOut[]): Promise<void>;
  /** Joins `group` as a new member that reads `topic` from its committed offsets, or from the beginning. */
  consume(topic: string, group: string, handlers: ConsumerHandlers): Promise<KafkaConsumer>;
  /** Where every partition of the topic begins and ends and what the group has committed. */
  positions(topic: string, group: string): Promise<readonly PartitionPosition[]>;
  close(): Promise<void>;
}

export type KafkaOut = {
  readonly partition: number;
  readonly key: Buffer;
  readonly value: Buffer;
  readonly headers: Readonly<Record<string, string>>;
};

export type KafkaIn = {
  readonly offset: bigint;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: ReadonlyMap<string, Buffer>;
  /** Unix ms, as the producer set it. */
  readonly at_ms: number;
};

/** What the objects that hold a message take beside its bytes, about. */
const MESSAGE_BYTES = 512;

/** What a message takes in memory, about: key, value, headers and the objects that hold them. */
export function messageBytes({ key, value, headers }: KafkaIn): number {
  let bytes = MESSAGE_BYTES + (key?.length ?? 0) + (value?.length ?? 0);
  for (const [name, text] of headers) bytes += name.length + text.length;
  return bytes;
}

export type TopicSpec = {
  readonly topic: string;
  readonly partitions: number;
  readonly replication: number;
  readonly message_bytes_max: number;
};

/**
 * Settings of a topic that is created. With three replicas a write waits for two: `acks=all` alone would be content with the
 * only one that is in sync.
 */
export function topicSettings({ replication, message_bytes_max }: TopicSpec): { name: string; value: string }[] {
  const size = { name: 'max.message.bytes', value: String(message_bytes_max) };
  return replication < 3 ? [size] : [size, { name: 'min.insync.replicas', value: '2' }];
}

/** `low`: first offset kept; `end`: offset of the next message; `committed`: where the group goes on, null when nowhere yet. */
export type PartitionPosition = {
  readonly partition: number;
  readonly low: bigint;
  readonly end: bigint;
  readonly committed: bigint | null;
};

export type ConsumerHandlers = {
  /** The whole assignment after a join, possibly empty. */
  readonly onAssigned: (partitions: readonly number[]) => void;
  /** Messages of one partition in the order of their offsets. May repeat what came before. */
  readonly onMessages: (partition: number, messages: readonly KafkaIn[]) => void;
  /** The consumer is dead and has to be replaced. */
  readonly onFailed: (error: LeewayError) => void;
};

/** A member of a group. It keeps its membership alive by itself, also while paused. */
export interface KafkaConsumer {
  /**
   * Commits the next offset to read, by partition, in the name of the assignment told last; LW-CONFLICT when that one is
   * over. The client must not repeat it in the name of a later one, whose partitions may be another member's.
   */
  commit(offsets: ReadonlyMap<number, bigint>): Promise<void>;
  /** No new fetch; what is on its way may still arrive. */
  pause(): void;
  resume(): void;
  /** Leaves the group. */
  close(): Promise<void>;
}

/** Closing waits for a coordinator that may be gone: the session's end does the same, later. */
const LEAVE_MS_MAX = 2_000;

/** Closes a consumer, without waiting long for brokers that do not answer. Never rejects. */
export async function leaveGroup(consumer: KafkaConsumer, clock: Clock): Promise<void> {
  const over = new AbortController();
  const closed = consumer.close().catch(() => undefined); // its session ends by itself
  await Promise.race([closed, clock.sleep(LEAVE_MS_MAX, over.signal).catch(() => undefined)]);
  over.abort();
}

/** How to reach and to log in to the brokers. */
export type KafkaConnection = {
  /** `host:port` of any brokers; the others are found through them. */
  readonly brokers: readonly string[];
  /** True: the system's certificate authorities; `ca`: PEM text of the one to trust. */
  readonly tls: boolean | { readonly ca: string };
  readonly sasl: {
    readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512';
    readonly username: string;
    readonly password: string;
  } | null;
  /** Silence after which the group gives a member's partitions away. */
  readonly session_timeout_ms: number;
  readonly heartbeat_ms: number;
};

/** Timings of both clients: short single attempts, because the loops that repeat them are ours. */
export const CLIENT = {
  id: 'leeway',
  connect_timeout_ms: 2_000,
  request_timeout_ms: 10_000,
  retries_max: 2,
  retry_ms: 100,
  retry_ms_max: 1_000,
  /** A fetch waits this long for news: the freshness of an idle topic. */
  fetch_wait_ms: 250,
  fetch_bytes_max: 10 * 1_048_576,
  fetch_partition_bytes_max: 2 * 1_048_576,
  /** A dead leader is forgotten by then at the latest. */
  metadata_age_ms: 5_000,
  /** A call that has not ended by then never will: all attempts of both clients take less. */
  call_ms_max: 60_000,
} as const;

/** `work`, or LW-UNREACHABLE when the client never answers: a lost callback must not stop a queue for ever. */
export async function answered<Result>(
  work: Promise<Result>,
  what: string,
  clock: Clock = systemClock,
): Promise<Result> {
  const over = new AbortController();
  const silence = clock.sleep(CLIENT.call_ms_max, over.signal).then(() => {
    throw kafkaError(null, what, `no answer within ${CLIENT.call_ms_max} ms`);
  });
  try {
    return await Promise.race([work, silence]);
  } finally {
    over.abort();
  }
}

/**
 * Throws LW-UNREACHABLE unless every partition written to is among those that the brokers acknowledged. kafkajs 2.2.4 can
 * resolve without: after a leader died its second attempt skips brokers that answered the first one, and with them the
 * partitions that they lead now (src/producer/sendMessages.js, brokersWithoutResponse).
 */
export function assertAcknowledged(
  topic: string,
  messages: readonly KafkaOut[],
  acknowledged: ReadonlySet<number | undefined>,
): void {
  const missing = messages.find((message) => !acknowledged.has(message.partition));
  if (missing === undefined) return;
  const reason = `no broker acknowledged partition ${missing.partition}`;
  throw new LeewayError('LW-UNREACHABLE', `a write to ${topic} failed: ${reason}`);
}

const REFUSED = new Set([
  'TOPIC_AUTHORIZATION_FAILED',
  'GROUP_AUTHORIZATION_FAILED',
  'CLUSTER_AUTHORIZATION_FAILED',
  'SASL_AUTHENTICATION_FAILED',
  'UNSUPPORTED_SASL_MECHANISM',
  'ILLEGAL_SASL_STATE',
]);
const TOO_LARGE = new Set(['MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE']);
const MOVED_ON = new Set(['REBALANCE_IN_PROGRESS', 'ILLEGAL_GENERATION', 'UNKNOWN_MEMBER_ID', 'FENCED_INSTANCE_ID']);

/**
 * A client's failure as a LeewayError. `name` is the broker's error name (Kafka protocol guide, "Error Codes"), null
 * where there was no answer; `what` says what was attempted.
 */
export function kafkaError(name: string | null, what: string, cause: unknown): LeewayError {
  if (name !== null && REFUSED.has(name))
    return new LeewayError(
      'LW-KAFKA-AUTH',
      `Kafka refused ${what} (${name}); expected a login and access rights that allow it: check bus.sasl and the ACLs`,
      { cause },
    );
  if (name === 'UNKNOWN_TOPIC_OR_PARTITION')
    return new LeewayError('LW-KAFKA-TOPIC', `${what}: the topic or the partition does not exist (${name})`, { cause });
  if (name !== null && TOO_LARGE.has(name))
    return new LeewayError(
      'LW-BODY-SIZE',
      `${what}: a message is larger than the topic takes (${name}); raise max.message.bytes or send less at once`,
      { cause },
    );
  if (name !== null && MOVED_ON.has(name))
    return new LeewayError('LW-CONFLICT', `${what}: the consumer group has moved on (${name})`, { cause });
  const reason = name ?? (cause instanceof Error ? cause.message : String(cause));
  return new LeewayError('LW-UNREACHABLE', `${what} failed: ${reason.slice(0, 300)}`, { cause });
}
