import type { BlockView, Cell } from './block.ts';
import { printedSeconds } from './price.ts';
import { median, robustScale } from './robust.ts';
import type { InsightState, JobState } from './state.ts';

/** What explains slow steps without being a fault of one machine: told, never paged. */
export type Insight = {
  readonly kind: 'stage_imbalance' | 'sequence_imbalance' | 'host_pauses' | 'static_heterogeneity' | 'slow_from_start';
  readonly job: string;
  readonly subjects: readonly { readonly type: 'rank' | 'stage' | 'job'; readonly id: string }[];
  readonly slowdown_ratio: number;
  readonly gpu_seconds_lost: number;
};

/** Thresholds of reference A6, where the verdicts were separated on simulated and on published traces. */
const STAGE_RATIO_MIN = 1.08;
const SEQUENCE_RATIO_MIN = 1.08;
const SEQUENCE_TOP_SHARE_MAX = 0.3;
const WORK_RATIO_MIN = 1.05;
const PAUSE_EXCESS_MIN = 0.06;
const PAUSE_Z = 6;
const PAUSE_SHARE_MIN = 0.001;
const PAUSE_SHARE_MAX = 0.05;
const PAUSE_SPREAD_MIN = 0.9;
const STATIC_RATIO_MIN = 1.04;
const START_RATIO_MIN = 1.1;
const START_RANKS_SHARE_MAX = 0.1;
const BLOCKS_MIN = 5;
const SAMPLE_MAX = 2_048;

/** Adds one judged block to what the insights are drawn from. State does not grow with steps. */
export function addToInsights(state: InsightState, view: BlockView): void {
  const stages = new Map<number, Cell[]>();
  for (const cell of view.cells.values()) stages.set(cell.stage, [...(stages.get(cell.stage) ?? []), cell]);
  for (const [stage, cells] of stages) {
    const held = state.stages.get(stage) ?? { sum_ms: 0, blocks_count: 0, steps_count: 0 };
    held.sum_ms += median(cells.map((cell) => cell.compute_ms)) ?? 0;
    held.blocks_count++;
    held.steps_count += view.train_steps;
    state.stages.set(stage, held);
  }
  addPauses(state, view);
  for (const cells of stages.values()) addImbalance(state, cells);
}

function addPauses(state: InsightState, view: BlockView): void {
  const ratios: number[] = [];
  for (const cell of view.cells.values())
    for (const row of cell.rows) ratios.push(row.compute_ms / Math.max(cell.compute_ms, Number.MIN_VALUE));
  const limit = 1 + Math.max(PAUSE_EXCESS_MIN, PAUSE_Z * robustScale(ratios, 1));
  const lost = new Map<number, number>();
  for (const cell of view.cells.values()) {
    const held = state.pauses.get(cell.rank) ?? { cells_count: 0, slow_count: 0 };
    for (const row of cell.rows) {
      held.cells_count++;
      if (row.compute_ms <= limit * cell.compute_ms) continue;
      held.slow_count++;
      lost.set(row.step, Math.max(lost.get(row.step) ?? 0, row.compute_ms - cell.compute_ms));
    }
    state.pauses.set(cell.rank, held);
  }
  for (const lost_ms of lost.values()) state.pause_lost_ms += lost_ms;
}

function addImbalance(state: InsightState, cells: readonly Cell[]): void {
  const steps = new Map<number, { rank: number; compute_ms: number; tokens: number }[]>();
  for (const cell of cells)
    for (const row of cell.rows) {
      if (row.tokens === null) continue;
      const item = { rank: cell.rank, compute_ms: row.compute_ms, tokens: row.tokens };
      const list = steps.get(row.step);
      if (list === undefined) steps.set(row.step, [item]);
      else list.push(item);
    }
  const held = state.imbalance;
  for (const items of steps.values()) {
    const usual_ms = median(items.map((item) => item.compute_ms)) ?? 0;
    const usual_tokens = median(items.map((item) => item.tokens)) ?? 0;
    const top = items.reduce((a, b) => (b.compute_ms > a.compute_ms ? b : a));
    if (items.length < 2 || usual_ms <= 0 || usual_tokens <= 0) continue;
    const uneven = Math.max(...items.map((item) => item.tokens)) > WORK_RATIO_MIN * usual_tokens;
    held.seen_count++;
    held.largest.set(top.rank, (held.largest.get(top.rank) ?? 0) + 1);
    if (held.seen_count % held.stride === 0) held.ratios.push(uneven ? top.compute_ms / usual_ms : 1);
    if (uneven) held.lost_ms += top.compute_ms - usual_ms;
    if (held.ratios.length > SAMPLE_MAX) {
      held.ratios = held.ratios.filter((_, index) => index % 2 === 1);
      held.stride *= 2;
    }
  }
}

/** The insights of a job so far, in a fixed order. */
export function insightsOf(job: JobState): Insight[] {
  return [...stageImbalance(job), ...sequenceImbalance(job), ...hostPauses(job), ...heterogeneity(job)];
}

