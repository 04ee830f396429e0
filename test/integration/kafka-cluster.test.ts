import kafkajs from 'kafkajs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stepRecord } from '../contract/records.ts';
import { type KafkaCluster, startKafka, whyNoKafka } from './kafka-broker.ts';
import { consuming, kafkaOptions, kafkaSubject, sequencesBySource, until } from './kafka-subject.ts';

const why = whyNoKafka();
const DRIVERS = ['kafkajs', 'platformatic'] as const;
const signal = new AbortController().signal;

/** Index of the node that coordinates every group: the leader of the only partition of the offsets topic. */
async function coordinator(brokers: readonly string[]): Promise<number> {
  const admin = new kafkajs.Kafka({ brokers: [...brokers], logLevel: kafkajs.logLevel.NOTHING }).admin();
  await admin.connect();
  const { topics } = await admin.fetchTopicMetadata({ topics: ['__consumer_offsets'] });
  await admin.disconnect();
  return (topics[0]?.partitions[0]?.leader ?? 0) - 1;
}

/** The value of a topic's setting. */
async function settingOf(brokers: readonly string[], topic: string, setting: string): Promise<string | undefined> {
  const { ConfigResourceTypes, Kafka, logLevel } = kafkajs;
  const admin = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  const resources = [{ type: ConfigResourceTypes.TOPIC, name: topic, configNames: [setting] }];
  const { resources: found } = await admin.describeConfigs({ resources, includeSynonyms: false });
  await admin.disconnect();
  return found[0]?.configEntries[0]?.configValue;
}

test.skipIf(why === null)(`SKIPPED, a cluster of Kafka is not tested: ${why}`, ({ skip }) => skip());

describe.skipIf(why !== null)('a Kafka cluster of three', () => {
  let cluster: KafkaCluster;
  let dead = 0;

  beforeAll(async () => {
    // the brokers' own default protects nothing: what is promised must be a setting of the topic
    cluster = await startKafka({ nodes: 3, properties: { 'min.insync.replicas': '1' } });
  }, 120_000);
  afterAll(() => cluster[Symbol.asyncDispose]());

  test('the node that coordinates the group and leads partitions dies for good: publishing, storing and committing go on', async () => {
    const acks = new Map<string, number>();
    const stop = new AbortController();
    const runs = DRIVERS.map(async (driver) => {
      await using place = await kafkaSubject({ ...kafkaOptions(cluster.brokers, driver), session_timeout_ms: 3_000 });
      await using bus = await place.open();
      const reader = consuming(bus);
      const sources = Array.from({ length: 8 }, (_, index) => `node-${index}`);
      const sent = await Promise.all(
        sources.map(async (source) => {
          let sequence = 0;
          while (!stop.signal.aborted) {
            sequence++;
            await bus.publish({ source, epoch: 1, sequence, records: [stepRecord(sequence)] }, signal);
            acks.set(driver, (acks.get(driver) ?? 0) + 1);
          }
          return sequence;
        }),
      );
      const total = sent.reduce((sum, count) => sum + count, 0);
      const seen = (): number =>
        [...sequencesBySource(reader.frames).values()].reduce((sum, list) => sum + list.length, 0);
      await until(`${driver}: all ${total} are delivered`, () => seen() === total, 60_000);
      await until(`${driver}: no lag`, () => bus.backlog().frames === 0, 60_000);
      await reader.end();
      for (const [index, source] of sources.entries()) {
        const expected = Array.from({ length: sent[index] ?? 0 }, (_, at) => at + 1);
        expect(sequencesBySource(reader.frames).get(source)).toEqual(expected);
      }
    });
    const least = (): number => Math.min(...DRIVERS.map((driver) => acks.get(driver) ?? 0));
    await until('both are under way', () => least() >= 200);
    dead = await coordinator(cluster.brokers);
    await cluster.kill(dead);
    const before = new Map(acks);
    await until('both publish again', () =>
      DRIVERS.every((driver) => (acks.get(driver) ?? 0) > (before.get(driver) ?? 0) + 200),
    );
    stop.abort();
    await Promise.all(runs);
  });

  // goes on with the two nodes that are left
  test('with one node of three left nothing is acknowledged: acks=all waits for two replicas', async () => {
    const places = await Promise.all(DRIVERS.map((driver) => kafkaSubject(kafkaOptions(cluster.brokers, driver))));
    const buses = await Promise.all(places.map((place) => place.openWith({ publish_timeout_ms: 3_000 })));
    const publish = (sequence: number) =>
      Promise.allSettled(
        buses.flatMap((bus) =>
          // every partition, so that some are led by the node that stays
          Array.from({ length: 12 }, (_, index) =>
            bus.publish({ source: `node-${index}`, epoch: 1, sequence, records: [stepRecord(sequence)] }, signal),
          ),
        ),
      );
    const statuses = async (sequence: number): Promise<Set<string>> =>
      new Set((await publish(sequence)).map(({ status }) => status));
    expect(await statuses(1)).toEqual(new Set(['fulfilled']));
    const two = ({ options }: (typeof places)[number]) =>
      settingOf(cluster.brokers, `${options.topic_prefix}frames.v1`, 'min.insync.replicas');
    expect(await Promise.all(places.map(two))).toEqual(['2', '2']);
    await cluster.kill((dead + 1) % 3);
    expect(await statuses(2)).toEqual(new Set(['rejected']));
    await Promise.all([...buses, ...places].map((one) => one[Symbol.asyncDispose]()));
  });
});
