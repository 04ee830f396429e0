import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { ok, type Outcome } from '../../src/core/outcome.ts';
import type { Bus, Delivery } from '../../src/core/ports.ts';
import { systemDisk } from '../../src/transport/disk.ts';
import { openSpool } from '../../src/transport/spool.ts';
import { replaySpoolLetter, type SpoolLetter, spoolLetters } from '../../src/transport/spool-letters.ts';
import { heartbeat, steps } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

const signal = new AbortController().signal;
const disk = systemDisk(false);
const REFUSED = { kind: 'reject', code: 'LW-STORE', reason: 'column "loss" is no number' } as const;

function open(data_dir: string): Promise<Bus> {
  const known = { sequences: [], lineage_max: 0n };
  return openSpool({ data_dir, bytes_max: 1e9, fsync: false, clock: systemClock, known, close_ms: 0 });
}

/** Consumes one segment; every delivery that it takes until the segment is done with. */
async function consume(bus: Bus, judge: (delivery: Delivery) => Outcome): Promise<Delivery[]> {
  const stop = new AbortController();
  const seen: Delivery[] = [];
  await bus.consume(async (delivery) => {
    seen.push(delivery);
    stop.abort(); // what is under way is finished
    return judge(delivery);
  }, stop.signal);
  return seen;
}

/** A spool with one rejected segment of steps: two batches of node-1 (sequences 1 and 2), one of node-2 (9). */
async function spoolWithLetter(data_dir: string): Promise<string> {
  await using bus = await open(data_dir);
  await Promise.all([
    bus.publish({ source: 'node-1', epoch: 7, sequence: 1, records: steps(0, 10) }, signal),
    bus.publish({ source: 'node-1', epoch: 7, sequence: 2, records: steps(10, 15) }, signal),
    bus.publish({ source: 'node-2', epoch: 8, sequence: 9, records: steps(20, 23) }, signal),
  ]);
  await consume(bus, () => REFUSED);
  return path.join(data_dir, 'spool');
}

async function letters(directory: string): Promise<SpoolLetter[]> {
  return Array.fromAsync(spoolLetters(disk, directory));
}

test('a rejected segment is listed with its reason, its sources, their sequences and rows, and its first bytes', async () => {
  await using directory = await scratchDirectory();
  const spool = await spoolWithLetter(directory.path);
  const [letter, ...others] = await letters(spool);
  expect(others).toEqual([]);
  const bytes = await readFile(letter?.path ?? '');
  expect(letter).toMatchObject({
    id: '000000000001-step',
    kind: 'rejected',
    table: 'step',
    bytes: bytes.length,
    frames: 3,
    rows: 18,
    contents: [
      { source: 'node-1', epoch: 7, rows: 15, sequences: [[1, 2]] },
      { source: 'node-2', epoch: 8, rows: 3, sequences: [[9, 9]] },
    ],
    code: 'LW-STORE',
    reason: 'column "loss" is no number',
  });
  expect(letter?.raw).toEqual(bytes.subarray(0, 1_024));
});

test('what is replayed waits for the store again with the lineage it had, and is no declared loss any more', async () => {
  await using directory = await scratchDirectory();
  const spool = await spoolWithLetter(directory.path);
  const [letter] = await letters(spool);
  if (letter === undefined) throw new Error('nothing set aside');
  {
    await using bus = await open(directory.path);
    expect(bus.backlog()).toMatchObject({ frames: 0, quarantined: [{ records: 15 }, { records: 3 }] });
  }
  await replaySpoolLetter(disk, letter);
  expect(await readdir(spool)).toEqual(['000000000001-step.native']);
  expect(await letters(spool)).toEqual([]);
  await using bus = await open(directory.path);
  expect(bus.backlog()).toMatchObject({ frames: 3, quarantined: [], in_flight: [{ records: 15 }, { records: 3 }] });
  // a sender that repeats its batch now stores nothing new
  expect(await bus.publish({ source: 'node-1', epoch: 7, sequence: 1, records: steps(0, 10) }, signal)).toEqual({
    repeated: true,
  });
  const [delivery] = await consume(bus, () => ok(undefined));
  // frame i of segment 1 has lineage 1 · 2^20 + i
  expect(delivery?.frames.map(({ lineage }) => lineage)).toEqual([1_048_576n, 1_048_577n, 1_048_578n]);
  expect(bus.backlog()).toMatchObject({ frames: 0, quarantined: [], in_flight: [] });
  expect(await readdir(spool)).toEqual([]);
});

