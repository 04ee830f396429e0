import { appendFile, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { integerBelow, seededRandom } from '../../src/core/random.ts';
import { type SpoolDisk, systemDisk } from '../../src/transport/disk.ts';
import { type Gap, GapLog, wholeBatches } from '../../src/transport/gap-log.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { faultyDisk, mortalDisk } from './faulty-disk.ts';

const seed = Number(process.env['LEEWAY_SEED'] ?? Date.now() % 1_000_000);

function gap(from: number, to: number, changes: Partial<Gap> = {}): Gap {
  return {
    source: 'node-1',
    epoch: 7,
    table: 'step',
    reason: 'spool_full_oldest',
    parts: 1,
    acknowledged: true,
    records: 2 * (to - from + 1),
    ranges: [[from, to]],
    ...changes,
  };
}

const real = systemDisk(false);
const reopened = async (directory: string): Promise<Gap[]> => (await GapLog.open(real, directory)).list();

test('there is no file until something is dropped', async () => {
  await using directory = await scratchDirectory();
  const log = await GapLog.open(real, directory.path);
  expect([log.list(), log.segment_max, await readdir(directory.path)]).toEqual([[], 0, []]);
});

test('drops of the same kind are one entry with its sequences as ranges, after a restart too', async () => {
  await using directory = await scratchDirectory();
  const log = await GapLog.open(real, directory.path);
  await log.append([gap(1, 3)], [12]);
  await log.append([gap(4, 4), gap(9, 9, { reason: 'spool_full_newest' })]);
  await log.append([gap(8, 9)], [15]);
  const entries = [
    gap(1, 4, {
      records: 12,
      ranges: [
        [1, 4],
        [8, 9],
      ],
    }),
    gap(9, 9, { reason: 'spool_full_newest' }),
  ]; // 2 records a batch: 3 + 1 + 2 batches
  expect(log.list()).toEqual(entries);
  await log.close();
  const again = await GapLog.open(real, directory.path);
  expect([again.list(), again.segment_max]).toEqual([entries, 15]);
});

test('the first drop after a restart starts a file that stands for the one before', async () => {
  await using directory = await scratchDirectory();
  for (let start = 1; start <= 4; start++) {
    const log = await GapLog.open(real, directory.path);
    await log.append([gap(start, start)], [start]);
    await log.close();
    expect(await readdir(directory.path)).toEqual([`gaps-${String(start).padStart(6, '0')}.ndjson`]);
  }
  expect(await reopened(directory.path)).toEqual([gap(1, 4)]);
});

test('its files are those of every version before and after', async () => {
  await using directory = await scratchDirectory();
  const entry = (records: number, ranges: string): string =>
    `{"source":"node-1","epoch":7,"table":"step","reason":"spool_full_oldest","parts":1,"acknowledged":true,` +
    `"records":${records},"ranges":[${ranges}]}`;
  const before = `{"replaces":4,"segments":[11,12],"segment_max":12,"gaps":[${entry(4, '[1,2]')}]}\n`;
  await writeFile(path.join(directory.path, 'gaps-000005.ndjson'), before);
  const log = await GapLog.open(real, directory.path);
  expect([log.list(), log.segment_max]).toEqual([[gap(1, 2)], 12]);
  await log.append([gap(3, 3)], [15]);
  log.removed(15);
  await log.append([gap(4, 4)]);
  await log.close();
  expect(await readdir(directory.path)).toEqual(['gaps-000006.ndjson']);
  expect(await readFile(path.join(directory.path, 'gaps-000006.ndjson'), 'utf8')).toBe(
    `{"replaces":5,"segments":[15],"segment_max":15,"gaps":[${entry(4, '[1,2]')},${entry(2, '[3,3]')}]}\n` +
      `{"segments":[],"segment_max":15,"gaps":[${entry(2, '[4,4]')}]}\n`,
  );
});

test('a torn line did not happen, wherever it is torn; the ones before it did', async () => {
  await using directory = await scratchDirectory();
  const log = await GapLog.open(real, directory.path);
  await log.append([gap(1, 1)], [1]);
  const file = path.join(directory.path, 'gaps-000001.ndjson');
  const whole = (await readFile(file)).length;
  await log.append([gap(2, 2)], [2]);
  await log.close();
  const bytes = await readFile(file);
  for (let cut = whole; cut < bytes.length; cut += 5) {
    await writeFile(file, bytes.subarray(0, cut));
    expect(await reopened(directory.path)).toEqual([gap(1, 1)]);
  }
  await writeFile(file, bytes.subarray(0, whole - 1));
  expect(await reopened(directory.path)).toEqual([]);
  await writeFile(file, bytes);
  await appendFile(file, 'not JSON\n{"segments":[]}\n');
  expect(await reopened(directory.path)).toEqual([gap(1, 2)]);
});

test('the file of a dropped segment that a crash left behind is removed at the next start, others are not', async () => {
  await using directory = await scratchDirectory();
  const log = await GapLog.open(real, directory.path);
  await log.append([gap(1, 1)], [12]);
  await log.close();
  for (const name of ['000000000012-step.native', '000000000013-step.native'])
    await writeFile(path.join(directory.path, name), 'x');
  await GapLog.open(real, directory.path);
  expect(await readdir(directory.path)).toEqual(['000000000013-step.native', 'gaps-000001.ndjson']);
});

test('what a killed process wrote and did not sync is durable before a start acts upon it', async () => {
  await using directory = await scratchDirectory();
  const log = await GapLog.open(real, directory.path);
  await log.append([gap(1, 2)], [3]);
  await log.close();
  await writeFile(path.join(directory.path, '000000000003-step.native'), 'dropped');
  const done: string[] = [];
  const noting: SpoolDisk = {
    ...real,
    sync: async (file) => void done.push(`sync ${path.basename(file)}`),
    syncDirectory: async () => void done.push('sync directory'),
    unlink: async (file) => void done.push(`unlink ${path.basename(file)}`),
  };
  await GapLog.open(noting, directory.path);
  expect(done).toEqual([
    'sync gaps-000001.ndjson',
    'sync directory',
    'unlink 000000000003-step.native',
    'sync directory',
  ]);
});

test(`killed at any operation a drop is there or it is not, and what was promised stays (seed ${seed})`, async () => {
  const random = seededRandom(seed);
  for (let last = 0; last < 60; last++) {
    await using directory = await scratchDirectory();
    const before = await GapLog.open(real, directory.path);
    await before.append([gap(1, 1)], [1]);
    await before.close();
    const { disk, kill } = mortalDisk();
    kill(last);
    const log = await GapLog.open(disk, directory.path).catch(() => null);
    let promised = 1;
    for (let sequence = 2; log !== null && sequence < 8; sequence++) {
      try {
        await log.append([gap(sequence, sequence)], [sequence]);
        if (integerBelow(random, 2) === 0) log.removed(sequence);
        promised = sequence;
      } catch {
        break;
      }
    }
    await log?.close();
    const [held] = await reopened(directory.path);
    const records = held?.records ?? 0;
    expect([2 * promised, 2 * (promised + 1)]).toContain(records);
    expect(held?.ranges).toEqual([[1, records / 2]]);
  }
});

test('after a write that failed the next drop goes to a file of its own, without the one that did not happen', async () => {
  await using directory = await scratchDirectory();
  let fails = false;
  const disk = faultyDisk((operation) => fails && operation === 'sync');
  const log = await GapLog.open(disk, directory.path);
  await log.append([gap(1, 1)], [1]);
  fails = true;
  await expect(log.append([gap(2, 2)], [2])).rejects.toMatchObject({ code: 'EIO' });
  await expect(log.append([gap(2, 2)], [2])).rejects.toMatchObject({ code: 'EIO' });
  expect(log.list()).toEqual([gap(1, 1)]);
  fails = false;
  await log.append([gap(3, 3)], [3]);
  await log.close();
  expect(await reopened(directory.path)).toEqual([
    gap(1, 3, {
      records: 4,
      ranges: [
        [1, 1],
        [3, 3],
      ],
    }),
  ]);
  expect(await readdir(directory.path)).toHaveLength(1);
});

test('a batch is gone whole when every one of its tables was dropped', () => {
  const name = { source: 'node-1', epoch: 7 };
  expect(wholeBatches([gap(1, 3)])).toEqual([{ ...name, ranges: [[1, 3]] }]);
  expect(wholeBatches([gap(1, 3, { parts: 2 })])).toEqual([]);
  const two = [
    gap(1, 6, { parts: 2 }),
    gap(3, 9, {
      parts: 2,
      table: 'gpu',
      ranges: [
        [3, 4],
        [6, 9],
      ],
    }),
  ];
  expect(wholeBatches(two)).toEqual([
    {
      ...name,
      ranges: [
        [3, 4],
        [6, 6],
      ],
    },
  ]);
  const twice = [gap(1, 4, { parts: 2 }), gap(2, 3, { parts: 2, reason: 'spool_full_newest' })];
  expect(wholeBatches(twice)).toEqual([]); // the same table twice is not two tables
  expect(wholeBatches([gap(1, 1), gap(1, 1, { source: 'node-2' })])).toHaveLength(2);
  expect(wholeBatches([gap(1, 1, { ranges: [] })])).toEqual([]);
});
