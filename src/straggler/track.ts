import type { StragglerOptions } from './options.ts';
import { median, robustScale, sum } from './robust.ts';
import type { RunBlock, Track } from './state.ts';

/** How one series is judged. */
export type Rule = {
  readonly theta: number;
  readonly z_min: number;
  readonly scale_floor: number;
  /** The scale believed at least while there are fewer than HISTORY_SETTLED values. */
  readonly early_scale: number;
  readonly flagged_min: number;
  /** Own history: this many unflagged blocks, ending `lag_blocks` ago. */
  readonly history_blocks: number;
  readonly lag_blocks: number;
};

/** `usual` = the track's own level without the fault; null while too little is known to judge. */
export type Verdict = { readonly flagged: boolean; readonly usual: number | null };

/** Blocks of own history before anything is judged, and before its scale is believed below `early_scale`. */
const HISTORY_MIN = 5;
const HISTORY_SETTLED = 15;
const FIRST_MAX = 10;
/** Blocks of a stretch kept one by one; older ones are added up. */
const RUN_BLOCKS_MAX = 512;

/**
 * Judges one block value against the track's own lagged history, and remembers the verdict. Flagged values never enter
 * the history, nor does anything while an incident is active: a fault must not become its own baseline. An active
 * track stays flagged down to half the thresholds (hysteresis).
 */
export function judge(track: Track, value: number, rule: Rule, options: StragglerOptions): Verdict {
  const settled = track.history.slice(0, Math.max(0, track.history.length - rule.lag_blocks));
  const usable = settled.slice(-rule.history_blocks);
  const verdict = usable.length < HISTORY_MIN ? { flagged: false, usual: null } : compare(track, value, rule, usable);
  track.flags.push(verdict.flagged ? 1 : 0);
  if (track.flags.length > options.flagged_of) track.flags.shift();
  if (!verdict.flagged && track.incident === null) remember(track, value, rule);
  return verdict;
}

/** Adds a value to the track's own history. */
export function remember(track: Track, value: number, rule: Rule): void {
  track.history.push(value);
  if (track.history.length > rule.history_blocks + rule.lag_blocks) track.history.shift();
  if (track.first.length < FIRST_MAX) track.first.push(value);
}

function compare(track: Track, value: number, rule: Rule, usable: readonly number[]): Verdict {
  const usual = median(usable) ?? 0;
  const floor = usable.length < HISTORY_SETTLED ? Math.max(rule.early_scale, rule.scale_floor) : rule.scale_floor;
  const scale = Math.max(robustScale(usable, usual), floor);
  const softness = track.incident === null ? 1 : 0.5;
  const excess = value - usual;
  return { flagged: excess > rule.theta * softness && excess / scale > rule.z_min * softness, usual };
}

/** Starts a stretch at a flagged block; ends one that can no longer become an incident. */
export function followRun(
  track: Track,
  flagged: boolean,
  rule: Rule,
  start: { ms: number; step: number; of: number },
): void {
  if (track.incident !== null) return;
  if (track.run === null) {
    if (flagged) track.run = { started_at_ms: start.ms, started_step: start.step, ready_index: null, blocks: [] };
    return;
  }
  const holes = start.of - rule.flagged_min + 1;
  if (track.flags.slice(-holes).every((flag) => flag === 0)) track.run = null;
}

/** Adds a block to the stretch, folding the oldest two together above RUN_BLOCKS_MAX. */
export function extendRun(track: Track, block: RunBlock): void {
  const blocks = track.run?.blocks;
  if (blocks === undefined) return;
  blocks.push(block);
  const [first, second] = blocks;
  if (blocks.length > RUN_BLOCKS_MAX && first !== undefined && second !== undefined)
    blocks.splice(0, 2, {
      ...second,
      loss_ms: first.loss_ms + second.loss_ms,
      step_losses: [],
      duration_ms: first.duration_ms + second.duration_ms,
      seen_count: first.seen_count + second.seen_count,
      expected_count: first.expected_count + second.expected_count,
    });
}

/** Number of flagged blocks among the last ones. */
export function flagCount(track: Track): number {
  return track.flags.reduce((sum, flag) => sum + flag, 0);
}

/** Whether the stretch is long and dense enough to be raised. */
export function isReady(track: Track, rule: Rule, options: StragglerOptions): boolean {
  if (track.run === null || track.incident !== null || flagCount(track) < rule.flagged_min) return false;
  const last = track.run.blocks.at(-1);
  return last !== undefined && last.to_ms - track.run.started_at_ms >= options.min_duration_ms;
}

/** What the blocks of several ranks cost together: the step waits for the slowest of them, so the largest loss. */
export function mergeBlocks(lists: readonly (readonly RunBlock[])[]): RunBlock[] {
  const byIndex = new Map<number, RunBlock[]>();
  for (const list of lists)
    for (const block of list) {
      const held = byIndex.get(block.index);
      if (held === undefined) byIndex.set(block.index, [block]);
      else held.push(block);
    }
  const merged: RunBlock[] = [];
  for (const [index, blocks] of [...byIndex].sort(([a], [b]) => a - b)) {
    const [first] = blocks;
    if (first === undefined) continue;
    merged.push({
      ...first,
      index,
      ratio: median(blocks.map((block) => block.ratio)) ?? first.ratio,
      ...jointLoss(blocks),
      seen_count: blocks.reduce((sum, block) => sum + block.seen_count, 0),
      expected_count: blocks.reduce((sum, block) => sum + block.expected_count, 0),
    });
  }
  return merged;
}

/** Step by step the largest loss, since each step waits for whoever is slowest in it; of sums, the largest sum. */
function jointLoss(blocks: readonly RunBlock[]): Pick<RunBlock, 'loss_ms' | 'step_losses'> {
  const steps = blocks[0]?.step_losses.length ?? 0;
  if (steps === 0 || blocks.some((block) => block.step_losses.length !== steps))
    return { loss_ms: Math.max(...blocks.map((block) => block.loss_ms)), step_losses: [] };
  const step_losses = Array.from({ length: steps }, (_, step) =>
    Math.max(...blocks.map((block) => block.step_losses[step] ?? 0)),
  );
  return { loss_ms: sum(step_losses), step_losses };
}
