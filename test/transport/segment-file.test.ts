import { copyFile, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import type { Bus } from '../../src/core/ports.ts';
import { systemDisk } from '../../src/transport/disk.ts';
import { openSpool } from '../../src/transport/spool.ts';
import { take } from '../contract/bus.ts';
import { steps } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

const signal = new AbortController().signal;
const MIB = 1_048_576;

/** Pieces of 50,000 bytes, each of one value that is not 0. */
const piece = (value: number): Buffer => Buffer.alloc(50_000, value);

function open(data_dir: string): Promise<Bus> {
  const known = { sequences: [], lineage_max: 0n };
  return openSpool({ data_dir, bytes_max: 1e9, fsync: true, clock: systemClock, known, close_ms: 3_600_000 });
}

test('a segment that grows has room ahead of it while it is open, and ends where its last append did when it is closed', async () => {
  await using directory = await scratchDirectory();
  const file = path.join(directory.path, 'segment');
  const handle = await systemDisk(true).create(file, 'ahead');
  const sizes: number[] = [];
  for (let value = 1; value <= 30; value++) {
    await handle.append([piece(value).subarray(0, 20_000), piece(value).subarray(20_000)]);
    sizes.push((await stat(file)).size);
  }
  // 3 × 50,000 bytes pass 131,072: the fourth append makes room of 1 MiB behind them, which is used up after 23 of 50,000
  expect(sizes.slice(0, 3)).toEqual([50_000, 100_000, 150_000]);
  expect(new Set(sizes.slice(3, 23))).toEqual(new Set([150_000 + MIB]));
  expect(new Set(sizes.slice(23))).toEqual(new Set([150_000 + 2 * MIB]));
  const whole = Buffer.concat(Array.from({ length: 30 }, (_, index) => piece(index + 1)));
  const seen = await readFile(file);
  expect(seen.subarray(0, whole.length).equals(whole)).toBe(true);
  expect(seen.subarray(whole.length).every((byte) => byte === 0)).toBe(true);
  await handle.close();
  expect((await readFile(file)).equals(whole)).toBe(true);
});

test('what is cut back is written over: a segment goes on at the end that it was given', async () => {
  await using directory = await scratchDirectory();
  const file = path.join(directory.path, 'segment');
  const handle = await systemDisk(true).create(file, 'ahead');
  for (const value of [1, 2, 3, 4]) await handle.append([piece(value)]);
  await handle.truncate(150_000);
  await handle.append([piece(5)]);
  await handle.close();
  expect((await readFile(file)).equals(Buffer.concat([1, 2, 3, 5].map(piece)))).toBe(true);
});

test('room that a killed process had made is no torn frame; a frame that ends in it is', async () => {
  await using first = await scratchDirectory();
  await using second = await scratchDirectory();
  await using bus = await open(first.path);
  for (let sequence = 1; sequence <= 60; sequence++)
    await bus.publish(
      { source: 's', epoch: 1, sequence, records: steps(sequence * 100, sequence * 100 + 100) },
      signal,
    );
  const [name = ''] = await readdir(path.join(first.path, 'spool')).then((names) =>
    names.filter((one) => one.endsWith('.native')),
  );
  const used = bus.backlog().bytes;
  await mkdir(path.join(second.path, 'spool'));
  const file = path.join(second.path, 'spool', name);
  const asKilled = (): Promise<void> => copyFile(path.join(first.path, 'spool', name), file);
  await asKilled();
  expect((await stat(file)).size).toBeGreaterThan(used);
  {
    await using again = await open(second.path);
    expect(again.backlog()).toMatchObject({ frames: 60, bytes: used, torn_frames: 0, damaged_frames: 0 });
    expect((await take(again, 6_000)).flatMap(({ frames }) => frames)).toHaveLength(60);
  }
  await asKilled();
  const bytes = await readFile(file);
  bytes.fill(0, used - 1_000, used);
  await writeFile(file, bytes);
  await using torn = await open(second.path);
  expect(torn.backlog()).toMatchObject({ frames: 59, torn_frames: 1, damaged_frames: 0 });
});
