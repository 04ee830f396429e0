import { copyFile, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { ok, type Outcome, reject, retry } from '../../src/core/outcome.ts';
import type { Bus, Delivery } from '../../src/core/ports.ts';
import { integerBelow, seededRandom, shuffled } from '../../src/core/random.ts';
import { type SpoolDisk, systemDisk } from '../../src/transport/disk.ts';
import { openSpool } from '../../src/transport/spool.ts';
import { replaySpoolLetter, spoolLetters } from '../../src/transport/spool-letters.ts';
import { stepRecord } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

const signal = new AbortController().signal;
/** Nothing is synced: these tests kill no machine. */
const disk: SpoolDisk = { ...systemDisk(false), write: (file, bytes) => writeFile(file, bytes) };
const seed = Number(process.env['LEEWAY_SEED'] ?? Date.now() % 1_000_000);

function open(data_dir: string, own: SpoolDisk = disk): Promise<Bus> {
  const known = { sequences: [], lineage_max: 0n };
  return openSpool({ data_dir, bytes_max: 1e9, fsync: false, clock: systemClock, known, close_ms: 0, disk: own });
}

/** Batches 1..count of one step each: one segment of so many frames. */
async function publish(bus: Bus, count: number): Promise<void> {
  const sequences = Array.from({ length: count }, (_, index) => index + 1);
  await Promise.all(
    sequences.map((sequence) =>
      bus.publish({ source: 'node-1', epoch: 7, sequence, records: [stepRecord(sequence)] }, signal),
    ),
  );
}

/** A store that refuses every delivery with one of the batches `bad`, and keeps the others. */
class Picky {
  readonly stored = new Set<number>();
  readonly bad: Set<number>;
  deliveries = 0;

  constructor(bad: Iterable<number>) {
    this.bad = new Set(bad);
  }

  readonly judge = ({ frames }: Delivery): Outcome => {
    this.deliveries++;
    if (frames.some(({ sequence }) => this.bad.has(sequence))) return reject('LW-STORE', 'type mismatch');
    for (const { sequence } of frames) this.stored.add(sequence);
    return ok(undefined);
  };
}

/** Lets the store have what waits, one segment. */
async function consume(bus: Bus, judge: (delivery: Delivery) => Outcome): Promise<void> {
  const stop = new AbortController();
  await bus.consume(async (delivery) => {
    stop.abort(); // what is under way is finished
    return judge(delivery);
  }, stop.signal);
}

async function setAside(data_dir: string): Promise<number[]> {
  const letters = await Array.fromAsync(spoolLetters(disk, path.join(data_dir, 'spool')));
  return letters.flatMap(({ contents }) =>
    contents.flatMap(({ sequences }) =>
      sequences.flatMap(([from, to]) => Array.from({ length: to - from + 1 }, (_, index) => from + index)),
    ),
  );
}

function without(count: number, bad: ReadonlySet<number>): Set<number> {
  return new Set(Array.from({ length: count }, (_, index) => index + 1).filter((sequence) => !bad.has(sequence)));
}

test('one frame that the store refuses costs itself: the others of its segment are stored', async () => {
  await using directory = await scratchDirectory();
  const store = new Picky([3]);
  await using bus = await open(directory.path);
  await publish(bus, 5);
  await consume(bus, store.judge);
  expect(store.stored).toEqual(new Set([1, 2, 4, 5]));
  // all five; 1 2 | 3 4 5; 3 | 4 5: five deliveries
  expect(store.deliveries).toBe(5);
  expect(bus.backlog()).toMatchObject({
    frames: 0,
    in_flight: [],
    quarantined: [{ source: 'node-1', epoch: 7, records: 1 }],
    quarantined_batches: [{ source: 'node-1', epoch: 7, ranges: [[3, 3]] }],
  });
  const spool = path.join(directory.path, 'spool');
  expect(await readdir(spool)).toEqual(['000000000001-step.native.rejected', '000000000001-step.native.rejected.json']);
  const [letter] = await Array.fromAsync(spoolLetters(disk, spool));
  expect(letter).toMatchObject({ frames: 1, rows: 1, code: 'LW-STORE', reason: 'type mismatch' });
});

test('what was set aside alone is the same loss after a restart, and none after its replay', async () => {
  await using directory = await scratchDirectory();
  const store = new Picky([2]);
  {
    await using bus = await open(directory.path);
    await publish(bus, 4);
    await consume(bus, store.judge);
  }
  {
    await using bus = await open(directory.path);
    expect(bus.backlog()).toMatchObject({ frames: 0, in_flight: [], quarantined: [{ records: 1 }] });
  }
  for await (const letter of spoolLetters(disk, path.join(directory.path, 'spool')))
    await replaySpoolLetter(disk, letter);
  store.bad.clear();
  await using bus = await open(directory.path);
  expect(bus.backlog()).toMatchObject({ frames: 1, in_flight: [{ records: 1 }], quarantined: [] });
  await consume(bus, store.judge);
  expect(store.stored).toEqual(new Set([1, 2, 3, 4]));
  expect(bus.backlog()).toMatchObject({ frames: 0, in_flight: [], quarantined: [] });
});

test(`up to sixteen refused frames are each found, wherever they stand (seed ${seed})`, async () => {
  const random = seededRandom(seed);
  for (let round = 0; round < 15; round++) {
    const count = 2 + integerBelow(random, 60);
    const all = [...without(count, new Set())];
    const bad = new Set(shuffled(random, all).slice(0, integerBelow(random, Math.min(16, count) + 1)));
    await using directory = await scratchDirectory();
    await using bus = await open(directory.path);
    const store = new Picky(bad);
    await publish(bus, count);
    await consume(bus, store.judge);
    expect([round, store.stored]).toEqual([round, without(count, bad)]);
    expect([round, await setAside(directory.path)]).toEqual([round, [...bad].toSorted((a, b) => a - b)]);
    const quarantined = bus.backlog().quarantined.map(({ records }) => records);
    expect([round, quarantined]).toEqual([round, bad.size === 0 ? [] : [bad.size]]);
  }
});

test('beyond sixteen the rest is set aside in stretches: a poisoned backlog costs a bounded number of inserts', async () => {
  await using directory = await scratchDirectory();
  await using bus = await open(directory.path);
  const count = 1_024;
  const bad = new Set(Array.from({ length: count / 2 }, (_, index) => 2 * index + 1));
  const store = new Picky(bad);
  await publish(bus, count);
  await consume(bus, store.judge);
  // 16 refused frames and the good ones between them, in halves: at most 16 × 2 × log2(1,024) and the first
  expect(store.deliveries).toBeLessThanOrEqual(16 * 2 * 10 + 1);
  const aside = await setAside(directory.path);
  expect(aside.length).toBeGreaterThanOrEqual(bad.size);
  // nothing is in both, nothing in neither
  expect(store.stored.size + aside.length).toBe(count);
  expect(aside.some((sequence) => store.stored.has(sequence))).toBe(false);
});

test('a store that is busy in between gets the whole segment again, and nothing is set aside before it has judged', async () => {
  await using directory = await scratchDirectory();
  const store = new Picky([3]);
  await using bus = await open(directory.path);
  await publish(bus, 4);
  let calls = 0;
  await consume(bus, (delivery) => (++calls === 3 ? retry('LW-STORE', 'busy', 1) : store.judge(delivery)));
  expect(bus.backlog()).toMatchObject({ frames: 4, quarantined: [] });
  expect(await setAside(directory.path)).toEqual([]);
  await consume(bus, store.judge);
  expect(store.stored).toEqual(new Set([1, 2, 4]));
  expect(bus.backlog()).toMatchObject({ frames: 0, quarantined: [{ records: 1 }] });
});

test('killed between setting aside and forgetting the segment, it counts once and is delivered again', async () => {
  await using directory = await scratchDirectory();
  const spool = path.join(directory.path, 'spool');
  const segment = path.join(spool, '000000000001-step.native');
  const store = new Picky([3]);
  {
    await using bus = await open(directory.path);
    await publish(bus, 4);
    await copyFile(segment, path.join(directory.path, 'kept'));
    await consume(bus, store.judge);
  }
  await copyFile(path.join(directory.path, 'kept'), segment);
  {
    await using bus = await open(directory.path);
    expect(bus.backlog()).toMatchObject({ frames: 4, in_flight: [{ records: 4 }], quarantined: [] });
    await consume(bus, store.judge);
    expect(bus.backlog()).toMatchObject({ frames: 0, in_flight: [], quarantined: [{ records: 1 }] });
  }
  expect(await setAside(directory.path)).toEqual([3]);
});

test('a disk that takes no further file sets the segment aside whole', async () => {
  await using directory = await scratchDirectory();
  const full = Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
  await using bus = await open(directory.path, { ...disk, write: () => Promise.reject(full) });
  await publish(bus, 4);
  await consume(bus, new Picky([3]).judge);
  expect(bus.backlog()).toMatchObject({ frames: 0, in_flight: [], quarantined: [{ records: 4 }] });
  expect(await setAside(directory.path)).toEqual([1, 2, 3, 4]);
});

test('a disk that fails while a segment is narrowed down makes it come again: no healthy frame is set aside', async () => {
  await using directory = await scratchDirectory();
  let failures = 1;
  const failing: SpoolDisk = {
    ...disk,
    write: (file, bytes) =>
      failures-- > 0 ? Promise.reject(Object.assign(new Error('EIO'), { code: 'EIO' })) : disk.write(file, bytes),
  };
  await using bus = await open(directory.path, failing);
  await publish(bus, 4);
  const store = new Picky([3]);
  await consume(bus, store.judge);
  expect(bus.backlog()).toMatchObject({ frames: 4, quarantined: [] });
  await consume(bus, store.judge);
  expect(bus.backlog()).toMatchObject({ frames: 0, in_flight: [], quarantined: [{ records: 1 }] });
  expect(await setAside(directory.path)).toEqual([3]);
});
