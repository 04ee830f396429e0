import {
  Admin,
  AuthenticationError,
  type Broker,
  type Callback,
  type CallbackWithPromise,
  type Connection,
  Consumer,
  kGetConnection,
  kPerformWithRetry,
  type Message,
  type MessagesStream,
  offsetCommitV8,
  ProduceAcks,
  Producer,
  ProtocolError,
  Reader,
  ResponseError,
  SASLMechanisms,
} from '@platformatic/kafka';
import type { LeewayError } from '../core/errors.ts';
import {
  brokerErrorName,
  driverError,
  FETCH_SETTINGS,
  memberSettings,
  REQUEST_SETTINGS,
  tlsOptions,
} from './kafka-client.ts';
import {
  answered,
  assertAcknowledged,
  CLIENT,
  type ConsumerHandlers,
  type KafkaConnection,
  type KafkaConsumer,
  type KafkaDriver,
  kafkaError,
  type KafkaIn,
  type KafkaOut,
  type PartitionPosition,
  topicSettings,
  type TopicSpec,
} from './kafka-driver.ts';

/**
 * Patch B for @platformatic/kafka 1.35.0, dist/protocol/reader.js lines 304–309: `readTaggedFields` reads a signed count
 * and skips that many bytes. After a change of leader the broker answers Fetch with tagged fields (KIP-482: an unsigned
 * count, then a tag, a size and so many bytes each) and the stream dies of OUT_OF_BOUNDS on every attempt.
 */
function patchReader(): void {
  Reader.prototype.readTaggedFields = function (this: Reader): void {
    for (let left = this.readUnsignedVarInt(); left > 0; left--) {
      this.readUnsignedVarInt();
      this.skip(this.readUnsignedVarInt());
    }
  };
}

/**
 * Patch D for version 1.35.0, of producers only: the client refuses the metadata of a topic whole when one of its partitions
 * has no leader (dist/apis/metadata/metadata-v12.js), and so every write to the others. Here such an answer counts: the
 * partition has leader -1 in it, and assertLeaders looks at those that are written to. Where a leader goes meanwhile the
 * client would ask for a connection to no broker and throw where nobody can catch it.
 */
class PartialProducer extends Producer {
  override [kPerformWithRetry]<Result>(
    operation: string,
    work: (callback: Callback<Result>) => void,
    ...rest: [CallbackWithPromise<Result>, attempt?: number, errors?: Error[], skips?: (error: Error) => boolean]
  ): void | Promise<Result> {
    const tolerant = (done: Callback<Result>): void =>
      work((error, result) => (isPartial(error) ? done(null, error['response'] as Result) : done(error, result))); // of this work
    return super[kPerformWithRetry](operation, operation === 'metadata' ? tolerant : work, ...rest);
  }

  override [kGetConnection](broker: Broker | undefined, callback: Callback<Connection>): void {
    if (broker === undefined) callback(new ProtocolError('LEADER_NOT_AVAILABLE'));
    else super[kGetConnection](broker, callback);
  }
}

/** An answer that is whole but for partitions without a leader. */
function isPartial(error: Error | null): error is ResponseError {
  if (!(error instanceof ResponseError)) return false;
  const isOfPartition = (one: unknown): boolean =>
    one instanceof ProtocolError &&
    one['apiId'] === 'LEADER_NOT_AVAILABLE' &&
    /\/partitions\//.test(String(one['path']));
  return error.errors.every(isOfPartition);
}

let prepared = false;

/** The client @platformatic/kafka 1.35.0 as a driver. Opens connections when first used. */
export function platformaticDriver(connection: KafkaConnection): KafkaDriver {
  if (!prepared) patchReader();
  prepared = true;
  return new PlatformaticDriver(connection);
}

const MECHANISMS = {
  plain: SASLMechanisms.PLAIN,
  'scram-sha-256': SASLMechanisms.SCRAM_SHA_256,
  'scram-sha-512': SASLMechanisms.SCRAM_SHA_512,
} as const;

