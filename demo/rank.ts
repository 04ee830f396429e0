import { join } from 'node:path';
import type { LeewayRecord, RecordOf } from '../src/core/records.ts';
import { joinRing } from './all-reduce.ts';
import { type Message, numberIn, type Parent, runChild } from './child.ts';
import { loadDigits } from './digits.ts';
import { type ClaimOf, claimSlices, openEmitter } from './emitter.ts';
import { readRows, readWeights, writeWeights } from './model-files.ts';
import { initialParameters, newBatch, PARAMETERS } from './network.ts';
import { openRunQueueMeter } from './run-queue.ts';
import type { LeewayTarget } from './event-transport.ts';
import type { Sender, SenderAccount } from './sender.ts';
import { processStart_ms, unixNow_ms } from './timeline.ts';
import { openLoader } from './training-data.ts';
import { type Learner, MESSAGE_LENGTH, type StepResult, trainStep } from './training-step.ts';

/** How a job trains. */
export type Recipe = {
  /** Examples a rank and step, a multiple of 4. */
  readonly batch_examples: number;
  /** A fixed pause before each step in place of waiting for data. Fixed, not a fixed rhythm: else a slow rank costs nothing. */
  readonly pause_ms: number;
  readonly steps_max: number;
  /** Reached linearly over the first 20 steps. */
  readonly learning_rate: number;
  readonly momentum: number;
  /** Steps of the phase `warmup`, in which the runtime still compiles its loops. */
  readonly warmup_steps: number;
  readonly checkpoint_steps: number;
  readonly seed: number;
  readonly left_out_classes: readonly number[];
  /** Start from these weights instead of random ones. */
  readonly initial_weights_path: string | null;
  /** Labelled rows of live traffic and the share of every batch drawn from them. */
  readonly recent: { readonly path: string; readonly ratio: number } | null;
};

/** Where a rank runs, as told to Leeway. */
export type Placement = { readonly node: string; readonly gpu_index: number; readonly asset: string };

export type RankConfig = {
  readonly job: string;
  readonly attempt: number;
  readonly model: string;
  readonly rank: number;
  /** One entry a rank; its length is the world size. */
  readonly placements: readonly Placement[];
  readonly gpu_usd_per_hour: number | null;
  /** Tenant of the claims; `team` is also the job's. */
  readonly tenant: Readonly<Record<string, string>>;
  /** Folder of the job: ring sockets and `weights.f32`. At most 80 bytes long. */
  readonly directory: string;
  readonly recipe: Recipe;
  readonly leeway: LeewayTarget | null;
};

/** What a rank tells at its end. */
export type RankResult = {
  readonly rank: number;
  readonly steps: number;
  readonly loss: number | null;
  readonly accuracy: number | null;
  readonly cpu_seconds: number;
  readonly rss_bytes_max: number;
  readonly account: SenderAccount;
};

/** File of the newest weights in a job's folder. */
export const WEIGHTS_FILE = 'weights.f32';

const LEARNING_WARMUP_STEPS = 20;
const REPORT_MS = 1_000;
const FLUSH_MS_MAX = 5_000;
const GROUP = 'dp';
const OPERATION = 'all_reduce';

type State = RecordOf<'heartbeat'>['state'];

/** What is true of this rank now; timers and messages read and change it. */
type Status = {
  step: number;
  state: State;
  slow_ratio: number;
  stop: boolean;
  loss: number | null;
  accuracy: number | null;
};

/** What a running rank works with. */
type Run = {
  readonly config: RankConfig;
  readonly parent: Parent;
  readonly status: Status;
  readonly learner: Learner;
  readonly emit: (record: LeewayRecord) => void;
};

async function main(config: RankConfig, parent: Parent): Promise<void> {
  const emitter = openEmitter(config.leeway, parent);
  const status: Status = { step: 0, state: 'running', slow_ratio: 0, stop: false, loss: null, accuracy: null };
  const emit = (record: LeewayRecord): void => emitter.emit(record);
  const claim = claimSlices(claimOf(config), emit);
  const started = listen(parent, status);
  const beat = (): void => {
    claim();
    emit(heartbeat(config, status));
    void parent.send({ progress: { rank: config.rank, ...status } });
  };
  const timer = setInterval(beat, REPORT_MS);
  try {
    const fill = await openBatches(config);
    const learner = await openLearner(config);
    const run = { config, parent, status, learner, emit };
    await parent.send({ ready: config.rank });
    await started;
    if (config.rank === 0) emit(jobRecord(config));
    await train(run, fill);
    learner.ring.close();
  } finally {
    clearInterval(timer);
    status.state = 'exited';
    beat();
    await emitter.close(FLUSH_MS_MAX);
  }
  await parent.send({ done: resultOf(config, status, emitter) });
}

/** Obeys the parent; the returned promise resolves at `{go: true}` or when there is nothing to go for. */
function listen(parent: Parent, status: Status): Promise<void> {
  return new Promise((resolve) => {
    const stop = (): void => {
      status.stop = true;
      resolve();
    };
    parent.ending.addEventListener('abort', stop);
    parent.receive((message: Message) => {
      status.slow_ratio = Math.max(0, numberIn(message, 'slow') ?? status.slow_ratio);
      if (message['stop'] === true) stop();
      if (message['go'] === true) resolve();
    });
  });
}

async function openBatches({ recipe, rank }: RankConfig): Promise<ReturnType<typeof openLoader>> {
  const recent =
    recipe.recent === null ? null : { rows: await readRows(recipe.recent.path), ratio: recipe.recent.ratio };
  const data = { digits: loadDigits('train'), recent, left_out_classes: recipe.left_out_classes };
  return openLoader(data, recipe.seed * 1_000 + rank); // every rank sees other rows
}

