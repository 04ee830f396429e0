import { ConnectionPool, Consumer, Producer, ProtocolError, Reader, ResponseError, Writer } from '@platformatic/kafka';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { KafkaDriver, KafkaOut } from '../../src/transport/kafka-driver.ts';
import { platformaticDriver } from '../../src/transport/platformatic-driver.ts';

/**
 * The client and its driver against a coordinator that is played here, at the client's connections: it is asked with the
 * client's requests and answers with what the client's parsers would make of an answer.
 */

const TOPIC = 'frames';
/** Kafka protocol guide, "API Keys". */
const KEYS = {
  Produce: 0,
  Fetch: 1,
  ListOffsets: 2,
  Metadata: 3,
  OffsetCommit: 8,
  OffsetFetch: 9,
  FindCoordinator: 10,
  JoinGroup: 11,
  Heartbeat: 12,
  LeaveGroup: 13,
  SyncGroup: 14,
  ApiVersions: 18,
} as const;

type Answer = (error: Error | null, response?: unknown) => void;

/** A cluster of one broker, a topic of four partitions that hold 30 messages each, one group. */
class PlayedBroker {
  generation = 1;
  /** What the next generation gives the member under test; the rest is another member's. */
  share = [0, 1, 2, 3];
  readonly committed = new Map<number, bigint>();
  /** Commits that were asked for: generation and offsets. */
  readonly asked: { readonly generation: number; readonly offsets: ReadonlyMap<number, bigint> }[] = [];
  /** Partitions that have no leader. */
  readonly leaderless = new Set<number>();
  /** Partitions of each write that came. */
  readonly written: number[][] = [];
  /** What happens before a write is looked at. */
  onWrite: () => void = () => undefined;
  /** Errors by the number of the request that they answer. */
  readonly refused = new Map<number, string>();
  /** What happens before a commit is looked at. */
  onCommit: () => void = () => undefined;

  isConnected(): boolean {
    return true;
  }

  send(key: number, _version: number, createRequest: () => Writer, ...rest: readonly unknown[]): void {
    const callback = rest.at(-1) as Answer; // the last argument, by the client's own convention
    if (key === KEYS.Fetch) return; // nothing new
    setImmediate(() => {
      try {
        callback(null, this.#answer(key, Reader.from(createRequest().buffer)));
      } catch (error) {
        callback(error as Error);
      }
    });
  }

  #answer(key: number, request: Reader): unknown {
    const each = <Entry>(of: (partitionIndex: number) => Entry): Entry[] => [0, 1, 2, 3].map(of);
    const error = this.refused.get(key);
    if (error !== undefined) throw new ProtocolError(error);
    switch (key) {
      case KEYS.ApiVersions:
        return {
          apiKeys: Object.entries(KEYS).map(([name, apiKey]) => ({ apiKey, name, minVersion: 0, maxVersion: 99 })),
        };
      case KEYS.Metadata: {
        const replicas = { leaderId: 1, leaderEpoch: 0, replicaNodes: [1], isrNodes: [1], offlineReplicas: [] };
        const leaderId = (partition: number): number => (this.leaderless.has(partition) ? -1 : 1);
        const partitions = each((partitionIndex) => ({
          partitionIndex,
          ...replicas,
          leaderId: leaderId(partitionIndex),
        }));
        const topics = [{ name: TOPIC, topicId: 'id', isInternal: false, partitions }];
        const brokers = [{ nodeId: 1, host: 'played', port: 1, rack: null }];
        const answer = { clusterId: 'c', controllerId: 1, brokers, topics };
        const errors: Record<string, [number, null]> = {};
        for (const partition of this.leaderless) errors[`/topics/0/partitions/${partition}`] = [5, null];
        if (this.leaderless.size > 0) throw new ResponseError(key, 12, errors, answer);
        return answer;
      }
      case KEYS.Produce:
        this.onWrite();
        return this.#write(request);
      case KEYS.FindCoordinator:
        return { coordinators: [{ key: 'workers', nodeId: 1 }] };
      case KEYS.JoinGroup:
        return {
          memberId: `member of ${this.generation}`,
          generationId: this.generation,
          leader: 'another',
          protocolName: 'RoundRobinAssigner',
          members: [],
        };
      case KEYS.SyncGroup:
        return { assignment: assignmentOf(this.share) };
      case KEYS.ListOffsets:
        return { topics: [{ name: TOPIC, partitions: each((partitionIndex) => ({ partitionIndex, offset: 0n })) }] };
      case KEYS.OffsetFetch: {
        const partitions = each((partitionIndex) => ({
          partitionIndex,
          committedOffset: this.committed.get(partitionIndex) ?? -1n,
        }));
        return { groups: [{ groupId: 'workers', topics: [{ name: TOPIC, partitions }] }] };
      }
      case KEYS.OffsetCommit:
        this.onCommit();
        return this.#commit(request);
      default:
        return {};
    }
  }

