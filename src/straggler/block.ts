import type { StragglerOptions } from './options.ts';
import type { StepRow } from './records.ts';
import { mean, median, quantile, trimmedMean } from './robust.ts';
import type { OpenBlock, Topology } from './state.ts';

/** One rank in one block. */
export type Cell = {
  readonly rank: number;
  readonly stage: number;
  readonly node: string;
  readonly rows: readonly StepRow[];
  /** Median of the rank's own work before the barrier, and the same after normalising by tokens where they differ. */
  readonly compute_ms: number;
  readonly work_ms: number;
  /** Mean wait for input: stalls come in bursts that a median hides. */
  readonly data_ms: number;
  /** `work_ms` over the cohort's lower quartile; null without peers. */
  readonly ratio: number | null;
  /** `data_ms` above the cohort's median as a share of the step; null without peers. */
  readonly data_excess: number | null;
  /** The cohort's lower quartile of work and median data wait: what this rank would take at ratio 1. */
  readonly peer_work_ms: number;
  readonly peer_data_ms: number;
  readonly peer_count: number;
};

/** What a finished block says: per rank, and of the job as a whole. */
export type BlockView = {
  readonly index: number;
  readonly from_step: number;
  readonly to_step: number;
  readonly from_ms: number;
  readonly to_ms: number;
  readonly cells: ReadonlyMap<number, Cell>;
  readonly expected_count: number;
  readonly seen_count: number;
  /** Median duration over ranks, by step, all phases. */
  readonly durations: readonly number[];
  readonly train_steps: number;
  /** The training steps, ascending. */
  readonly trained: readonly number[];
  /** Trimmed mean step time of the training steps; null when there are too few. */
  readonly step_ms: number | null;
  /** Mean tokens of a rank and step; 1 when not reported. */
  readonly work: number;
  readonly compute_ms: number;
  readonly data_ms: number;
  readonly transfer_ms: number | null;
};

/** Tokens within 2 % of each other are comparable work as it is (reference A3). */
const WORK_SPREAD_RATIO = 1.02;
/** Share of a block's steps that a rank must have reported to be judged. */
const ROWS_SHARE_MIN = 0.5;

/** Summarises a closed block. O(rows log rows). */
export function viewOf(block: OpenBlock, topology: Topology | null, options: StragglerOptions): BlockView | null {
  const byStep = groupBySteps(block);
  const steps = [...byStep.keys()].sort((a, b) => a - b);
  const first = steps[0];
  const last = steps.at(-1);
  if (first === undefined || last === undefined) return null;
  const rows = [...byStep.values()].flat();
  const durations = steps.map((step) => median((byStep.get(step) ?? []).map((row) => row.duration_ms)) ?? 0);
  const trainSteps = steps.filter((step) => byStep.get(step)?.every((row) => row.train) === true);
  const train = new Set(trainSteps);
  const trainRows = rows.filter((row) => train.has(row.step));
  const enough = trainSteps.length >= options.block_steps * ROWS_SHARE_MIN;
  const trainDurations = trainSteps.map((step) => durations[steps.indexOf(step)] ?? 0);
  const cells = enough ? cellsOf(block, topology, train) : new Map<number, Cell>();
  const transfers = trainRows.flatMap((row) => (row.transfer_ms === null ? [] : [row.transfer_ms]));
  return {
    index: block.index,
    from_step: first,
    to_step: last,
    from_ms: Math.min(...(byStep.get(first) ?? []).map((row) => row.at_ms - row.duration_ms)),
    to_ms: Math.max(...(byStep.get(last) ?? []).map((row) => row.at_ms)),
    cells,
    expected_count: steps.length * (topology?.world_size ?? block.ranks.size),
    seen_count: rows.length,
    durations,
    train_steps: trainSteps.length,
    trained: trainSteps,
    step_ms: enough ? trimmedMean(trainDurations, 0.3) : null,
    work: mean(trainRows.flatMap((row) => (row.tokens === null ? [] : [row.tokens]))) ?? 1,
    compute_ms: mean([...cells.values()].map((cell) => cell.compute_ms)) ?? 0,
    data_ms: mean([...cells.values()].map((cell) => cell.data_ms)) ?? 0,
    transfer_ms: median(transfers),
  };
}

function groupBySteps(block: OpenBlock): Map<number, StepRow[]> {
  const byStep = new Map<number, StepRow[]>();
  for (const rows of block.ranks.values())
    for (const row of rows) {
      const list = byStep.get(row.step);
      if (list === undefined) byStep.set(row.step, [row]);
      else list.push(row);
    }
  return byStep;
}

type Member = { rank: number; node: string; rows: StepRow[] };

