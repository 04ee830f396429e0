import { createRequire } from 'node:module';
import { promisify } from 'node:util';
import { constants, zstdCompress, zstdCompressSync, zstdDecompress, zstdDecompressSync } from 'node:zlib';
import kafkajs, {
  type Admin,
  type EachBatchPayload,
  type IHeaders,
  type Kafka,
  type KafkaMessage,
  type Producer,
  type SASLOptions,
} from 'kafkajs';
import type { LeewayError } from '../core/errors.ts';
import { driverError, FETCH_SETTINGS, memberSettings, REQUEST_SETTINGS, tlsOptions } from './kafka-client.ts';
import { KafkaSockets } from './kafka-sockets.ts';
import {
  answered,
  assertAcknowledged,
  CLIENT,
  type ConsumerHandlers,
  type KafkaConnection,
  type KafkaConsumer,
  type KafkaDriver,
  type KafkaIn,
  type KafkaOut,
  type PartitionPosition,
  topicSettings,
  type TopicSpec,
} from './kafka-driver.ts';

const { CompressionCodecs, CompressionTypes, logLevel, Partitioners } = kafkajs;

/**
 * Patch A for kafkajs 2.2.4, src/network/requestQueue/index.js lines 306–324: with nothing pending it arms
 * `setTimeout(throttledUntil − now)`, a large negative number, which fires after 1 ms and arms itself again for ever,
 * once a connection: 2–3 % of a core when idle, and a TimeoutNegativeWarning on Node 24 (kafkajs issues 1704, 1751).
 * The timer is needed only while requests are pending.
 */
function patchRequestQueue(): void {
  const queue: unknown = createRequire(import.meta.url)('kafkajs/src/network/requestQueue');
  const prototype = requestQueuePrototype(queue);
  const original = prototype.scheduleCheckPendingRequests;
  prototype.scheduleCheckPendingRequests = function (this: PendingQueue): void {
    if (this.pending.length > 0) original.call(this);
  };
}

/** What brokers last said of a group's coordinator, by group, where they refused to name one. */
const refused_groups = new Map<string, unknown>();

/**
 * Patch C for kafkajs 2.2.4, src/cluster/index.js lines 384–421: why no broker names the coordinator of a group is thrown
 * away, and a login without rights looks like a cluster without a coordinator. The answer is kept for the error.
 */
function patchCoordinator(): void {
  const broker: unknown = createRequire(import.meta.url)('kafkajs/src/broker');
  const prototype: unknown = typeof broker === 'function' ? broker.prototype : null;
  if (typeof prototype !== 'object' || prototype === null || !('findGroupCoordinator' in prototype))
    throw new Error('kafkajs has no Broker.findGroupCoordinator: expected version 2.2.4');
  const patched = prototype as { findGroupCoordinator: (asked: { readonly groupId: string }) => Promise<unknown> }; // checked above
  const original = patched.findGroupCoordinator;
  patched.findGroupCoordinator = async function (this: unknown, asked) {
    try {
      const found = await original.call(this, asked);
      refused_groups.delete(asked.groupId);
      return found;
    } catch (error) {
      refused_groups.set(asked.groupId, error);
      throw error;
    }
  };
}

type PendingQueue = { readonly pending: readonly unknown[] };
type QueuePrototype = { scheduleCheckPendingRequests: (this: PendingQueue) => void };

function requestQueuePrototype(queue: unknown): QueuePrototype {
  const prototype: unknown = typeof queue === 'function' ? queue.prototype : null;
  if (typeof prototype !== 'object' || prototype === null || !('scheduleCheckPendingRequests' in prototype))
    throw new Error('kafkajs has no RequestQueue.scheduleCheckPendingRequests: expected version 2.2.4');
  return prototype as QueuePrototype; // checked above
}

/** Level 1: a tenth more bytes than level 3 and half of its time. */
const ZSTD = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };
/** A record batch is at most 1 MiB on the wire; nothing of ours grows more than tenfold. */
const UNZSTD = { maxOutputLength: 64 * 1_048_576 };
/** Up to here a thread of the pool costs more than the work: 9 KB take 50 µs at once and 170 µs over there, of CPU. */
const INLINE_BYTES_MAX = 131_072;

let prepared = false;

function prepare(): void {
  if (prepared) return;
  prepared = true;
  patchRequestQueue();
  patchCoordinator();
  const compress = promisify(zstdCompress);
  const decompress = promisify(zstdDecompress);
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({
    compress: async ({ buffer }: { readonly buffer: Buffer }) =>
      buffer.length <= INLINE_BYTES_MAX ? zstdCompressSync(buffer, ZSTD) : compress(buffer, ZSTD),
    decompress: async (bytes: Buffer) =>
      bytes.length <= INLINE_BYTES_MAX ? zstdDecompressSync(bytes, UNZSTD) : decompress(bytes, UNZSTD),
  });
}

