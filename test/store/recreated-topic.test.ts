import path from 'node:path';
import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { ok } from '../../src/core/outcome.ts';
import type { Store } from '../../src/core/ports.ts';
import { openClickHouseStore } from '../../src/store/clickhouse.ts';
import { openKafkaBus } from '../../src/transport/kafka-bus.ts';
import { stepRecord } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { MemoryKafka } from '../transport/memory-kafka.ts';
import { ClickHouseDouble } from './clickhouse-double.ts';

const never = new AbortController().signal;
const BATCHES = 10;

/** A topic of two partitions that takes ten batches of `source`, and a worker with `stream_first` that stores them. */
async function pass(store: Store, scratch_dir: string, source: string, stream_first: number): Promise<void> {
  const kafka = new MemoryKafka();
  const options = { driver: kafka, brokers: [], scratch_dir, clock: systemClock, delivery_wait_ms: 1, stream_first };
  await using bus = await openKafkaBus(options);
  for (let sequence = 1; sequence <= BATCHES; sequence++) {
    const records = [{ ...stepRecord(sequence), job: source }];
    await bus.publish({ source, epoch: 1, sequence, records }, never);
  }
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
  await expect.poll(() => stored, { timeout: 20_000 }).toBe(BATCHES);
  stop.abort();
  await consumed;
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
  const open = () =>
    openClickHouseStore({
      url: double.url,
      database: 'leeway',
      cluster: null,
      writer: { username: 'writer', readPassword: async () => 'w' },
      clock: systemClock,
    });
  const account = async (store: Store) =>
    (await store.account(never))
      .map(({ source, frame_rows, stored, sequences }) => [source, frame_rows, stored, sequences] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1));
  // both in partition 0, at the same offsets
  const all = ['before', 'earlier'].map((source) => [source, BATCHES, BATCHES, BATCHES]);
  const scratch = path.join(directory.path, 'scratch');
  {
    await using store = await open();
    await pass(store, scratch, 'earlier', 0);
    await pass(store, scratch, 'before', 2);
    expect(await account(store)).toEqual(all);
  }
  await using again = await open(); // another process, which has nothing in mind
  expect(await account(again)).toEqual(all);
});
