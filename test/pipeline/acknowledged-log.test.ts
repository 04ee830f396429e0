import { expect, test } from 'vitest';
import { ACKNOWLEDGED, QUARANTINED } from '../../src/control/collections.ts';
import { openSqliteControl } from '../../src/control/sqlite.ts';
import { ManualClock, systemClock } from '../../src/core/clock.ts';
import { reject } from '../../src/core/outcome.ts';
import type { Bus, Control } from '../../src/core/ports.ts';
import { AcknowledgedLog } from '../../src/pipeline/acknowledged-log.ts';
import { acknowledgedReader, unstored } from '../../src/read/acknowledged.ts';
import { openKafkaBus } from '../../src/transport/kafka-bus.ts';
import { stepRecord } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { MemoryKafka } from '../transport/memory-kafka.ts';

const never = new AbortController().signal;
const TOPIC = 'leeway.frames.v1';
const openControl = (): Promise<Control> => openSqliteControl({ data_dir: ':memory:', clock: new ManualClock() });
const batchOf = (sequence: number) => ({ source: 'node', epoch: 1, sequence, records: [stepRecord(sequence)] });

function logOf(control: Control): AcknowledgedLog {
  const onError = (error: unknown): void => {
    throw error;
  };
  return new AcknowledgedLog({ control, clock: systemClock, run: 'test', onError });
}

/** A bus over a broker in memory, whose only member has what the topic holds. */
async function openBus(kafka: MemoryKafka, scratch_dir: string): Promise<Bus> {
  return openKafkaBus({ driver: kafka, brokers: [], scratch_dir, clock: systemClock, delivery_wait_ms: 1 });
}

/** Hands the member of the broker all partitions and what they hold. */
function handOut(kafka: MemoryKafka): void {
  kafka.member.handlers.onAssigned([0, 1]);
  for (const partition of [0, 1]) kafka.member.handlers.onMessages(partition, kafka.fetch(TOPIC, partition));
}

test('a frame that the store refuses while the process ends is declared lost, and not in flight for ever', async () => {
  await using directory = await scratchDirectory();
  await using control = await openControl();
  const kafka = new MemoryKafka();
  await using bus = await openBus(kafka, directory.path);
  const log = logOf(control);
  const noted = log.noting(bus);
  await noted.publish(batchOf(1), never);
  const stop = new AbortController();
  const looking = Promise.withResolvers<void>();
  const looked = Promise.withResolvers<void>();
  const consumed = noted.consume(async () => {
    looking.resolve();
    await looked.promise;
    return reject('LW-STORE', 'it cannot be read');
  }, stop.signal);
  const logged = log.run(consumed);
  await expect.poll(() => kafka.members.length).toBe(1);
  handOut(kafka);
  await looking.promise;
  stop.abort();
  looked.resolve();
  await logged;
  expect(await control.transaction((tx) => tx.count(ACKNOWLEDGED, []))).toBe(1);
  const read = await acknowledgedReader(control).read();
  expect(unstored(read, [], systemClock.now_ms())).toMatchObject({
    in_flight: [],
    quarantined: [{ source: 'node', epoch: 1, records: 1 }],
    quarantined_batches: [{ source: 'node', epoch: 1, ranges: [[1, 1]] }],
  });
});

test('what a killed worker had set aside is written down before the group passes it', async () => {
  await using directory = await scratchDirectory();
  await using control = await openControl();
  const kafka = new MemoryKafka();
  await using bus = await openBus(kafka, directory.path);
  const noted = logOf(control).noting(bus); // its two seconds never come
  await noted.publish(batchOf(1), never);
  const stop = new AbortController();
  const consumed = noted.consume(async () => reject('LW-STORE', 'it cannot be read'), stop.signal);
  await expect.poll(() => kafka.members.length).toBe(1);
  const writtenAt: number[] = [];
  kafka.onCommit = async () => {
    writtenAt.push(await control.transaction((tx) => tx.count(QUARANTINED, [])));
  };
  handOut(kafka);
  await expect.poll(() => writtenAt).toEqual([1]);
  stop.abort();
  await consumed;
});

test('the log ends after all that acknowledges, and keeps what came last', async () => {
  await using control = await openControl();
  const log = logOf(control);
  const kafka = new MemoryKafka();
  await using directory = await scratchDirectory();
  await using bus = await openBus(kafka, directory.path);
  const noted = log.noting(bus);
  const loops = Promise.withResolvers<void>();
  const logged = log.run(loops.promise);
  await noted.publish(batchOf(1), never);
  await log.flush();
  await noted.publish(batchOf(2), never);
  loops.resolve();
  await logged;
  const { documents } = await acknowledgedReader(control).read();
  const sequences = documents.flatMap(({ body }) => body.sources.flatMap(({ batches }) => batches.map(([at]) => at)));
  expect(sequences).toEqual([1, 2]);
});