/** The client kafkajs 2.2.4 as a driver. Opens connections when first used. */
export function kafkajsDriver(connection: KafkaConnection): KafkaDriver {
  prepare();
  return new KafkajsDriver(connection);
}

class KafkajsDriver implements KafkaDriver {
  readonly #connection: KafkaConnection;
  readonly #kafka: Kafka;
  readonly #sockets = new KafkaSockets();
  #producer: Promise<Producer> | null = null;
  #admin: Promise<Admin> | null = null;

  constructor(connection: KafkaConnection) {
    this.#connection = connection;
    const { sasl } = connection;
    const ssl = tlsOptions(connection);
    this.#kafka = new kafkajs.Kafka({
      ...REQUEST_SETTINGS,
      brokers: [...connection.brokers],
      logLevel: logLevel.NOTHING,
      socketFactory: this.#sockets.connect,
      connectionTimeout: CLIENT.connect_timeout_ms,
      retry: { initialRetryTime: CLIENT.retry_ms, maxRetryTime: CLIENT.retry_ms_max, retries: CLIENT.retries_max },
      ...(ssl === null ? {} : { ssl }),
      ...(sasl === null ? {} : { sasl: sasl as SASLOptions }), // the same three mechanisms by the same names
    });
  }

  partitions(topics: readonly string[]): Promise<ReadonlyMap<string, number>> {
    return this.#asAdmin(`the list of topics`, async (admin) => {
      const existing = new Set(await admin.listTopics());
      const wanted = topics.filter((topic) => existing.has(topic));
      if (wanted.length === 0) return new Map();
      const found = await admin.fetchTopicMetadata({ topics: wanted });
      return new Map(found.topics.map((topic) => [topic.name, topic.partitions.length]));
    });
  }

  async createTopics(topics: readonly TopicSpec[]): Promise<void> {
    await this.#asAdmin('the creation of topics', (admin) =>
      admin.createTopics({
        waitForLeaders: false, // asks a broker that may not know the topic yet; the bus waits itself
        topics: topics.map((spec) => ({
          topic: spec.topic,
          numPartitions: spec.partitions,
          replicationFactor: spec.replication,
          configEntries: topicSettings(spec),
        })),
      }),
    );
  }

  async produce(topic: string, messages: readonly KafkaOut[]): Promise<void> {
    try {
      this.#producer ??= this.#openProducer();
      const producer = await this.#producer;
      const sent = producer.send({
        topic,
        acks: -1,
        compression: CompressionTypes.ZSTD,
        messages: messages.map((message) => ({ ...message, headers: { ...message.headers } })),
      });
      const answers = await answered(sent, `a write to ${topic}`);
      assertAcknowledged(topic, messages, new Set(answers.map((answer) => answer.partition)));
    } catch (error) {
      this.#dropProducer(); // a new one asks the first brokers again, whatever this one believed
      throw failure(error, `a write to ${topic}`);
    }
  }

  async consume(topic: string, group: string, handlers: ConsumerHandlers): Promise<KafkaConsumer> {
    const consumer = this.#kafka.consumer({
      ...memberSettings(this.#connection, group),
      ...FETCH_SETTINGS,
      maxWaitTimeInMs: CLIENT.fetch_wait_ms,
      metadataMaxAge: CLIENT.metadata_age_ms,
      allowAutoTopicCreation: false,
      retry: {
        initialRetryTime: CLIENT.retry_ms,
        maxRetryTime: CLIENT.retry_ms_max,
        retries: 5,
        restartOnFailure: () => Promise.resolve(false), // the bus replaces it: one path for both clients
      },
    });
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) =>
      handlers.onAssigned(payload.memberAssignment[topic] ?? []),
    );
    consumer.on(consumer.events.CRASH, ({ payload }) =>
      handlers.onFailed(failure(reasonOf(payload.error, group), `the consumer of ${topic}`)),
    );
    // commits once and at once; consumer.commitOffsets would repeat after a rebalance what was meant for the time before
    const latest: { payload: EachBatchPayload | null } = { payload: null };
    try {
      await consumer.connect();
      await consumer.subscribe({ topics: [topic], fromBeginning: true });
      await consumer.run({
        autoCommit: false,
        eachBatchAutoResolve: false,
        eachBatch: async (given) => {
          latest.payload = given;
          handlers.onMessages(given.batch.partition, given.batch.messages.map(messageIn));
          given.resolveOffset(given.batch.lastOffset());
          await given.heartbeat();
        },
      });
    } catch (error) {
      await consumer.disconnect().catch(() => undefined); // it never joined
      throw failure(reasonOf(error, group), `joining ${group}`);
    }
    return {
      commit: async (offsets) => {
        const partitions = [...offsets].map(([partition, offset]) => ({ partition, offset: String(offset) }));
        try {
          if (latest.payload !== null)
            await latest.payload.commitOffsetsIfNecessary({ topics: [{ topic, partitions }] });
          else await consumer.commitOffsets(partitions.map((entry) => ({ ...entry, topic })));
        } catch (error) {
          throw failure(error, `a commit of ${group}`);
        }
      },
      pause: () => unlessStopped(() => consumer.pause([{ topic }])),
      resume: () => unlessStopped(() => consumer.resume([{ topic }])),
      close: () => consumer.disconnect(),
    };
  }

  positions(topic: string, group: string): Promise<readonly PartitionPosition[]> {
    return this.#asAdmin(`the offsets of ${topic}`, async (admin) => {
      const [ends, groups] = await Promise.all([
        admin.fetchTopicOffsets(topic),
        admin.fetchOffsets({ groupId: group, topics: [topic] }),
      ]);
      const committed = new Map(groups[0]?.partitions.map((entry) => [entry.partition, BigInt(entry.offset)]));
      return ends.map(({ partition, low, high }) => {
        const offset = committed.get(partition) ?? -1n;
        return { partition, low: BigInt(low), end: BigInt(high), committed: offset < 0n ? null : offset };
      });
    });
  }

  async close(): Promise<void> {
    const open = [this.#producer, this.#admin];
    this.#producer = null;
    this.#admin = null;
    this.#sockets.close(); // every call has been answered or given up
    for (const client of open) await client?.then((opened) => opened.disconnect()).catch(() => undefined); // closing anyway
  }

  async #openProducer(): Promise<Producer> {
    const producer = this.#kafka.producer({
      idempotent: false,
      allowAutoTopicCreation: false,
      metadataMaxAge: CLIENT.metadata_age_ms,
      createPartitioner: Partitioners.DefaultPartitioner,
      retry: { retries: 0 }, // see assertAcknowledged: only a whole call is repeated, by the bus
    });
    return connected(producer);
  }

  #dropProducer(): void {
    const dropped = this.#producer;
    this.#producer = null;
    void dropped?.then((producer) => producer.disconnect()).catch(() => undefined); // it had failed already
  }

  async #asAdmin<Result>(what: string, work: (admin: Admin) => Promise<Result>): Promise<Result> {
    const opened = (this.#admin ??= this.#openAdmin());
    try {
      return await work(await opened);
    } catch (error) {
      if (this.#admin === opened) this.#admin = null; // another call may have opened the next one
      void opened.then((admin) => admin.disconnect()).catch(() => undefined); // it had failed already
      throw failure(error, what);
    }
  }

  async #openAdmin(): Promise<Admin> {
    const admin = this.#kafka.admin();
    return connected(admin);
  }
}

