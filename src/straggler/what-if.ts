import { mean, median } from './robust.ts';
import { graphOf } from './trace-graph.ts';
import { COMMUNICATION_TYPES, type Lanes, lanesOf, type Operation, type TraceRow } from './trace-operation.ts';
import { type Lengths, prepareReplay, recordedLengths, type Replay, replayMean } from './trace-replay.ts';

/** What explains a slow trace. */
export type WhatIfVerdict = 'worker' | 'stage_imbalance' | 'sequence_imbalance' | 'host_pauses' | 'none';

/** The answer for an operator trace, as contract `leeway stragglers` prints it. `m_w`, `m_s`: null when nothing was lost. */
export type WhatIfReport = {
  readonly version: 1;
  readonly trace: { readonly operations: number; readonly steps: number; readonly dp: number; readonly stages: number };
  readonly what_if: {
    readonly slowdown: number;
    readonly m_w: number | null;
    readonly m_s: number | null;
    readonly by_stage: readonly number[];
    readonly by_dp: readonly number[];
    readonly by_optype: Readonly<Record<string, number>>;
  };
  readonly verdict: WhatIfVerdict;
  readonly workers: readonly { readonly dp: number; readonly stage: number; readonly slowdown: number }[];
};

/** Reference A5: a job straggles above 1.1; a class explains it above half; 3 % of the ranks are "the worst". */
const STRAGGLES = 1.1;
const EXPLAINS = 0.5;
const WORST_SHARE = 0.03;
const SEQUENCE_CORRELATION = 0.9;
const SEQUENCE_VARIATION = 0.1;
const PAUSE_RATIO = 1.12;
const PAUSE_SHARE_MIN = 0.001;
const PAUSE_SHARE_MAX = 0.05;
const PAUSE_SPREAD = 0.9;

/**
 * Replays a trace as recorded and with stragglers removed: computing at the mean of its type, transfers at the median.
 * `slowdown` = recorded ÷ ideal step time without launch delays; `by_…` = the same with only that part as recorded.
 * Returns a sentence instead when the trace cannot be replayed. Source: Lin et al., OSDI 2025; reference A5.
 */
export function analyseTrace(rows: readonly TraceRow[]): WhatIfReport | string {
  if (rows.length === 0) return 'it has no rows';
  const lanes = lanesOf(rows);
  if (typeof lanes === 'string') return lanes;
  if (![...lanes.operations.values()].some((item) => item.optype === 'optimizer'))
    return 'it has no optimizer operation, where a step ends';
  const replay = prepareReplay(lanes, graphOf(lanes));
  if (typeof replay === 'string') return replay;
  const world = worldOf(replay);
  const ratio = (keep: Keep): number => world.mixed(keep) / world.ideal_s;
  const by_dp = Array.from({ length: lanes.dp_count }, (_, dp) => ratio((_item, lane) => lane % lanes.dp_count === dp));
  const by_stage = Array.from({ length: lanes.stage_count }, (_, stage) => ratio((item) => item.stage === stage));
  const types = [...new Set([...lanes.operations.values()].map((item) => typeName(item.optype)))].sort();
  const by_optype = Object.fromEntries(types.map((type) => [type, ratio((item) => typeName(item.optype) === type)]));
  const slowdown = world.recorded_s / world.ideal_s;
  const scores = rankScores(by_dp, by_stage);
  const worst = new Set(
    scores.slice(0, Math.ceil(scores.length * WORST_SHARE)).map((score) => `${score.dp}/${score.stage}`),
  );
  const lost_s = world.recorded_s - world.ideal_s;
  const explained = (fixed: Keep): number | null =>
    lost_s > 0 ? (world.recorded_s - world.mixed((item, lane) => !fixed(item, lane))) / lost_s : null;
  const m_w = explained((item, lane) => worst.has(`${lane % lanes.dp_count}/${item.stage}`));
  const m_s = explained((item) => item.stage === lanes.stage_count - 1);
  const verdict = verdictOf(rows, { slowdown, m_w, m_s, stages: lanes.stage_count });
  return {
    version: 1,
    trace: { operations: rows.length, steps: lanes.steps.length, dp: lanes.dp_count, stages: lanes.stage_count },
    what_if: { slowdown, m_w, m_s, by_stage, by_dp, by_optype },
    verdict,
    workers: verdict === 'worker' ? scores.filter((score) => worst.has(`${score.dp}/${score.stage}`)) : [],
  };
}

/** Whether an operation in a lane keeps its recorded length. */
type Keep = (operation: Operation, lane: number) => boolean;

type World = { readonly recorded_s: number; readonly ideal_s: number; mixed(keep: Keep): number };

function worldOf(replay: Replay): World {
  const recorded = recordedLengths(replay);
  const ideal = idealLengths(replay.lanes, recorded);
  const none = new Float64Array();
  const idealOf = (operation: Operation): number => ideal.get(operation.optype) ?? 0;
  return {
    recorded_s: replayMean(replay, (operation) => recorded.get(operation.name) ?? none),
    ideal_s: replayMean(replay, (operation) => Float64Array.from(operation.start_s, () => idealOf(operation))),
    mixed: (keep) =>
      replayMean(replay, (operation) => {
        const usual = idealOf(operation);
        return (recorded.get(operation.name) ?? none).map((length, lane) => (keep(operation, lane) ? length : usual));
      }),
  };
}

