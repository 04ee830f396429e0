import type { ChildProcess } from 'node:child_process';
import { LeewayError } from '../src/core/errors.ts';
import { awaitMessage, forkChild, type Message, messageOf, textIn } from './child.ts';
import type { RankConfig, RankResult, Recipe } from './rank.ts';

/** A job to start: what its ranks have in common. Each rank's source is `{source}-rank-{n}`. */
export type JobPlan = Omit<RankConfig, 'rank' | 'leeway'> & {
  readonly leeway: { readonly base_url: string; readonly source: string; readonly token: string | null } | null;
};

export type Job = {
  readonly ranks: readonly ChildProcess[];
  /** Results by rank; rejects with LW-INTERNAL as soon as one rank fails or dies, after the others were told to end. */
  readonly done: Promise<readonly RankResult[]>;
  /** Makes a rank repeat its forward pass on that share of each batch (2: twice more, 0: healthy again). */
  slow(rank: number, share: number): void;
  /** Asks all ranks to end together; the flag rides in the all-reduce, so that they end at the same step. */
  stop(): void;
};

/** Steady training: four ranks use 0.3 to 0.64 of a core together, with 12 ms of compute in a step of 92 ms. */
export const TRAINING_RECIPE: Recipe = {
  batch_examples: 192,
  pause_ms: 65,
  steps_max: 100_000,
  learning_rate: 0.2,
  momentum: 0.9,
  warmup_steps: 40,
  checkpoint_steps: 25,
  seed: 1,
  left_out_classes: [],
  initial_weights_path: null,
  recent: null,
};

/** A rank loads 47 MB and waits for its neighbours; on a starved machine that has taken 10 s. */
const READY_MS_MAX = 60_000;

/**
 * Forks one process a rank, waits until all have joined the ring and lets them go together. `onMessage` gets every message
 * of every rank. Rejects with LW-INTERNAL or LW-TIMEOUT when a rank does not come up; then none is left running.
 */
export async function startJob(plan: JobPlan, onMessage: (rank: number, message: Message) => void): Promise<Job> {
  const ranks = plan.placements.map((_, rank) => {
    const child = forkChild('rank', configOf(plan, rank));
    child.on('message', (raw) => onMessage(rank, messageOf(raw)));
    return child;
  });
  const results = Promise.all(ranks.map(resultOf));
  results.catch(() => tell(ranks, { stop: true })); // the caller sees it through `done`
  try {
    await Promise.race([Promise.all(ranks.map((rank) => awaitMessage(rank, 'ready', READY_MS_MAX))), results]);
  } catch (error) {
    for (const rank of ranks) rank.kill('SIGKILL');
    throw error;
  }
  tell(ranks, { go: true });
  return {
    ranks,
    done: results,
    slow: (rank, share) => tell(ranks.slice(rank, rank + 1), { slow: share }),
    stop: () => tell(ranks, { stop: true }),
  };
}

function configOf(plan: JobPlan, rank: number): RankConfig {
  const leeway = plan.leeway === null ? null : { ...plan.leeway, source: `${plan.leeway.source}-rank-${rank}` };
  return { ...plan, rank, leeway };
}

function tell(ranks: readonly ChildProcess[], message: Message): void {
  for (const rank of ranks) if (rank.connected) rank.send(message);
}

function resultOf(child: ChildProcess, rank: number): Promise<RankResult> {
  return new Promise((resolve, reject) => {
    let result: RankResult | null = null;
    let failed: string | null = null;
    child.on('message', (raw) => {
      const message = messageOf(raw);
      failed = textIn(message, 'failed') ?? failed;
      if (message['done'] !== undefined) result = message['done'] as RankResult; // the parse door: rank.ts's own JSON
    });
    child.once('exit', (code, signal) => {
      if (code === 0 && result !== null) resolve(result);
      else reject(new LeewayError('LW-INTERNAL', `rank ${rank} ended: ${failed ?? signal ?? `exit ${code}`}`));
    });
  });
}
