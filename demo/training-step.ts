import type { Ring } from './all-reduce.ts';
import { backward, type Batch, descend, forward, PARAMETERS } from './network.ts';
import type { RunQueueMeter } from './run-queue.ts';
import { unixNow_ms } from './timeline.ts';

/** What one rank keeps between steps. `message` is the gradient followed by summed loss, correct answers and stop votes. */
export type Learner = {
  readonly parameters: Float32Array;
  readonly velocity: Float32Array;
  readonly batch: Batch;
  readonly message: Float32Array;
  readonly ring: Ring;
  readonly meter: RunQueueMeter;
};

export type StepPlan = {
  /** Examples of this rank, a multiple of 4, and of all ranks together. */
  readonly examples: number;
  readonly examples_total: number;
  readonly learning_rate: number;
  readonly momentum: number;
  /** Share of the batch whose forward pass is repeated: the planted fault. */
  readonly slow_ratio: number;
  /** Whether this rank wants the job to end after this step. */
  readonly stop: boolean;
};

/** Bytes that one all-reduce moves into its result. */
export const MESSAGE_LENGTH = PARAMETERS + 3;

/** What one step measured; loss and accuracy are means over all ranks, times Unix ms with fractions. */
export type StepResult = {
  readonly compute_ms: number;
  readonly arrive_ms: number;
  readonly end_ms: number;
  readonly loss: number;
  readonly accuracy: number;
  /** True on every rank at the same step, as soon as one rank voted to stop. */
  readonly stop: boolean;
};

/**
 * One data-parallel SGD step on a filled batch: own forward and backward pass, sum of the gradients over the ring, the same
 * update on every rank. `compute_ms` is wall time up to the collective less the wait for a core.
 */
export async function trainStep(learner: Learner, plan: StepPlan, onArrive: () => void): Promise<StepResult> {
  const { parameters, message, meter } = learner;
  const began_ms = performance.now();
  const waited_ms = meter.waited_ms();
  computeGradients(learner, plan);
  const busy_ms = performance.now() - began_ms - (meter.waited_ms() - waited_ms);
  const arrive_ms = unixNow_ms();
  onArrive();
  await learner.ring.reduce(message);
  const end_ms = unixNow_ms();
  descend(parameters, learner.velocity, message.subarray(0, PARAMETERS), {
    learning_rate: plan.learning_rate,
    momentum: plan.momentum,
    examples: plan.examples_total,
  });
  return {
    compute_ms: Math.max(0, busy_ms),
    arrive_ms,
    end_ms,
    loss: (message[PARAMETERS] ?? 0) / plan.examples_total,
    accuracy: (message[PARAMETERS + 1] ?? 0) / plan.examples_total,
    stop: (message[PARAMETERS + 2] ?? 0) > 0,
  };
}

function computeGradients(learner: Learner, plan: StepPlan): void {
  const { parameters, batch, message } = learner;
  message.fill(0);
  forward(parameters, batch, plan.examples);
  repeatForward(learner, plan);
  const { loss, correct } = backward(parameters, batch, plan.examples, message);
  message[PARAMETERS] = loss;
  message[PARAMETERS + 1] = correct;
  message[PARAMETERS + 2] = plan.stop ? 1 : 0;
}

/** A slow rank really does more work: it repeats the forward pass on `slow_ratio` of its examples. */
function repeatForward(learner: Learner, plan: StepPlan): void {
  let left = Math.round((plan.examples * plan.slow_ratio) / 4) * 4;
  for (; left > 0; left -= plan.examples) forward(learner.parameters, learner.batch, Math.min(left, plan.examples));
}