/** ListOffsets: timestamps that mean the ends of a partition. */
const LATEST = -1n;
const EARLIEST = -2n;

type BaseOptions = ConstructorParameters<typeof Admin>[0];

class PlatformaticDriver implements KafkaDriver {
  readonly #connection: KafkaConnection;
  readonly #base: BaseOptions;
  #producer: Producer | null = null;
  #admin: Admin | null = null;

  constructor(connection: KafkaConnection) {
    this.#connection = connection;
    const { sasl, brokers } = connection;
    const tls = tlsOptions(connection);
    this.#base = {
      ...REQUEST_SETTINGS,
      bootstrapBrokers: [...brokers],
      connectTimeout: CLIENT.connect_timeout_ms,
      timeout: CLIENT.request_timeout_ms,
      retries: CLIENT.retries_max,
      retryDelay: CLIENT.retry_ms,
      metadataMaxAge: CLIENT.metadata_age_ms,
      autocreateTopics: false,
      ...(tls === null ? {} : { tls, tlsServerName: true }),
      ...(sasl === null
        ? {}
        : { sasl: { mechanism: MECHANISMS[sasl.mechanism], username: sasl.username, password: sasl.password } }),
    };
  }

  partitions(topics: readonly string[]): Promise<ReadonlyMap<string, number>> {
    return this.#asAdmin('the list of topics', async (admin) => {
      const existing = new Set(await admin.listTopics());
      const wanted = topics.filter((topic) => existing.has(topic));
      if (wanted.length === 0) return new Map();
      const { topics: found } = await admin.metadata({ topics: wanted, forceUpdate: true });
      return new Map([...found].map(([topic, { partitionsCount }]) => [topic, partitionsCount]));
    });
  }

  async createTopics(topics: readonly TopicSpec[]): Promise<void> {
    for (const spec of topics) {
      const { topic, partitions, replication } = spec;
      await this.#asAdmin(`the creation of ${topic}`, async (admin) => {
        const configs = topicSettings(spec);
        try {
          await admin.createTopics({ topics: [topic], partitions, replicas: replication, configs });
        } catch (error) {
          if (brokerErrorName(error, nameOf) !== 'TOPIC_ALREADY_EXISTS') throw error;
        }
      });
    }
  }

  async produce(topic: string, messages: readonly KafkaOut[]): Promise<void> {
    this.#producer ??= new PartialProducer({
      ...this.#base,
      idempotent: false,
      acks: ProduceAcks.ALL,
      compression: 'zstd',
    });
    const producer = this.#producer;
    const what = `a write to ${topic}`;
    try {
      await assertLeaders(
        producer,
        topic,
        messages.map((message) => message.partition),
      );
      const sent = producer.send({
        acks: ProduceAcks.ALL,
        messages: messages.map(({ partition, key, value, headers }) => ({
          topic,
          partition,
          key,
          value,
          headers: new Map(Object.entries(headers).map(([name, text]) => [Buffer.from(name), Buffer.from(text)])),
        })),
      });
      const { offsets = [] } = await answered(sent, what);
      assertAcknowledged(topic, messages, new Set(offsets.map((offset) => offset.partition)));
    } catch (error) {
      // its retries never leave a dead leader: a new one asks the first brokers again
      if (this.#producer === producer) this.#producer = null;
      void producer.close().catch(() => undefined); // it had failed already
      throw failure(error, what);
    }
  }

  async consume(topic: string, group: string, handlers: ConsumerHandlers): Promise<KafkaConsumer> {
    const consumer = new Consumer({
      ...this.#base,
      ...memberSettings(this.#connection, group),
      // the name and the format of kafkajs: workers of both drivers can share the group
      protocols: [{ name: 'RoundRobinAssigner', version: 1 }],
      autocommit: false,
    });
    const fail = (error: unknown): void => handlers.onFailed(failure(error, `the consumer of ${topic}`));
    consumer.on('error', fail); // a join that failed again and again: nobody else would hear of it
    let generation: Generation = { generation: -1, member: '', anchored: Promise.resolve() };
    consumer.on('consumer:group:join', ({ assignments, generationId = -1, memberId }) => {
      const partitions = (assignments ?? []).flatMap((entry) => (entry.topic === topic ? entry.partitions : []));
      const joined = { generation: generationId, member: memberId };
      const anchored = anchorOffsets(consumer, joined, topic, partitions);
      generation = { ...joined, anchored };
      anchored.catch((error: unknown) => {
        const reason = failure(error, `the consumer of ${topic}`);
        if (reason.code !== 'LW-CONFLICT') handlers.onFailed(reason); // else the next generation has its own
      });
      handlers.onAssigned(partitions);
    });
    let stream: MessagesStream<Buffer, Buffer, Buffer, Buffer>;
    try {
      await assertLeaders(consumer, topic, [0]); // joined without them it would be given no partition
      stream = await consumer.consume({
        topics: [topic],
        mode: 'committed',
        fallbackMode: 'earliest',
        autocommit: false,
        maxWaitTime: CLIENT.fetch_wait_ms,
        ...FETCH_SETTINGS,
        highWaterMark: 256,
      });
    } catch (error) {
      await closeForcibly(consumer);
      throw failure(error, `joining ${group}`);
    }
    stream.on('error', fail);
    stream.on('data', (message: Message) => handlers.onMessages(message.partition, [messageIn(message)]));
    return {
      commit: async (offsets) => {
        const { anchored, ...joined } = generation;
        try {
          await anchored; // or it would take this commit back
          await commitOnce(consumer, joined, topic, offsets);
        } catch (error) {
          throw failure(error, `a commit of ${group}`);
        }
      },
      pause: () => stream.pause(),
      resume: () => stream.resume(),
      close: async () => {
        await stream.close();
        await closeForcibly(consumer);
      },
    };
  }

  positions(topic: string, group: string): Promise<readonly PartitionPosition[]> {
    return this.#asAdmin(`the offsets of ${topic}`, async (admin) => {
      const { topics } = await admin.metadata({ topics: [topic] });
      const count = topics.get(topic)?.partitionsCount ?? 0;
      const all = Array.from({ length: count }, (_, partition) => partition);
      const at = async (timestamp: bigint): Promise<Map<number, bigint>> => {
        const partitions = all.map((partitionIndex) => ({ partitionIndex, timestamp }));
        const [found] = await admin.listOffsets({ topics: [{ name: topic, partitions }] });
        return new Map(found?.partitions.map((entry) => [entry.partitionIndex, entry.offset]));
      };
      const [low, end, groups] = await Promise.all([
        at(EARLIEST),
        at(LATEST),
        admin.listConsumerGroupOffsets({
          groups: [{ groupId: group, topics: [{ name: topic, partitionIndexes: all }] }],
        }),
      ]);
      const entries = groups[0]?.topics.find((entry) => entry.name === topic)?.partitions ?? [];
      const committed = new Map(entries.map((entry) => [entry.partitionIndex, entry.committedOffset]));
      return all.map((partition) => {
        const offset = committed.get(partition) ?? -1n;
        return {
          partition,
          low: low.get(partition) ?? 0n,
          end: end.get(partition) ?? 0n,
          committed: offset < 0n ? null : offset,
        };
      });
    });
  }

  async close(): Promise<void> {
    const open = [this.#producer, this.#admin];
    this.#producer = null;
    this.#admin = null;
    for (const client of open) await client?.close().catch(() => undefined); // closing anyway
  }

  async #asAdmin<Result>(what: string, work: (admin: Admin) => Promise<Result>): Promise<Result> {
    this.#admin ??= new Admin(this.#base);
    const admin = this.#admin;
    try {
      return await work(admin);
    } catch (error) {
      if (this.#admin === admin) this.#admin = null;
      void admin.close().catch(() => undefined); // it had failed already
      throw failure(error, what);
    }
  }
}

