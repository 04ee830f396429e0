import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { cutRows, image, labelOf, loadDigits } from '../../demo/digits.ts';

test('the test file holds 10,000 digits with the class counts published for MNIST', () => {
  const digits = loadDigits('t10k');
  const counts = Array.from({ length: 10 }, () => 0);
  for (let row = 0; row < digits.count; row++) counts[labelOf(digits, row)] = (counts[labelOf(digits, row)] ?? 0) + 1;
  // Class counts of the MNIST test set, e.g. Keras and PyTorch documentation: 980, 1135, 1032, ...
  expect(counts).toEqual([980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
  expect(image(digits, digits.count - 1)).toHaveLength(784);
});

test('a row outside the set is refused instead of read as undefined', () => {
  expect(() => labelOf({ pixels: new Uint8Array(784), labels: new Uint8Array(1), count: 1 }, 1)).toThrow(RangeError);
});

test('a data file with other bytes is refused by its SHA-256', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'digits-'));
  try {
    await writeFile(join(directory, 't10k-images-idx3-ubyte'), 'not the digits');
    expect(() => loadDigits('t10k', directory)).toThrow(/SHA-256 [0-9a-f]{64}, expected 0fa7898d/);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('a missing data file is named', () => {
  expect(() => loadDigits('t10k', '/nonexistent')).toThrow(
    '/nonexistent/t10k-images-idx3-ubyte: cannot be read (ENOENT)',
  );
});

test('the cuts are disjoint, cover every row, and differ by seed only', () => {
  const { holdout, reference, traffic } = cutRows(10_000, 7);
  expect([holdout.length, reference.length, traffic.length]).toEqual([3_000, 1_500, 5_500]); // 30 %, 15 %, the rest
  expect([...holdout, ...reference, ...traffic].sort((a, b) => a - b)).toEqual(
    Array.from({ length: 10_000 }, (_, row) => row),
  );
  expect(cutRows(10_000, 7).traffic).toEqual(traffic);
  expect(cutRows(10_000, 8).traffic).not.toEqual(traffic);
});
