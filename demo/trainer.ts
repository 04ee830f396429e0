import { join } from 'node:path';
import { type Parent, runChild } from './child.ts';
import type { DriftKind } from './drifts.ts';
import { type JobPlan, startJob, TRAINING_RECIPE } from './job.ts';
import { readWeights, writeDurable } from './model-files.ts';
import { toOnnx } from './onnx-export.ts';
import { type RankResult, type Recipe, WEIGHTS_FILE } from './rank.ts';

/** What a retraining run needs: the served weights, recent labelled rows, and the job that continues from them. */
export type TrainerConfig = {
  /** Version of the model to make. */
  readonly version: string;
  readonly plan: JobPlan;
};

export type TrainerResult = {
  readonly version: string;
  readonly state: 'succeeded' | 'cancelled';
  readonly weights_path: string;
  readonly onnx_path: string;
  readonly steps: number;
  readonly loss: number | null;
  readonly accuracy: number | null;
  readonly duration_ms: number;
  readonly ranks: readonly RankResult[];
};

const RETRAINING_STEPS = 200;

/** Labelled rows that a retraining needs: 1,000; 1,500 where two classes are to be learned anew. */
export function recentRowsFor(drift: DriftKind | null): number {
  return drift === 'class-mix' ? 1_500 : 1_000;
}

/**
 * 200 steps of batch 96 a rank from the served weights, half of every batch recent rows, half old ones. Learning rate 0.05;
 * 0.1 for `class-mix`, which has more to learn.
 */
export function retrainingRecipe(options: {
  readonly drift: DriftKind | null;
  readonly weights_path: string;
  readonly recent_path: string;
  readonly left_out_classes: readonly number[];
  readonly seed: number;
}): Recipe {
  return {
    ...TRAINING_RECIPE,
    batch_examples: 96,
    pause_ms: 10,
    steps_max: RETRAINING_STEPS,
    learning_rate: options.drift === 'class-mix' ? 0.1 : 0.05,
    seed: options.seed,
    left_out_classes: options.left_out_classes,
    initial_weights_path: options.weights_path,
    recent: { path: options.recent_path, ratio: 0.5 },
  };
}

async function main(config: TrainerConfig, parent: Parent): Promise<void> {
  const began_ms = performance.now();
  const stop = new AbortController();
  parent.ending.addEventListener('abort', () => stop.abort());
  parent.receive((message) => {
    if (message['stop'] === true) stop.abort();
  });
  const job = await startJob(config.plan, (_, message) => void relay(parent, message));
  if (stop.signal.aborted) job.stop();
  stop.signal.addEventListener('abort', () => job.stop());
  await parent.send({ started: { job: config.plan.job } });
  const ranks = await job.done;
  const state = stop.signal.aborted ? 'cancelled' : 'succeeded';
  const done = { ...(await exported(config, ranks)), state, duration_ms: performance.now() - began_ms };
  await parent.send({ done });
}

/** Records and progress of the ranks go on to the parent; what is between the ranks and this process stays here. */
async function relay(parent: Parent, message: Readonly<Record<string, unknown>>): Promise<void> {
  if (message['record'] !== undefined || message['progress'] !== undefined) await parent.send(message);
}

async function exported(
  { version, plan }: TrainerConfig,
  ranks: readonly RankResult[],
): Promise<Omit<TrainerResult, 'state' | 'duration_ms'>> {
  const weights_path = join(plan.directory, WEIGHTS_FILE);
  const onnx_path = join(plan.directory, `model-${version}.onnx`);
  await writeDurable(onnx_path, toOnnx(await readWeights(weights_path), version));
  const { steps, loss, accuracy } = ranks[0] ?? { steps: 0, loss: null, accuracy: null };
  return { version, weights_path, onnx_path, steps, loss, accuracy, ranks };
}

if (import.meta.main) runChild(main);