/**
 * Throws unless the client's cached metadata has a leader for each partition. Version 1.35.0 reads them without looking and
 * throws where nobody can catch it (dist/clients/producer/producer.js line 674), which a topic created just now provokes.
 */
async function assertLeaders(
  client: Pick<Admin, 'metadata'>,
  topic: string,
  partitions: readonly number[],
): Promise<void> {
  const hasLeaders = async (forceUpdate: boolean): Promise<boolean> => {
    const { topics } = await client.metadata({ topics: [topic], forceUpdate });
    const known = topics.get(topic)?.partitions ?? [];
    return partitions.every((partition) => (known[partition]?.leader ?? -1) >= 0);
  };
  if (!(await hasLeaders(false)) && !(await hasLeaders(true)))
    throw kafkaError('LEADER_NOT_AVAILABLE', `the metadata of ${topic}`, undefined);
}

/** Leaves the group whatever streams are open; a coordinator that does not answer learns it when the session ends. */
function closeForcibly(consumer: Consumer<Buffer, Buffer, Buffer, Buffer>): Promise<void> {
  return new Promise((resolve) => consumer.close(true, () => resolve()));
}

/**
 * Commits where the group begins on partitions that it never committed. Without it the stream, given a partition back
 * that it had lost, would go on from where it had read to, and not from what was handled.
 */
