import { expect, test } from 'vitest';
import { loadDigits, PIXELS } from '../../demo/digits.ts';
import {
  argmax,
  backward,
  type Batch,
  descend,
  fillRow,
  forward,
  HIDDEN,
  initialParameters,
  newBatch,
  PARAMETERS,
  partsOf,
  predict,
} from '../../demo/network.ts';
import { integerBelow, seededRandom } from '../../src/core/random.ts';

const SEED = 11;

function randomBatch(count: number, seed: number): Batch {
  const random = seededRandom(seed);
  const batch = newBatch(count);
  for (let at = 0; at < count; at++) {
    const pixels = Uint8Array.from({ length: PIXELS }, () => integerBelow(random, 256));
    fillRow(batch, at, pixels, integerBelow(random, 10));
  }
  return batch;
}

/** Cross-entropy of the batch, computed the plain way in double precision. */
function plainLoss(parameters: Float64Array, batch: Batch, count: number): number {
  const weight = (index: number): number => parameters[index] ?? Number.NaN;
  const b1 = PIXELS * HIDDEN;
  const w2 = b1 + HIDDEN;
  const b2 = w2 + HIDDEN * 10;
  let loss = 0;
  for (let example = 0; example < count; example++) {
    const hidden = Array.from({ length: HIDDEN }, (_, unit) => {
      let sum = weight(b1 + unit);
      for (let pixel = 0; pixel < PIXELS; pixel++)
        sum += (batch.inputs[example * PIXELS + pixel] ?? 0) * weight(pixel * HIDDEN + unit);
      return Math.max(0, sum);
    });
    const logits = Array.from({ length: 10 }, (_, label) =>
      hidden.reduce((sum, value, unit) => sum + value * weight(w2 + unit * 10 + label), weight(b2 + label)),
    );
    const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
    loss += Math.log(total) - (logits[batch.labels[example] ?? 0] ?? 0);
  }
  return loss;
}

test('the gradient equals central finite differences of the plainly computed loss', () => {
  const count = 4;
  const parameters = initialParameters(SEED);
  const batch = randomBatch(count, SEED);
  const gradients = new Float32Array(PARAMETERS);
  forward(parameters, batch, count);
  const { loss } = backward(parameters, batch, count, gradients);
  const double = Float64Array.from(parameters);
  expect(loss).toBeCloseTo(plainLoss(double, batch, count), 4); // float32 weights, sums in double

  const random = seededRandom(SEED + 1);
  const { w1, b1, w2 } = partsOf(parameters);
  const ends = [w1.length, w1.length + b1.length, w1.length + b1.length + w2.length, PARAMETERS];
  let start = 0;
  for (const end of ends) {
    for (let probe = 0; probe < 12; probe++) {
      const at = start + integerBelow(random, end - start);
      const step = 1e-5; // error of the difference: O(step²) ≈ 1e-10 and rounding ≈ 1e-16 / 1e-5
      const centre = double[at] ?? 0;
      double[at] = centre + step;
      const above = plainLoss(double, batch, count);
      double[at] = centre - step;
      const below = plainLoss(double, batch, count);
      double[at] = centre;
      const expected = (above - below) / (2 * step);
      expect(Math.abs((gradients[at] ?? 0) - expected), `parameter ${at}, seed ${SEED}`).toBeLessThan(
        1e-4 * (1 + Math.abs(expected)),
      );
    }
    start = end;
  }
});

test('probabilities sum to one and correct answers are those where the label has the largest one', () => {
  const batch = randomBatch(8, SEED);
  const parameters = initialParameters(SEED);
  forward(parameters, batch, 8);
  let correct = 0;
  for (let example = 0; example < 8; example++) {
    const scores = batch.outputs.slice(example * 10, example * 10 + 10);
    expect(scores.reduce((sum, score) => sum + score, 0)).toBeCloseTo(1, 5);
    if (argmax(scores) === batch.labels[example]) correct++;
  }
  expect(backward(parameters, batch, 8, new Float32Array(PARAMETERS)).correct).toBe(correct);
});

test('two updates with momentum move by −lr·g and then −lr·(m·g + g)', () => {
  const parameters = Float32Array.of(1);
  const velocity = Float32Array.of(0);
  const update = { learning_rate: 0.5, momentum: 0.5, examples: 4 };
  descend(parameters, velocity, Float32Array.of(2), update); // g = 2/4 = 0.5, v = 0.5, 1 − 0.25
  expect(parameters[0]).toBe(0.75);
  descend(parameters, velocity, Float32Array.of(2), update); // v = 0.25 + 0.5 = 0.75, 0.75 − 0.375
  expect(parameters[0]).toBe(0.375);
});

test('predict gives the same answer in any batch, also when the count is no multiple of four', () => {
  const digits = loadDigits('t10k');
  const parameters = initialParameters(3);
  const many = predict(parameters, digits.pixels.subarray(0, 103 * PIXELS), 103);
  expect(many).toHaveLength(1_030);
  const last = predict(parameters, digits.pixels.subarray(102 * PIXELS, 103 * PIXELS), 1);
  expect([...last]).toEqual([...many.subarray(1_020)]);
});

test('initial weights are the same for a seed and follow He’s variance', () => {
  const parameters = initialParameters(5);
  expect(initialParameters(5)).toEqual(parameters);
  expect(initialParameters(6)).not.toEqual(parameters);
  const { w1, b1 } = partsOf(parameters);
  const variance = w1.reduce((sum, value) => sum + value * value, 0) / w1.length;
  // 50,176 draws: the standard error of the variance ratio is sqrt(2/50,176) = 0.6 %; 5 % is eight of them.
  expect(Math.abs(variance / (2 / 784) - 1)).toBeLessThan(0.05);
  expect(b1.every((value) => value === 0)).toBe(true);
});