  /** Produce request, version 9 to 11: transaction, acks, timeout, topics of partitions with their records. */
  #write(request: Reader): unknown {
    request.readNullableString();
    request.readInt16();
    request.readInt32();
    const partitions: number[] = [];
    request.readArray((topic) => {
      topic.readString();
      topic.readArray((partition) => {
        partitions.push(partition.readInt32());
        partition.skip(partition.readUnsignedVarInt() - 1);
      });
    });
    this.written.push(partitions);
    if (partitions.some((partition) => this.leaderless.has(partition)))
      throw new ResponseError(KEYS.Produce, 11, { '/responses/0/partition_responses/0': [6, null] }, {});
    const partitionResponses = partitions.map((index) => ({ index, errorCode: 0, baseOffset: 0n }));
    return { responses: [{ name: TOPIC, partitionResponses }] };
  }

  /** OffsetCommit request, version 8 and 9: group, generation, member, instance, topics of partitions. */
  #commit(request: Reader): unknown {
    request.readString();
    const generation = request.readInt32();
    request.readString();
    request.readNullableString();
    const offsets = new Map<number, bigint>();
    request.readArray((topic) => {
      topic.readString();
      topic.readArray((partition) => {
        offsets.set(partition.readInt32(), partition.readInt64());
        partition.readInt32();
        partition.readNullableString();
      });
    });
    this.asked.push({ generation, offsets });
    if (generation !== this.generation) throw new ProtocolError('ILLEGAL_GENERATION');
    for (const [partition, offset] of offsets) this.committed.set(partition, offset);
    return { topics: [] };
  }
}

/** ConsumerProtocolAssignment, version 0. */
function assignmentOf(partitions: readonly number[]): Buffer {
  const writer = Writer.create().appendInt16(0);
  writer.appendArray(
    [partitions],
    (one, share) =>
      one
        .appendString(TOPIC, false)
        .appendArray([...share], (entry, partition) => entry.appendInt32(partition), false, false),
    false,
    false,
  );
  return writer.appendInt32(0).buffer;
}

const real = Object.getOwnPropertyDescriptors(ConnectionPool.prototype);
let broker = new PlayedBroker();
beforeAll(() => {
  const connect = (_at: unknown, callback: (error: null, connection: PlayedBroker) => void): void =>
    void setImmediate(() => callback(null, broker));
  Object.assign(ConnectionPool.prototype, { get: connect, getFirstAvailable: connect });
});
afterAll(() => void Object.defineProperties(ConnectionPool.prototype, real));

/** A member that has joined; `told`: the assignments that it heard of. */
async function joined(committed: bigint | null, onCommit: () => void = () => undefined) {
  broker = new PlayedBroker();
  broker.onCommit = onCommit;
  if (committed !== null) for (const partition of broker.share) broker.committed.set(partition, committed);
  const driver = platformaticDriver({
    brokers: ['played:1'],
    tls: false,
    sasl: null,
    session_timeout_ms: 6_000,
    heartbeat_ms: 20,
  });
  const told: (readonly number[])[] = [];
  const failures: string[] = [];
  const consumer = await driver.consume(TOPIC, 'workers', {
    onAssigned: (partitions) => void told.push(partitions),
    onMessages: () => undefined,
    onFailed: (error) => void failures.push(error.message),
  });
  return {
    consumer,
    told,
    failures,
    [Symbol.asyncDispose]: async () => {
      await consumer.close();
      await driver.close();
    },
  };
}

test('@platformatic/kafka 1.35.0 still says a refused commit again in the name of the next generation: the driver must not use it', async () => {
  broker = new PlayedBroker();
  const settings = { clientId: 'c', groupId: 'workers', bootstrapBrokers: ['played:1'], retries: 2 };
  const consumer = new Consumer({
    ...settings,
    sessionTimeout: 6_000,
    rebalanceTimeout: 6_000,
    heartbeatInterval: 2_000,
  });
  await consumer.joinGroup({ protocols: [{ name: 'RoundRobinAssigner', version: 1 }] });
  broker.generation = 3;
  broker.share = [0, 2];
  broker.committed.set(1, 25n);
  await consumer.commit({ offsets: [{ topic: TOPIC, partition: 1, offset: 5n, leaderEpoch: -1 }] });
  const stale = new Map([[1, 5n]]);
  expect(broker.asked).toEqual([1, 3].map((generation) => ({ generation, offsets: stale })));
  expect(broker.committed.get(1)).toBe(5n); // the fault: partition 1 is another member's
  await new Promise<void>((resolve) => consumer.close(true, () => resolve()));
});