async function openLearner({ recipe, directory, rank, placements }: RankConfig): Promise<Learner> {
  const from = recipe.initial_weights_path;
  return {
    parameters: from === null ? initialParameters(recipe.seed) : await readWeights(from),
    velocity: new Float32Array(PARAMETERS),
    batch: newBatch(recipe.batch_examples),
    message: new Float32Array(MESSAGE_LENGTH),
    meter: openRunQueueMeter(),
    ring: await joinRing({ directory, rank, world: placements.length }),
  };
}

async function train(run: Run, fill: ReturnType<typeof openLoader>): Promise<void> {
  const { config, status, learner } = run;
  const { recipe } = config;
  let saving = Promise.resolve();
  for (let step = 1; step <= recipe.steps_max; step++) {
    status.step = step;
    const began_ms = unixNow_ms();
    const waited_ms = learner.meter.waited_ms();
    status.state = 'waiting_data';
    if (recipe.pause_ms > 0) await new Promise((resolve) => setTimeout(resolve, recipe.pause_ms));
    fill(learner.batch, recipe.batch_examples);
    // like compute_ms without the wait for a core: a busy neighbour is no slow input
    const data_ms = Math.max(0, unixNow_ms() - began_ms - (learner.meter.waited_ms() - waited_ms));
    status.state = 'running';
    const result = await trainStep(learner, planOf(run, step), () => (status.state = 'in_collective'));
    status.state = 'running';
    status.loss = result.loss;
    status.accuracy = result.accuracy;
    run.emit(stepRecord(run, result, { began_ms, data_ms }));
    if (config.rank === 0 && step % recipe.checkpoint_steps === 0) {
      await saving;
      saving = save(run, step);
    }
    if (result.stop) break;
  }
  await saving;
  if (config.rank === 0) await save(run, status.step);
}

function planOf({ config, status }: Run, step: number): Parameters<typeof trainStep>[1] {
  const { recipe, placements } = config;
  return {
    examples: recipe.batch_examples,
    examples_total: recipe.batch_examples * placements.length,
    learning_rate: recipe.learning_rate * Math.min(1, step / LEARNING_WARMUP_STEPS),
    momentum: recipe.momentum,
    slow_ratio: status.slow_ratio,
    stop: status.stop,
  };
}

/** Saves a copy while training goes on; waiting for the disk would make rank 0 arrive last. */
async function save({ config, parent, learner, emit }: Run, step: number): Promise<void> {
  const path = join(config.directory, WEIGHTS_FILE);
  await writeWeights(path, learner.parameters.slice());
  emit({ type: 'checkpoint', job: config.job, at_ms: unixNow_ms(), step, durable: true, bytes: 4 * PARAMETERS });
  await parent.send({ checkpoint: { step, path } });
}

function claimOf({ placements, rank, tenant }: RankConfig): ClaimOf {
  const { asset, gpu_index } = placementOf(placements, rank);
  return { asset, gpu_index, tenant };
}

function placementOf(placements: readonly Placement[], rank: number): Placement {
  const placement = placements[rank];
  if (placement === undefined) throw new RangeError(`rank ${rank} of ${placements.length}`);
  return placement;
}

function jobRecord({ job, attempt, model, placements, tenant, gpu_usd_per_hour }: RankConfig): LeewayRecord {
  return {
    type: 'job',
    job,
    attempt,
    at_ms: processStart_ms(),
    world_size: placements.length,
    ranks: placements.map(({ node, gpu_index }, rank) => {
      const local_rank = placements.slice(0, rank).filter((other) => other.node === node).length;
      return { rank, node, gpu: gpu_index, local_rank, dp: rank, pp: 0, tp: 0 };
    }),
    model,
    ...(tenant['team'] === undefined ? {} : { team: tenant['team'] }),
    ...(gpu_usd_per_hour === null ? {} : { gpu_usd_per_hour }),
  };
}

function heartbeat({ job, attempt, rank }: RankConfig, { step, state }: Status): LeewayRecord {
  const collective = state === 'in_collective' ? { group: GROUP, op: OPERATION, seq: step } : {};
  return { type: 'heartbeat', job, attempt, rank, at_ms: unixNow_ms(), step, state, ...collective };
}

function stepRecord(
  { config, status }: Run,
  result: StepResult,
  times: { readonly began_ms: number; readonly data_ms: number },
): LeewayRecord {
  const { step } = status;
  const { arrive_ms, end_ms } = result;
  const at_ms = unixNow_ms();
  return {
    type: 'step',
    job: config.job,
    attempt: config.attempt,
    rank: config.rank,
    step,
    at_ms,
    duration_ms: at_ms - times.began_ms,
    compute_ms: result.compute_ms,
    data_ms: times.data_ms,
    wait_ms: end_ms - arrive_ms,
    samples: config.recipe.batch_examples,
    loss: result.loss,
    accuracy: result.accuracy,
    phase: step <= config.recipe.warmup_steps ? 'warmup' : 'train',
    collectives: [{ group: GROUP, op: OPERATION, seq: step, bytes: 4 * MESSAGE_LENGTH, arrive_ms, end_ms }],
  };
}

function resultOf({ rank }: RankConfig, { step, loss, accuracy }: Status, emitter: Sender): RankResult {
  const used = process.resourceUsage();
  return {
    rank,
    steps: step,
    loss,
    accuracy,
    cpu_seconds: (used.userCPUTime + used.systemCPUTime) / 1e6,
    rss_bytes_max: used.maxRSS * 1_024,
    account: emitter.account(),
  };
}

if (import.meta.main) runChild(main);
