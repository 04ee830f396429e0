import { expect, test } from 'vitest';
import { PIXELS } from '../../demo/digits.ts';
import { blurred, DRIFT_KINDS, drifted, isDriftKind, rotated } from '../../demo/drifts.ts';
import { seededRandom } from '../../src/core/random.ts';

function dot(x: number, y: number, value = 255): Uint8Array {
  const pixels = new Uint8Array(PIXELS);
  pixels[y * 28 + x] = value;
  return pixels;
}

function sum(pixels: Uint8Array): number {
  return pixels.reduce((total, value) => total + value, 0);
}

test('the same seed gives the same image for every drift, and the input is left as it was', () => {
  const pixels = Uint8Array.from({ length: PIXELS }, (_, at) => (at * 37) % 256);
  const before = pixels.slice();
  for (const kind of DRIFT_KINDS)
    expect(drifted(pixels, kind, seededRandom(1))).toEqual(drifted(pixels, kind, seededRandom(1)));
  expect(drifted(pixels, 'noise', seededRandom(1))).not.toEqual(drifted(pixels, 'noise', seededRandom(2)));
  expect(pixels).toEqual(before);
});

test('inversion by a quarter maps v to v + (255 − 2v)/4', () => {
  const pixels = Uint8Array.of(0, 100, 255);
  expect([...drifted(pixels, 'invert', seededRandom(1))]).toEqual([64, 114, 191]); // 63.75, 100 + 13.75, 255 − 63.75
});

test('class mix leaves the pixels alone', () => {
  expect(drifted(dot(3, 4), 'class-mix', seededRandom(1))).toEqual(dot(3, 4));
});

test('blur spreads a dot evenly in both directions and keeps its light', () => {
  const spread = blurred(dot(14, 14), 2);
  const at = (x: number, y: number): number => spread[y * 28 + x] ?? -1;
  // centre of a 2-D Gaussian of sigma 2: 255 / (2π·4) = 10.1, the cut kernel holds 98.8 % squared, hence 10.4
  expect(at(14, 14)).toBe(10);
  expect(at(12, 14)).toBe(at(16, 14));
  expect(at(14, 12)).toBe(at(12, 14));
  expect(Math.abs(sum(spread) - 255)).toBeLessThan(30); // 121 roundings of at most 0.5, mostly cancelling
});

test('rotation by 90 degrees moves a pixel exactly, and by 0 nothing', () => {
  expect(rotated(dot(20, 14), 0)).toEqual(dot(20, 14));
  // offset (6.5, 0.5) from the centre 13.5; the inverse map by 90° reads (x, y) ← (y, −x): light lands at (−0.5, 6.5)
  expect(rotated(dot(20, 14), 90)).toEqual(dot(13, 20));
});

test('noise has the announced spread on a grey image', () => {
  const grey = new Uint8Array(PIXELS).fill(128);
  const noisy = drifted(grey, 'noise', seededRandom(9));
  const inside = [...noisy].filter((value) => Math.abs(value - 128) <= 80).length / PIXELS;
  // 68.3 % within one sd of 80; standard error sqrt(0.683·0.317/784) = 1.7 %
  expect(Math.abs(inside - 0.683)).toBeLessThan(0.06);
});

test('drift names are closed', () => {
  expect(isDriftKind('rotate')).toBe(true);
  expect(isDriftKind('toString')).toBe(false);
});