function seconds(job: JobState, step_ms: number): number {
  return printedSeconds(step_ms * job.totals.world_size);
}

function stageImbalance(job: JobState): Insight[] {
  const stages = [...job.insight.stages]
    .filter(([, held]) => held.blocks_count >= BLOCKS_MIN)
    .sort(([a], [b]) => a - b);
  const levels = stages.map(([stage, held]) => ({
    stage,
    ms: held.sum_ms / held.blocks_count,
    steps_count: held.steps_count,
  }));
  const sorted = levels.map((level) => level.ms).sort((a, b) => a - b);
  const usual_ms = sorted[Math.floor((sorted.length - 1) / 2)];
  const worst = levels.reduce((a, b) => (b.ms > a.ms ? b : a), levels[0] ?? { stage: 0, ms: 0, steps_count: 0 });
  if (levels.length < 2 || usual_ms === undefined || usual_ms <= 0 || worst.ms < STAGE_RATIO_MIN * usual_ms) return [];
  return [
    {
      kind: 'stage_imbalance',
      job: job.job,
      subjects: levels
        .filter((level) => level.ms >= STAGE_RATIO_MIN * usual_ms)
        .map((level) => ({ type: 'stage', id: String(level.stage) })),
      slowdown_ratio: worst.ms / usual_ms,
      gpu_seconds_lost: seconds(job, (worst.ms - usual_ms) * worst.steps_count),
    },
  ];
}

function sequenceImbalance(job: JobState): Insight[] {
  const { ratios, largest, seen_count, lost_ms } = job.insight.imbalance;
  const ratio = median(ratios);
  if (ratio === null || ratio <= SEQUENCE_RATIO_MIN || seen_count < BLOCKS_MIN * 10) return [];
  if (Math.max(...largest.values()) / seen_count >= Math.max(SEQUENCE_TOP_SHARE_MAX, 2 / largest.size)) return [];
  const stages_count = Math.max(1, job.insight.stages.size);
  return [
    {
      kind: 'sequence_imbalance',
      job: job.job,
      subjects: [{ type: 'job', id: job.job }],
      slowdown_ratio: ratio,
      gpu_seconds_lost: seconds(job, lost_ms / stages_count),
    },
  ];
}

function hostPauses(job: JobState): Insight[] {
  const ranks = [...job.insight.pauses.values()];
  const cells_count = ranks.reduce((sum, rank) => sum + rank.cells_count, 0);
  const slow_count = ranks.reduce((sum, rank) => sum + rank.slow_count, 0);
  const touched = ranks.filter((rank) => rank.slow_count > 0).length;
  const share = slow_count / Math.max(1, cells_count);
  if (ranks.length < 2 || share < PAUSE_SHARE_MIN || share > PAUSE_SHARE_MAX) return [];
  if (touched < PAUSE_SPREAD_MIN * ranks.length || slow_count < 2 * ranks.length) return [];
  if (sequenceImbalance(job).length > 0) return [];
  const step_ms = job.totals.gpu_ms / Math.max(1, job.totals.world_size);
  return [
    {
      kind: 'host_pauses',
      job: job.job,
      subjects: [{ type: 'job', id: job.job }],
      slowdown_ratio: step_ms / Math.max(step_ms - job.insight.pause_lost_ms, Number.MIN_VALUE),
      gpu_seconds_lost: seconds(job, job.insight.pause_lost_ms),
    },
  ];
}

/** Ranks off their peers since the first blocks: few of them are slow from the start, many are a mixed fleet. */
function heterogeneity(job: JobState): Insight[] {
  const tracks = [...(job.attempt?.compute ?? [])].filter(([, track]) => track.first.length >= BLOCKS_MIN);
  const levels = tracks.map(([rank, track]) => ({ rank, ratio: median(track.first) ?? 1 }));
  const slow = levels.filter((level) => level.ratio >= STATIC_RATIO_MIN).sort((a, b) => a.rank - b.rank);
  const marked = slow.filter((level) => level.ratio >= START_RATIO_MIN);
  const few = marked.length > 0 && marked.length <= Math.max(1, START_RANKS_SHARE_MAX * levels.length);
  const listed = few ? marked : slow;
  if (listed.length === 0) return [];
  const worst = Math.max(...listed.map((level) => level.ratio));
  const step_ms = [...job.insight.stages.values()].reduce(
    (most, held) => Math.max(most, held.sum_ms / held.blocks_count),
    0,
  );
  const steps_count = Math.max(...[...job.insight.stages.values()].map((held) => held.steps_count));
  return [
    {
      kind: few ? 'slow_from_start' : 'static_heterogeneity',
      job: job.job,
      subjects: listed.map((level) => ({ type: 'rank', id: String(level.rank) })),
      slowdown_ratio: worst,
      gpu_seconds_lost: seconds(job, (worst - 1) * step_ms * steps_count),
    },
  ];
}