test('what the store refuses once more is set aside once more, with the new reason', async () => {
  await using directory = await scratchDirectory();
  const spool = await spoolWithLetter(directory.path);
  for (const letter of await letters(spool)) await replaySpoolLetter(disk, letter);
  {
    await using bus = await open(directory.path);
    await consume(bus, () => ({ ...REFUSED, reason: 'still wrong' }));
  }
  expect(await letters(spool)).toMatchObject([{ id: '000000000001-step', reason: 'still wrong', rows: 18 }]);
});

test('a segment that was set aside without a note is listed and replayed all the same', async () => {
  await using directory = await scratchDirectory();
  const spool = await spoolWithLetter(directory.path);
  await rm(path.join(spool, '000000000001-step.native.rejected.json'));
  const [letter] = await letters(spool);
  expect(letter).toMatchObject({ code: null, reason: null, rows: 18 });
  if (letter !== undefined) await replaySpoolLetter(disk, letter);
  expect(await readdir(spool)).toEqual(['000000000001-step.native']);
});

test('a torn note is no note', async () => {
  await using directory = await scratchDirectory();
  const spool = await spoolWithLetter(directory.path);
  await writeFile(path.join(spool, '000000000001-step.native.rejected.json'), '{"code":"LW-ST');
  expect(await letters(spool)).toMatchObject([{ code: null, reason: null, rows: 18 }]);
});

test('a disk that takes no note sets the segment aside all the same', async () => {
  await using directory = await scratchDirectory();
  const full = Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
  const known = { sequences: [], lineage_max: 0n };
  const options = { data_dir: directory.path, bytes_max: 1e9, fsync: false, clock: systemClock, known, close_ms: 0 };
  await using bus = await openSpool({ ...options, disk: { ...disk, write: () => Promise.reject(full) } });
  await bus.publish({ source: 'node-1', epoch: 7, sequence: 1, records: steps(0, 10) }, signal);
  await consume(bus, () => REFUSED);
  expect(bus.backlog().quarantined).toEqual([{ source: 'node-1', epoch: 7, records: 10 }]);
  expect(await readdir(path.join(directory.path, 'spool'))).toContain('000000000001-step.native.rejected');
});

test('a damaged copy is listed with its first damaged bytes, and there is nothing of it to replay', async () => {
  await using directory = await scratchDirectory();
  const spool = path.join(directory.path, 'spool');
  {
    await using bus = await open(directory.path);
    for (const sequence of [1, 2, 3])
      await bus.publish({ source: 'node-1', epoch: 7, sequence, records: [heartbeat(sequence)] }, signal);
  }
  const [name = ''] = (await readdir(spool)).filter((file) => file.endsWith('heartbeat.native'));
  const bytes = await readFile(path.join(spool, name));
  // the three frames are of equal size: the second third is the second frame
  const [from, to] = [bytes.length / 3, (2 * bytes.length) / 3];
  bytes[to - 1] = 255 - (bytes[to - 1] ?? 0);
  await writeFile(path.join(spool, name), bytes);
  {
    await using bus = await open(directory.path);
    expect(bus.backlog()).toMatchObject({ frames: 2, damaged_frames: 1 });
  }
  const [letter] = await letters(spool);
  expect(letter).toMatchObject({
    kind: 'damaged',
    frames: 2,
    rows: 2,
    contents: [
      {
        source: 'node-1',
        epoch: 7,
        rows: 2,
        sequences: [
          [1, 1],
          [3, 3],
        ],
      },
    ],
  });
  expect(letter?.raw).toEqual(bytes.subarray(from, to));
  expect(letter?.reason).toContain(`bytes ${from} to ${to} are no frame`);
  if (letter !== undefined) await expect(replaySpoolLetter(disk, letter)).rejects.toMatchObject({ code: 'LW-INPUT' });
});

test('a segment that is back already is not written over', async () => {
  await using directory = await scratchDirectory();
  const spool = await spoolWithLetter(directory.path);
  const [letter] = await letters(spool);
  await writeFile(path.join(spool, '000000000001-step.native'), 'other');
  if (letter !== undefined)
    await expect(replaySpoolLetter(disk, letter)).rejects.toMatchObject({ code: 'LW-CONFLICT' });
  expect(await readFile(path.join(spool, '000000000001-step.native'), 'utf8')).toBe('other');
});
