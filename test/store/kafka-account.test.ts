import path from 'node:path';
import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { ok } from '../../src/core/outcome.ts';
import type { Batch, Store } from '../../src/core/ports.ts';
import { openClickHouseStore } from '../../src/store/clickhouse.ts';
import { openKafkaBus } from '../../src/transport/kafka-bus.ts';
import { stepRecord } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { MemoryKafka } from '../transport/memory-kafka.ts';
import { ClickHouseDouble } from './clickhouse-double.ts';

const never = new AbortController().signal;
const BATCHES = 10;

/** A topic of two partitions that takes `batches`, and a worker with `stream_first` that stores them. */
async function pass(store: Store, scratch_dir: string, batches: readonly Batch[], stream_first: number): Promise<void> {
  const kafka = new MemoryKafka();
  const options = { driver: kafka, brokers: [], scratch_dir, clock: systemClock, delivery_wait_ms: 1, stream_first };
  await using bus = await openKafkaBus(options);
  for (const batch of batches) await bus.publish(batch, never);
  const stop = new AbortController();
  let stored = 0;
  const consumed = bus.consume(async (delivery) => {
    const outcome = await store.insert(delivery, never);
    expect(outcome).toEqual(ok(undefined));
    stored += delivery.frames.length;
    return outcome;
  }, stop.signal);
  await expect.poll(() => kafka.members.length).toBe(1);
  kafka.member.handlers.onAssigned([0, 1]);
  for (const partition of [0, 1])
    kafka.member.handlers.onMessages(partition, kafka.fetch('leeway.frames.v1', partition));
  await expect.poll(() => stored, { timeout: 20_000 }).toBe(batches.length);
  stop.abort();
  await consumed;
}

/** Ten batches of one record each. */
function batchesOf(source: string): Batch[] {
  return Array.from({ length: BATCHES }, (_, index) => ({
    source,
    epoch: 1,
    sequence: index + 1,
    records: [{ ...stepRecord(index + 1), job: source }],
  }));
}

const openStore = (double: ClickHouseDouble): Promise<Store> =>
  openClickHouseStore({
    url: double.url,
    database: 'leeway',
    cluster: null,
    writer: { username: 'writer', readPassword: async () => 'w' },
    clock: systemClock,
  });

/** Source, rows by the frames' own word, rows counted, batches. */
async function account(store: Store) {
  return (await store.account(never))
    .map(({ source, frame_rows, stored, sequences }) => [source, frame_rows, stored, sequences] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1));
}

test('streams beyond what lineages have room for are a wrong setting, named with its limit', async () => {
  await using directory = await scratchDirectory();
  const options = { driver: new MemoryKafka(), brokers: [], scratch_dir: directory.path, clock: systemClock };
  await expect(openKafkaBus({ ...options, stream_first: 4_095 })).rejects.toMatchObject({
    code: 'LW-CONFIG',
    message: expect.stringMatching(
      /bus\.stream_first 4095 and the 2 partitions of leeway\.frames\.v1 .* 4096 streams/u,
    ),
  });
  await using bus = await openKafkaBus({ ...options, stream_first: 4_094 });
  expect(bus.backlog().frames).toBe(0);
});

test('the account of a topic that was created anew adds up where its streams were raised by its partitions', async () => {
  await using directory = await scratchDirectory();
  await using double = await ClickHouseDouble.start(directory.path);
  // both in partition 0, at the same offsets
  const all = ['before', 'earlier'].map((source) => [source, BATCHES, BATCHES, BATCHES]);
  const scratch = path.join(directory.path, 'scratch');
  {
    await using store = await openStore(double);
    await pass(store, scratch, batchesOf('earlier'), 0);
    await pass(store, scratch, batchesOf('before'), 2);
    expect(await account(store)).toEqual(all);
  }
  await using again = await openStore(double); // another process, which has nothing in mind
  expect(await account(again)).toEqual(all);
});

test('a number that was given to a second batch, since Kafka had not answered in time for the first, names two that are both counted', async () => {
  await using directory = await scratchDirectory();
  await using double = await ClickHouseDouble.start(directory.path);
  await using store = await openStore(double);
  const [first] = batchesOf('api');
  const records = [7, 8, 9].map((step) => ({ ...stepRecord(step), job: 'api' }));
  const batches = first === undefined ? [] : [first, { ...first, records }, { ...first, sequence: 2 }];
  await pass(store, path.join(directory.path, 'scratch'), batches, 0);
  // the sender gave the first batch once more, as number 2: its record is absorbed, and 1 + 3 are there
  expect(await store.account(never)).toMatchObject([
    { source: 'api', frame_rows: 5, stored: 4, duplicates_absorbed: 1, sequences: 2, gaps: [] },
  ]);
});