/** A client that is connected; one that fails to leaves no connection behind. */
async function connected<Client extends Pick<Admin, 'connect' | 'disconnect'>>(client: Client): Promise<Client> {
  try {
    await client.connect();
    return client;
  } catch (error) {
    await client.disconnect().catch(() => undefined); // it had failed already
    throw error;
  }
}

/** A consumer that has crashed refuses; its replacement is told anew. */
function unlessStopped(act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!(error instanceof kafkajs.KafkaJSNonRetriableError)) throw error;
  }
}

function messageIn(message: KafkaMessage): KafkaIn {
  return {
    offset: BigInt(message.offset),
    key: message.key,
    value: message.value,
    headers: headersIn(message.headers ?? {}),
    at_ms: Number(message.timestamp),
  };
}

function headersIn(headers: IHeaders): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  for (const [name, value] of Object.entries(headers)) {
    const first = Array.isArray(value) ? value[0] : value;
    if (first !== undefined) found.set(name, Buffer.from(first));
  }
  return found;
}

function nameOf(error: Error): string | null {
  if (error instanceof kafkajs.KafkaJSProtocolError) return error.type;
  return error instanceof kafkajs.KafkaJSSASLAuthenticationError ? 'SASL_AUTHENTICATION_FAILED' : null;
}

/** The broker's own answer where kafkajs only says that it found no coordinator of the group. */
function reasonOf(error: unknown, group: string): unknown {
  const isLost = error instanceof kafkajs.KafkaJSGroupCoordinatorNotFound;
  return isLost ? (refused_groups.get(group) ?? error) : error;
}

function failure(error: unknown, what: string): LeewayError {
  return driverError(error, what, nameOf);
}