async function anchorOffsets(
  consumer: Consumer<Buffer, Buffer, Buffer, Buffer>,
  joined: Joined,
  topic: string,
  partitions: readonly number[],
): Promise<void> {
  if (partitions.length === 0) return;
  const committed = await consumer.listCommittedOffsets({ topics: [{ topic, partitions: [...partitions] }] });
  const missing = partitions.filter((partition) => (committed.get(topic)?.[partition] ?? -1n) < 0n);
  if (missing.length === 0) return;
  const low = await consumer.listOffsets({ topics: [topic], timestamp: EARLIEST });
  await commitOnce(consumer, joined, topic, new Map(missing.map((at) => [at, low.get(topic)?.[at] ?? 0n])));
}

/** What a coordinator knows an assignment by. */
type Joined = { readonly generation: number; readonly member: string };
/** `anchored`: the group has an offset in each of its partitions. */
type Generation = Joined & { readonly anchored: Promise<void> };

/**
 * Commits in the name of the generation that the offsets are of, once. `Consumer.commit` of version 1.35.0 joins again when
 * the generation is over and repeats the same commit in the name of the next one (dist/clients/consumer/consumer.js, #commit):
 * a member that was taken for dead would put the group back in partitions that are another member's by then.
 */
async function commitOnce(
  consumer: Consumer<Buffer, Buffer, Buffer, Buffer>,
  { generation, member }: Joined,
  topic: string,
  offsets: ReadonlyMap<number, bigint>,
): Promise<void> {
  const coordinator = await consumer.findGroupCoordinator();
  const connection = (await consumer.connectToBrokers([coordinator])).get(coordinator);
  if (connection === undefined) throw kafkaError('COORDINATOR_NOT_AVAILABLE', `a commit of ${topic}`, undefined);
  const partitions = [...offsets].map(([partitionIndex, committedOffset]) => ({
    partitionIndex,
    committedOffset,
    committedLeaderEpoch: -1,
    committedMetadata: null,
  }));
  await offsetCommitV8.api.async(connection, consumer.groupId, generation, member, null, [{ name: topic, partitions }]);
}

function messageIn(message: Message): KafkaIn {
  return {
    offset: message.offset,
    key: message.key ?? null,
    value: message.value ?? null,
    headers: new Map([...message.headers].map(([name, value]) => [name.toString(), value])),
    at_ms: Number(message.timestamp),
  };
}

function nameOf(error: Error): string | null {
  if (error instanceof AuthenticationError) return 'SASL_AUTHENTICATION_FAILED';
  return 'apiId' in error && typeof error.apiId === 'string' ? error.apiId : null;
}

function failure(error: unknown, what: string): LeewayError {
  return driverError(error, what, nameOf);
}
