import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { ingest } from '../../src/pipeline/ingest.ts';
import { openEmbeddedStore } from '../../src/store/embedded.ts';
import { kafkajsDriver } from '../../src/transport/kafkajs-driver.ts';
import { heartbeat, steps } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { type KafkaCluster, startKafka, whyNoKafka } from './kafka-broker.ts';
import { kafkaOptions, kafkaSubject, until } from './kafka-subject.ts';

const why = whyNoKafka();
const signal = new AbortController().signal;

test.skipIf(why === null)(`SKIPPED, Kafka before a store is not tested: ${why}`, ({ skip }) => skip());

describe.skipIf(why !== null)('Kafka before a real store', () => {
  let cluster: KafkaCluster;

  beforeAll(async () => {
    cluster = await startKafka();
  }, 120_000);
  afterAll(() => cluster[Symbol.asyncDispose]());

  test('batches sent twice over six partitions are stored once, and the account says so', async () => {
    await using directory = await scratchDirectory();
    await using place = await kafkaSubject(kafkaOptions(cluster.brokers, 'kafkajs'));
    await using bus = await place.open();
    await using store = await openEmbeddedStore({
      data_dir: directory.path,
      clock: systemClock,
      onEvent: () => undefined,
    });
    await store.migrate(signal);
    const sources = Array.from({ length: 10 }, (_, index) => `node-${index}`);
    // 10 sources, each 4 batches of 20 steps and a heartbeat of a rank of their own, every batch twice: 840 rows stored
    for (const _copy of [1, 2])
      await Promise.all(
        sources.flatMap((source, rank) =>
          [1, 2, 3, 4].map((sequence) => {
            const mine = steps((sequence - 1) * 20, sequence * 20, rank);
            const records = [...mine, { ...heartbeat(sequence), rank }];
            return bus.publish({ source, epoch: 7, sequence, records }, signal);
          }),
        ),
      );
    const stop = new AbortController();
    let rows = 0;
    const ingested = ingest(
      { bus, store, clock: systemClock, onEvent: (event) => (rows += event.outcome.kind === 'ok' ? event.rows : 0) },
      stop.signal,
    );
    await until('both copies are handled', () => rows >= 2 * 840);
    await until('no lag', () => bus.backlog().frames === 0);
    stop.abort();
    await ingested;
    const account = await store.account(signal);
    expect(account.map((entry) => entry.source).toSorted((a, b) => a.localeCompare(b))).toEqual(sources);
    for (const entry of account)
      expect(entry).toMatchObject({
        epoch: 7,
        frame_rows: 168,
        duplicates_absorbed: 84,
        stored: 84,
        sequence_min: 1,
        sequence_max: 4,
        sequences: 4,
      });
  });

  test('a message has its source as key, and all messages of a source lie in one partition', async () => {
    await using place = await kafkaSubject(kafkaOptions(cluster.brokers, 'platformatic'));
    await using bus = await place.open();
    const sources = Array.from({ length: 20 }, (_, index) => `node-${index}`);
    for (const sequence of [1, 2, 3])
      await Promise.all(
        sources.map((source) => bus.publish({ source, epoch: 1, sequence, records: steps(0, 2) }, signal)),
      );
    const driver = kafkajsDriver({
      brokers: cluster.brokers,
      tls: false,
      sasl: null,
      session_timeout_ms: 6_000,
      heartbeat_ms: 300,
    });
    const partitions = new Map<string, number[]>();
    const consumer = await driver.consume(`${place.options.topic_prefix}frames.v1`, 'keys', {
      onAssigned: () => undefined,
      onMessages: (partition, messages) => {
        for (const { key } of messages)
          partitions.set(String(key), [...(partitions.get(String(key)) ?? []), partition]);
      },
      onFailed: (error) => {
        throw error;
      },
    });
    const count = (): number => [...partitions.values()].reduce((sum, list) => sum + list.length, 0);
    await until('60 messages', () => count() >= 60);
    await consumer.close();
    await driver.close();
    expect([...partitions.keys()].toSorted()).toEqual(sources.toSorted());
    for (const [source, list] of partitions) expect(new Set(list).size, source).toBe(1);
    expect(new Set([...partitions.values()].flat()).size).toBeGreaterThan(1);
  });
});
