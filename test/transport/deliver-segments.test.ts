import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { ok, type Outcome, reject, retry } from '../../src/core/outcome.ts';
import type { Bus, Delivery } from '../../src/core/ports.ts';
import { takenTogether } from '../../src/transport/deliver-segments.ts';
import { type SpoolDisk, systemDisk } from '../../src/transport/disk.ts';
import { openSpool } from '../../src/transport/spool.ts';
import { heartbeat, stepRecord } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

const signal = new AbortController().signal;
/** Nothing is synced: these tests kill no machine. */
const plainDisk: SpoolDisk = { ...systemDisk(false), write: (file, bytes) => writeFile(file, bytes) };

/** A spool that closes a segment a batch, as restarts do. */
async function spoolOf(data_dir: string, disk: SpoolDisk = plainDisk): Promise<Bus> {
  const known = { sequences: [], lineage_max: 0n };
  const bounds = { bytes_max: 1e9, close_ms: 0, segment_rows_max: 1 };
  return openSpool({ ...bounds, data_dir, fsync: false, clock: systemClock, known, disk });
}

/** Batches 1..count, every third a heartbeat and the others steps. */
async function publish(bus: Bus, count: number): Promise<void> {
  for (let sequence = 1; sequence <= count; sequence++) {
    const records = [sequence % 3 === 0 ? heartbeat(sequence) : stepRecord(sequence)];
    await bus.publish({ source: 'node-1', epoch: 7, sequence, records }, signal);
  }
}

/** Answers deliveries by `judge` until nothing waits; returns the sequences of each. */
async function consume(bus: Bus, judge: (delivery: Delivery) => Outcome | Promise<Outcome>): Promise<number[][]> {
  const stop = new AbortController();
  const seen: number[][] = [];
  const consuming = bus.consume(async (delivery) => {
    seen.push(delivery.frames.map(({ sequence }) => sequence));
    return judge(delivery);
  }, stop.signal);
  while (bus.backlog().frames > 0) await systemClock.sleep(5, signal);
  stop.abort();
  await consuming;
  return seen;
}

test('small segments of one table are one delivery, whose file holds the frames of all', async () => {
  await using directory = await scratchDirectory();
  await using bus = await spoolOf(directory.path);
  await publish(bus, 9);
  const rows: number[] = [];
  const files: string[] = [];
  const seen = await consume(bus, async (delivery) => {
    rows.push(delivery.rows);
    files.push((await readFile(delivery.path)).toString('latin1'));
    return ok(undefined);
  });
  expect(seen).toEqual([
    [1, 2, 4, 5, 7, 8],
    [3, 6, 9],
  ]);
  expect(rows).toEqual([6, 3]);
  expect(files.map((text) => text.match(/`LW1 /g)?.length)).toEqual([6, 3]);
  expect(bus.backlog()).toMatchObject({ in_flight: [], quarantined: [], bytes: 0 });
  expect(await readdir(path.join(directory.path, 'spool'))).toEqual([]);
});

test('where the store refuses them together each goes by itself: the refused one is set aside', async () => {
  await using directory = await scratchDirectory();
  await using bus = await spoolOf(directory.path);
  await publish(bus, 5);
  const judge = ({ frames }: Delivery): Outcome =>
    frames.some(({ sequence }) => sequence === 4) ? reject('LW-STORE', 'type mismatch') : ok(undefined);
  expect(await consume(bus, judge)).toEqual([[1, 2, 4, 5], [1], [2], [4], [5], [3]]);
  expect(bus.backlog()).toMatchObject({ in_flight: [], quarantined: [{ source: 'node-1', records: 1 }] });
  expect((await readdir(path.join(directory.path, 'spool'))).filter((name) => name.endsWith('.rejected'))).toEqual([
    '000000000004-step.native.rejected',
  ]);
});

test('a store that is busy gets the same again, and what of them is damaged costs itself', async () => {
  await using directory = await scratchDirectory();
  await using bus = await spoolOf(directory.path);
  await publish(bus, 5);
  const file = path.join(directory.path, 'spool', '000000000002-step.native');
  await writeFile(file, (await readFile(file)).fill(0, 60));
  const held = new Set<number>();
  let answers = 0;
  const seen = await consume(bus, ({ frames }) => {
    if (answers++ === 0) return retry('LW-STORE', 'busy', 1);
    for (const { sequence } of frames) held.add(sequence);
    return ok(undefined);
  });
  expect(seen.slice(0, 2)).toEqual([
    [1, 4, 5],
    [1, 4, 5],
  ]);
  expect(held).toEqual(new Set([1, 3, 4, 5]));
  expect(bus.backlog()).toMatchObject({ in_flight: [], quarantined: [{ source: 'node-1', records: 1 }] });
});

test('a disk that takes no further file keeps nothing from being delivered', async () => {
  await using directory = await scratchDirectory();
  const full = (): Promise<never> => Promise.reject(Object.assign(new Error('full'), { code: 'ENOSPC' }));
  await using bus = await spoolOf(directory.path, { ...plainDisk, write: full });
  await publish(bus, 5);
  expect(await consume(bus, () => ok(undefined))).toEqual([[1], [2], [4], [5], [3]]);
  expect(bus.backlog()).toMatchObject({ in_flight: [], quarantined: [] });
});

test('what goes together is small and of one table; samples go alone', () => {
  const segments = (table: 'step' | 'samples', rows: readonly number[]) =>
    rows.map((count) => ({ table, rows: count, bytes: 10 * count }));
  expect(takenTogether([])).toEqual([]);
  expect(takenTogether(segments('step', [9_000, 9_000, 9_000])).length).toBe(2);
  expect(takenTogether(segments('step', [200_000, 1])).length).toBe(1);
  expect(takenTogether(segments('samples', [1, 1])).length).toBe(1);
  expect(takenTogether([{ table: 'step', rows: 1, bytes: 5e6 }, ...segments('step', [1])]).length).toBe(1);
});
