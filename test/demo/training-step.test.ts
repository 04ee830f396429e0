import { expect, test } from 'vitest';
import { newBatch, initialParameters, PARAMETERS } from '../../demo/network.ts';
import { openRunQueueMeter } from '../../demo/run-queue.ts';
import { type Learner, MESSAGE_LENGTH, type StepPlan, trainStep } from '../../demo/training-step.ts';
import { seededRandom } from '../../src/core/random.ts';

const PLAN: StepPlan = {
  examples: 192,
  examples_total: 192,
  learning_rate: 0.1,
  momentum: 0.9,
  slow_ratio: 0,
  stop: false,
};

function alone(): Learner {
  const batch = newBatch(192);
  const random = seededRandom(21);
  for (let at = 0; at < batch.inputs.length; at++) batch.inputs[at] = random.next();
  for (let at = 0; at < 192; at++) batch.labels[at] = at % 10;
  return {
    parameters: initialParameters(21),
    velocity: new Float32Array(PARAMETERS),
    batch,
    message: new Float32Array(MESSAGE_LENGTH),
    ring: { reduce: () => Promise.resolve(), close: () => undefined },
    meter: openRunQueueMeter(),
  };
}

test('a slowed step learns exactly the same and costs 1.2 to 2 times the compute', async () => {
  const healthy = alone();
  const slowed = alone();
  const times: { healthy: number[]; slowed: number[] } = { healthy: [], slowed: [] };
  for (let step = 0; step < 12; step++) {
    times.healthy.push((await trainStep(healthy, PLAN, () => undefined)).compute_ms);
    times.slowed.push((await trainStep(slowed, { ...PLAN, slow_ratio: 1 }, () => undefined)).compute_ms);
  }
  expect(slowed.parameters).toEqual(healthy.parameters);
  // Forward and backward take about the same time, so repeating the forward pass adds a third to a half. The fastest of
  // twelve is compared: compilation and neighbours only ever add.
  const ratio = Math.min(...times.slowed) / Math.min(...times.healthy);
  expect(ratio).toBeGreaterThan(1.2);
  expect(ratio).toBeLessThan(2);
});

test('loss and accuracy are means over all ranks, and one vote stops everyone', async () => {
  const learner = alone();
  const peers = { ...learner, ring: { ...learner.ring, reduce: async (sum: Float32Array) => addPeer(sum) } };
  const alone_loss = (await trainStep(alone(), PLAN, () => undefined)).loss;
  const result = await trainStep(peers, { ...PLAN, examples_total: 384 }, () => undefined);
  expect(result.loss).toBeCloseTo((alone_loss * 192 + 384) / 384, 4); // the peer's summed loss is 384
  expect(result.stop).toBe(true);
  expect((await trainStep(alone(), PLAN, () => undefined)).stop).toBe(false);
});

/** A peer with no gradient, summed loss 384, no correct answer and a vote to stop. */
function addPeer(sum: Float32Array): void {
  sum[PARAMETERS] = (sum[PARAMETERS] ?? 0) + 384;
  sum[PARAMETERS + 2] = (sum[PARAMETERS + 2] ?? 0) + 1;
}

test('arrival and end are Unix times around the collective', async () => {
  const learner = alone();
  let arrived_ms = 0;
  const before_ms = Date.now();
  const result = await trainStep(learner, PLAN, () => {
    arrived_ms = Date.now();
  });
  expect(result.arrive_ms).toBeGreaterThan(before_ms - 2); // two clocks, whole milliseconds on one
  expect(Math.abs(result.arrive_ms - arrived_ms)).toBeLessThan(20);
  expect(result.end_ms).toBeGreaterThanOrEqual(result.arrive_ms);
});
