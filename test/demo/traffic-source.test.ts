import { expect, test } from 'vitest';
import { cutRows, type Digits, image, loadDigits } from '../../demo/digits.ts';
import { LEFT_OUT_CLASSES } from '../../demo/drifts.ts';
import { TrafficSource } from '../../demo/traffic-source.ts';
import { openLoader } from '../../demo/training-data.ts';
import { newBatch } from '../../demo/network.ts';

const digits = loadDigits('t10k');
const SEED = 13;

function labels(source: TrafficSource, count: number): number[] {
  return Array.from({ length: count }, () => source.next().label);
}

test('the same seed sends the same images, drifted or not', () => {
  const one = new TrafficSource(digits, { seed: SEED, left_out_classes: [] });
  const two = new TrafficSource(digits, { seed: SEED, left_out_classes: [] });
  for (const source of [one, two]) source.drift = 'noise';
  expect(one.next()).toEqual(two.next());
  one.drift = null;
  two.drift = null;
  expect(one.next()).toEqual(two.next());
});

test('traffic, reference and hold-out never share a row', () => {
  const source = new TrafficSource(digits, { seed: SEED, left_out_classes: [] });
  const offsets = (rows: readonly { readonly pixels: Uint8Array }[]): Set<number> =>
    new Set(rows.map(({ pixels }) => pixels.byteOffset));
  const traffic = offsets(Array.from({ length: 5_500 }, () => source.next()));
  source.pool = 'reference';
  const reference = offsets(Array.from({ length: 1_500 }, () => source.next()));
  const holdout = offsets(source.holdout(3_000));
  expect([traffic.size, reference.size, holdout.size]).toEqual([5_500, 1_500, 3_000]);
  expect(new Set([...traffic, ...reference, ...holdout]).size).toBe(10_000);
});

test('traffic starts again when its rows are used up', () => {
  const few: Digits = { pixels: digits.pixels.subarray(0, 20 * 784), labels: digits.labels.subarray(0, 20), count: 20 };
  const source = new TrafficSource(few, { seed: SEED, left_out_classes: [] });
  const rows = cutRows(20, SEED).traffic;
  const seen = Array.from({ length: 2 * rows.length }, () => source.next().pixels);
  expect(seen.slice(rows.length)).toEqual(seen.slice(0, rows.length));
  expect(seen[0]).toEqual(image(few, rows[0] ?? -1));
});

test('left-out classes arrive only under class mix, then in 35 % of requests', () => {
  const source = new TrafficSource(digits, { seed: SEED, left_out_classes: LEFT_OUT_CLASSES });
  expect(labels(source, 2_000).some((label) => label >= 8)).toBe(false);
  source.drift = 'class-mix';
  const share = labels(source, 2_000).filter((label) => label >= 8).length / 2_000;
  // standard error sqrt(0.35·0.65/2,000) = 1.1 %; four of them
  expect(Math.abs(share - 0.35), `seed ${SEED}`).toBeLessThan(0.043);
});

test('the hold-out is the same test for every version, with the same noise, and leaves traffic where it was', () => {
  const one = new TrafficSource(digits, { seed: SEED, left_out_classes: LEFT_OUT_CLASSES });
  const two = new TrafficSource(digits, { seed: SEED, left_out_classes: LEFT_OUT_CLASSES });
  one.drift = 'noise';
  two.drift = 'noise';
  expect(one.holdout(50)).toEqual(one.holdout(50));
  expect(one.next()).toEqual(two.next());
  one.drift = 'class-mix';
  const mixed = one.holdout(1_500);
  expect(new Set(mixed.map(({ pixels }) => pixels.byteOffset)).size).toBe(1_500); // enough of both kinds: no row twice
});

test('class mix without left-out classes is a mistake of the caller', () => {
  const source = new TrafficSource(digits, { seed: SEED, left_out_classes: [] });
  source.drift = 'class-mix';
  expect(() => labels(source, 50)).toThrow('class-mix needs classes that training left out');
});

test('the training loader leaves classes out, mixes in recent rows, and repeats by seed', () => {
  const recent = { bytes: new Uint8Array(785).fill(255).fill(9, 784), count: 1 };
  const data = { digits, recent: { rows: recent, ratio: 0.5 }, left_out_classes: [8, 9] };
  const batch = newBatch(400);
  openLoader(data, SEED)(batch, 400);
  const recent_count = batch.labels.filter((label) => label === 9).length;
  expect(Math.abs(recent_count / 400 - 0.5)).toBeLessThan(0.1); // standard error 2.5 %
  expect(batch.labels.includes(8)).toBe(false);
  const again = newBatch(400);
  openLoader(data, SEED)(again, 400);
  expect(again.inputs).toEqual(batch.inputs);
});