function cellsOf(block: OpenBlock, topology: Topology | null, train: ReadonlySet<number>): Map<number, Cell> {
  const cohorts = new Map<number, Member[]>();
  for (const [rank, all] of [...block.ranks].sort(([a], [b]) => a - b)) {
    const rows = all.filter((row) => train.has(row.step));
    if (rows.length < train.size * ROWS_SHARE_MIN) continue;
    const place = topology?.places.get(rank);
    const stage = place?.pp ?? 0;
    const cohort = cohorts.get(stage) ?? [];
    cohort.push({ rank, node: place?.node ?? '', rows });
    cohorts.set(stage, cohort);
  }
  const cells = new Map<number, Cell>();
  for (const [stage, cohort] of cohorts) for (const cell of cohortCells(stage, cohort)) cells.set(cell.rank, cell);
  return cells;
}

function cohortCells(stage: number, cohort: readonly Member[]): Cell[] {
  const work = workOf(cohort);
  const works = cohort.map((member) => median(member.rows.map(work)) ?? 0);
  const data = cohort.map((member) => mean(member.rows.map((row) => row.data_ms)) ?? 0);
  const step_ms = median(cohort.map((member) => median(member.rows.map((row) => row.duration_ms)) ?? 0)) ?? 0;
  // of two ranks the quartile would lie between them and hide a third of the excess: the faster one is the reference
  const peer_work_ms = (works.length === 2 ? Math.min(...works) : quantile(works, 0.25)) ?? 0;
  const peer_data_ms = median(data) ?? 0;
  const alone = cohort.length < 2;
  return cohort.map((member, index) => ({
    rank: member.rank,
    stage,
    node: member.node,
    rows: member.rows,
    compute_ms: median(member.rows.map((row) => row.compute_ms)) ?? 0,
    work_ms: works[index] ?? 0,
    data_ms: data[index] ?? 0,
    ratio: alone || peer_work_ms <= 0 ? null : (works[index] ?? 0) / peer_work_ms,
    data_excess: alone || step_ms <= 0 ? null : ((data[index] ?? 0) - peer_data_ms) / step_ms,
    peer_work_ms,
    peer_data_ms,
    peer_count: cohort.length - 1,
  }));
}

/**
 * Compute time for comparison: per token, scaled back by the cohort's mean, when tokens differ by more than 2 % and
 * dividing by them makes the rows more alike; plain otherwise.
 */
function workOf(cohort: readonly Member[]): (row: StepRow) => number {
  const plain = (row: StepRow): number => row.compute_ms;
  const rows = cohort.flatMap((member) => member.rows);
  let least = Infinity;
  let most = 0;
  let sum = 0;
  for (const row of rows) {
    if (row.tokens === null || row.compute_ms <= 0) return plain;
    least = Math.min(least, row.tokens);
    most = Math.max(most, row.tokens);
    sum += row.tokens;
  }
  if (most <= least * WORK_SPREAD_RATIO) return plain;
  const mean_tokens = sum / rows.length;
  const scaled = (row: StepRow): number => (row.compute_ms * mean_tokens) / (row.tokens ?? mean_tokens);
  return logSpread(rows.map(scaled)) < logSpread(rows.map(plain)) ? scaled : plain;
}

function logSpread(values: readonly number[]): number {
  const logs = values.map(Math.log);
  return (quantile(logs, 0.75) ?? 0) - (quantile(logs, 0.25) ?? 0);
}

/** The topology in force at a time: the latest at or before it, else the earliest of the attempt; null if unknown. */
export function topologyAt(topologies: readonly Topology[], attempt: number, at_ms: number): Topology | null {
  let earliest: Topology | null = null;
  for (let index = topologies.length - 1; index >= 0; index--) {
    const topology = topologies[index];
    if (topology === undefined || topology.attempt !== attempt) continue;
    if (topology.at_ms <= at_ms) return topology;
    earliest = topology;
  }
  return earliest;
}

/** Per step, how long before the barrier the slowest rank outside `culprits` was ready to enter it, ms. */
export function slowestOther(view: BlockView, culprits: ReadonlySet<number>): Map<number, number> {
  const slowest = new Map<number, number>();
  for (const cell of view.cells.values()) {
    if (culprits.has(cell.rank)) continue;
    for (const row of cell.rows) {
      const ready_ms = row.compute_ms + row.data_ms;
      if (ready_ms > (slowest.get(row.step) ?? 0)) slowest.set(row.step, ready_ms);
    }
  }
  return slowest;
}

/**
 * Step time that each training step would have saved without the rank's excess: its time to the barrier above the
 * slowest peer (and above `usual_ms`, its own time without the fault), at most the step itself; lost records are
 * filled with the mean of the others. Wall time is not compared: neighbours move it more than the fault does.
 */
export function lossesOf(
  view: BlockView,
  cell: Cell,
  slowest: ReadonlyMap<number, number>,
  usual_ms: number,
): number[] {
  const known = new Map<number, number>();
  for (const row of cell.rows) {
    const without_ms = Math.max(slowest.get(row.step) ?? Infinity, usual_ms);
    known.set(row.step, Math.min(Math.max(0, row.compute_ms + row.data_ms - without_ms), row.duration_ms));
  }
  const filler = mean([...known.values()]) ?? 0;
  return view.trained.map((step) => known.get(step) ?? filler);
}