test('a commit of a generation that is over is refused and not said again in the name of the next one', async () => {
  await using place = await joined(0n);
  expect(place.told).toEqual([[0, 1, 2, 3]]);
  // frozen for longer than its session: another member has stored 25 of each partition, and got two of them
  broker.generation = 3;
  broker.share = [0, 2];
  for (const partition of [0, 1, 2, 3]) broker.committed.set(partition, 25n);
  const stale = new Map([0, 1, 2, 3].map((partition) => [partition, 5n]));
  await expect(place.consumer.commit(stale)).rejects.toMatchObject({ code: 'LW-CONFLICT' });
  expect(broker.asked).toEqual([{ generation: 1, offsets: stale }]);
  expect([...broker.committed.values()]).toEqual([25n, 25n, 25n, 25n]);
});

test('a commit of the present generation is made, and each partition that has no offset is given its first one before', async () => {
  await using place = await joined(null);
  await place.consumer.commit(new Map([[2, 7n]]));
  const first = new Map([0, 1, 2, 3].map((partition) => [partition, 0n]));
  expect(broker.asked).toEqual([
    { generation: 1, offsets: first },
    { generation: 1, offsets: new Map([[2, 7n]]) },
  ]);
});

test('first offsets that come too late for their generation are not committed, and the consumer lives on', async () => {
  const expel = (): void => {
    if (broker.generation === 2) return;
    broker.generation = 2;
    for (const partition of [0, 1, 2, 3]) broker.committed.set(partition, 25n);
  };
  await using place = await joined(null, expel);
  await expect(place.consumer.commit(new Map([[1, 3n]]))).rejects.toMatchObject({ code: 'LW-CONFLICT' });
  const first = new Map([0, 1, 2, 3].map((partition) => [partition, 0n]));
  expect(broker.asked).toEqual([{ generation: 1, offsets: first }]);
  expect([...broker.committed.values()]).toEqual([25n, 25n, 25n, 25n]);
  expect(place.failures).toEqual([]);
});

test('a rebalance in which it may not join any more ends the consumer, and not the process', async () => {
  await using place = await joined(0n);
  broker.refused.set(KEYS.JoinGroup, 'GROUP_AUTHORIZATION_FAILED');
  broker.refused.set(KEYS.Heartbeat, 'REBALANCE_IN_PROGRESS');
  await expect.poll(() => place.failures).toHaveLength(1);
  expect(place.failures[0]).toContain('GROUP_AUTHORIZATION_FAILED');
});

function driverOf(): KafkaDriver {
  const timings = { session_timeout_ms: 6_000, heartbeat_ms: 20 };
  return platformaticDriver({ brokers: ['played:1'], tls: false, sasl: null, ...timings });
}

function messageTo(partition: number): KafkaOut {
  return { partition, key: Buffer.from('n'), value: Buffer.from('v'), headers: {} };
}

test('@platformatic/kafka 1.35.0 still refuses to write to any partition of a topic while one has no leader: patch D', async () => {
  broker = new PlayedBroker();
  broker.leaderless.add(2);
  const producer = new Producer({ clientId: 'c', bootstrapBrokers: ['played:1'], retries: 0 });
  const messages = [{ topic: TOPIC, partition: 1, key: Buffer.from('n'), value: Buffer.from('v') }];
  await expect(producer.send({ messages })).rejects.toThrow();
  expect(broker.written).toEqual([]); // the fault: partition 1 has a leader
  await producer.close();
});

test('with patch D a partition without a leader is refused, and the others of its topic are written to', async () => {
  broker = new PlayedBroker();
  broker.leaderless.add(2);
  await using closing = new AsyncDisposableStack();
  const driver = closing.adopt(driverOf(), (opened) => opened.close());
  await driver.produce(TOPIC, [messageTo(1), messageTo(3)]);
  const refused = { code: 'LW-UNREACHABLE', message: expect.stringContaining('LEADER_NOT_AVAILABLE') };
  await expect(driver.produce(TOPIC, [messageTo(2)])).rejects.toMatchObject(refused);
  expect(broker.written).toEqual([[1, 3]]);
  broker.leaderless.clear();
  await driver.produce(TOPIC, [messageTo(2)]);
  expect(broker.written).toEqual([[1, 3], [2]]);
});

test('a leader that goes during a write fails that write, and not the process', async () => {
  broker = new PlayedBroker();
  broker.onWrite = () => void broker.leaderless.add(2);
  await using closing = new AsyncDisposableStack();
  const driver = closing.adopt(driverOf(), (opened) => opened.close());
  await expect(driver.produce(TOPIC, [messageTo(2)])).rejects.toMatchObject({ code: 'LW-UNREACHABLE' });
  expect(broker.written).toEqual([[2]]);
});
