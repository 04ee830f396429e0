import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readRows, readWeights, rowOf, writeRows, writeWeights } from '../../demo/model-files.ts';
import { initialParameters } from '../../demo/network.ts';

let directory = '';

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'files-'));
});

afterEach(async () => {
  await rm(directory, { recursive: true });
});

test('weights come back bit for bit, and no temporary file stays', async () => {
  const path = join(directory, 'w.f32');
  const parameters = initialParameters(2);
  await writeWeights(path, parameters);
  await writeWeights(
    path,
    parameters.map((value) => value * 2),
  ); // replaces
  expect(await readWeights(path)).toEqual(parameters.map((value) => value * 2));
  expect(await readdir(directory)).toEqual(['w.f32']);
});

test('weights of another network are refused', async () => {
  const path = join(directory, 'w.f32');
  await writeFile(path, new Uint8Array(12));
  await expect(readWeights(path)).rejects.toThrow('12 bytes, expected 203560'); // 4 × 50,890
});

test('labelled rows come back in order', async () => {
  const path = join(directory, 'rows');
  const rows = [3, 1, 4].map((label) => ({ pixels: new Uint8Array(784).fill(label * 10), label }));
  await writeRows(path, rows);
  const read = await readRows(path);
  expect(read.count).toBe(3);
  expect([0, 1, 2].map((row) => rowOf(read, row).label)).toEqual([3, 1, 4]);
  expect([...rowOf(read, 2).pixels]).toEqual(Array.from({ length: 784 }, () => 40));
  expect(() => rowOf(read, 3)).toThrow(RangeError);
});

test('an empty or torn file of rows is refused', async () => {
  const path = join(directory, 'rows');
  await writeRows(path, []);
  await expect(readRows(path)).rejects.toMatchObject({ code: 'LW-INPUT-FILE' });
  await writeFile(path, new Uint8Array(786));
  await expect(readRows(path)).rejects.toThrow('786 bytes, expected a multiple of 785');
});

test('a place that cannot be written is named', async () => {
  await expect(writeRows(join(directory, 'no', 'rows'), [])).rejects.toThrow(/rows: cannot be written \(ENOENT\)/);
});