function idealLengths(lanes: Lanes, recorded: Lengths): Map<string, number> {
  const byType = new Map<string, number[]>();
  for (const operation of lanes.operations.values()) {
    const list = byType.get(operation.optype) ?? [];
    for (const length of recorded.get(operation.name) ?? []) list.push(length);
    byType.set(operation.optype, list);
  }
  const ideal = new Map<string, number>();
  for (const [optype, list] of byType)
    ideal.set(optype, (COMMUNICATION_TYPES.has(optype) ? median(list) : mean(list)) ?? 0);
  return ideal;
}

function typeName(optype: string): string {
  if (optype === 'forward-send' || optype === 'forward-recv') return 'forward-pp-comm';
  return optype === 'backward-send' || optype === 'backward-recv' ? 'backward-pp-comm' : optype;
}

/** A rank's score is the lesser of its data-parallel rank's and its stage's slowdown; worst first, ties by rank. */
function rankScores(
  by_dp: readonly number[],
  by_stage: readonly number[],
): { dp: number; stage: number; slowdown: number }[] {
  const scores = by_stage.flatMap((stage_ratio, stage) =>
    by_dp.map((dp_ratio, dp) => ({ dp, stage, slowdown: Math.min(dp_ratio, stage_ratio) })),
  );
  return scores.sort((a, b) => b.slowdown - a.slowdown || a.stage - b.stage || a.dp - b.dp);
}

function verdictOf(
  rows: readonly TraceRow[],
  found: { slowdown: number; m_w: number | null; m_s: number | null; stages: number },
): WhatIfVerdict {
  if (found.slowdown > STRAGGLES) {
    if ((found.m_w ?? 0) > EXPLAINS) return 'worker';
    if (isSequenceImbalance(rows)) return 'sequence_imbalance';
    if (found.stages > 1 && (found.m_s ?? 0) > EXPLAINS) return 'stage_imbalance';
  }
  return hasPauses(rows) ? 'host_pauses' : 'none';
}

/** Micro-batches whose forward and backward times rise and fall together within a rank, and differ a lot. */
function isSequenceImbalance(rows: readonly TraceRow[]): boolean {
  const forward = new Map<string, number>();
  const ranks = new Map<string, [number, number][]>();
  const keyOf = (row: TraceRow): string => `${row.dp_rank}/${row.stage}/${row.model_chunk}`;
  for (const row of rows)
    if (row.optype === 'forward-compute') forward.set(`${keyOf(row)}/${row.step}/${row.micro_batch}`, row.duration_s);
  for (const row of rows) {
    const first = forward.get(`${keyOf(row)}/${row.step}/${row.micro_batch}`);
    if (row.optype !== 'backward-compute' || first === undefined) continue;
    const list = ranks.get(keyOf(row)) ?? [];
    list.push([first, row.duration_s]);
    ranks.set(keyOf(row), list);
  }
  const lists = [...ranks.values()];
  const variation = median(lists.map((pairs) => variationOf(pairs.map(([first]) => first)))) ?? 0;
  return (median(lists.map(correlation)) ?? 0) > SEQUENCE_CORRELATION && variation > SEQUENCE_VARIATION;
}

function variationOf(values: readonly number[]): number {
  const center = mean(values) ?? 0;
  const variance = mean(values.map((value) => (value - center) ** 2)) ?? 0;
  return center > 0 ? Math.sqrt(variance) / center : 0;
}

/** Pearson's correlation; 0 where it is not defined. */
function correlation(pairs: readonly (readonly [number, number])[]): number {
  const left = mean(pairs.map(([x]) => x)) ?? 0;
  const right = mean(pairs.map(([, y]) => y)) ?? 0;
  let both = 0;
  let lefts = 0;
  let rights = 0;
  for (const [x, y] of pairs) {
    both += (x - left) * (y - right);
    lefts += (x - left) ** 2;
    rights += (y - right) ** 2;
  }
  return lefts > 0 && rights > 0 ? both / Math.sqrt(lefts * rights) : 0;
}

/** Few steps of nearly every rank take much longer than that rank usually does: pauses of the hosts (reference A6). */
function hasPauses(rows: readonly TraceRow[]): boolean {
  const ranks = new Map<string, Map<number, number>>();
  for (const row of rows) {
    if (row.optype !== 'forward-compute' && row.optype !== 'backward-compute') continue;
    const rank = ranks.get(`${row.dp_rank}/${row.stage}`) ?? new Map<number, number>();
    rank.set(row.step, (rank.get(row.step) ?? 0) + row.duration_s);
    ranks.set(`${row.dp_rank}/${row.stage}`, rank);
  }
  let cells = 0;
  let slow = 0;
  let touched = 0;
  for (const rank of ranks.values()) {
    const times = [...rank.values()];
    const usual = median(times) ?? 0;
    const count = times.filter((time) => time > PAUSE_RATIO * usual).length;
    cells += times.length;
    slow += count;
    if (count > 0) touched++;
  }
  return slow >= PAUSE_SHARE_MIN * cells && slow <= PAUSE_SHARE_MAX * cells && touched > PAUSE_SPREAD * ranks.size;
}
