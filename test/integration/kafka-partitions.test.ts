import { crc32 } from 'node:zlib';
import kafkajs, { type Admin } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stepRecord } from '../contract/records.ts';
import { type KafkaCluster, startKafka, whyNoKafka } from './kafka-broker.ts';
import { consuming, kafkaOptions, kafkaSubject, sequencesBySource, until } from './kafka-subject.ts';

const why = whyNoKafka();
const signal = new AbortController().signal;
const SOURCES = Array.from({ length: 16 }, (_, index) => `node-${index}`);

async function asAdmin<Result>(brokers: readonly string[], work: (admin: Admin) => Promise<Result>): Promise<Result> {
  const admin = new kafkajs.Kafka({ brokers: [...brokers], logLevel: kafkajs.logLevel.NOTHING }).admin();
  await admin.connect();
  try {
    return await work(admin);
  } finally {
    await admin.disconnect();
  }
}

function batch(source: string, sequence: number) {
  return { source, epoch: 1, sequence, records: [stepRecord(sequence)] };
}

test.skipIf(why === null)(`SKIPPED, partitions of a real Kafka are not tested: ${why}`, ({ skip }) => skip());

describe.skipIf(why !== null)('partitions of a Kafka topic', () => {
  let cluster: KafkaCluster;

  beforeAll(async () => {
    cluster = await startKafka({ nodes: 3 });
  }, 120_000);
  afterAll(() => cluster[Symbol.asyncDispose]());

  test.each(['kafkajs', 'platformatic'] as const)(
    '%s: partitions that are added while a worker reads are read, too',
    async (driver) => {
      const options = { ...kafkaOptions(cluster.brokers, driver), create_topics: { partitions: 2, replication: 1 } };
      await using place = await kafkaSubject({ ...options, session_timeout_ms: 3_000 });
      await using worker = await place.open();
      const reader = consuming(worker);
      for (const source of SOURCES) await worker.publish(batch(source, 1), signal);
      await until('the first are read', () => reader.frames.length === SOURCES.length);
      const topic = `${place.options.topic_prefix}frames.v1`;
      await asAdmin(cluster.brokers, (admin) => admin.createPartitions({ topicPartitions: [{ topic, count: 4 }] }));
      await using gateway = await place.openWith({ create_topics: null });
      const fresh = SOURCES.filter((source) => crc32(Buffer.from(source)) % 4 >= 2);
      expect(fresh.length).toBeGreaterThan(0);
      for (const source of SOURCES) await gateway.publish(batch(source, 2), signal);
      const seen = (): number =>
        [...sequencesBySource(reader.frames).values()].filter((list) => list.includes(2)).length;
      await until('those in the new partitions, too', () => seen() === SOURCES.length, 60_000);
      await reader.end();
    },
  );

  test('platformatic: while a partition has no leader, what goes to the others is acknowledged', async () => {
    const options = {
      ...kafkaOptions(cluster.brokers, 'platformatic'),
      create_topics: { partitions: 6, replication: 1 },
    };
    await using place = await kafkaSubject(options);
    await using gateway = await place.openWith({ publish_timeout_ms: 10_000 });
    const topic = `${place.options.topic_prefix}frames.v1`;
    const { topics } = await asAdmin(cluster.brokers, (admin) => admin.fetchTopicMetadata({ topics: [topic] }));
    const led = topics[0]?.partitions.filter(({ leader }) => leader === 3).map(({ partitionId }) => partitionId) ?? [];
    expect(led).toHaveLength(2); // six partitions on three nodes
    const isOff = (source: string): boolean => led.includes(crc32(Buffer.from(source)) % 6);
    const publish = async (sequence: number): Promise<string[]> => {
      const sent = SOURCES.map((source) => gateway.publish(batch(source, sequence), signal));
      const results = await Promise.allSettled(sent);
      return SOURCES.filter((_, index) => results[index]?.status === 'fulfilled');
    };
    expect(await publish(1)).toEqual(SOURCES);
    await cluster.kill(2);
    const living = SOURCES.filter((source) => !isOff(source));
    expect(living.length).toBeLessThan(SOURCES.length);
    for (const sequence of [2, 3]) expect(await publish(sequence)).toEqual(living);
  });
});
