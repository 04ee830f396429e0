import { expect, test } from 'vitest';
import { inputFeatures, scoreFeatures } from '../../demo/features.ts';

test('a white image is all ink without edges, a black one nothing', () => {
  const white = inputFeatures(new Uint8Array(784).fill(255));
  expect(white).toMatchObject({ intensity: 1, ink: 1, edge: 0, region_0: 1, region_15: 1 });
  expect(Object.values(inputFeatures(new Uint8Array(784))).every((value) => value === 0)).toBe(true);
  expect(Object.keys(white)).toHaveLength(19);
});

test('one white pixel in the second row of regions has four edges', () => {
  const pixels = new Uint8Array(784);
  pixels[8 * 28 + 10] = 255;
  const features = inputFeatures(pixels);
  expect(features['intensity']).toBeCloseTo(1 / 784, 12);
  expect(features['edge']).toBeCloseTo(4 / (2 * 28 * 27), 12);
  expect(features['region_5']).toBeCloseTo(1 / 49, 12); // row 8 div 7 = 1, column 10 div 7 = 1
});

test('scores give confidence, margin and entropy by their definitions', () => {
  const { confidence, entropy, margin } = scoreFeatures([0.5, 0.25, 0.25]);
  expect(confidence).toBe(0.5);
  expect(margin).toBe(0.25);
  expect(entropy).toBeCloseTo(1.5 * Math.log(2), 12); // 1.5 bits
  expect(scoreFeatures([0, 1, 0])).toEqual({ confidence: 1, entropy: 0, margin: 1 });
});
