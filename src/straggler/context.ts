import type { BlockView } from './block.ts';
import type { Changes } from './incident.ts';
import type { StragglerOptions } from './options.ts';
import type { AttemptState, DetectorState, JobState, Topology, Track } from './state.ts';
import type { Rule } from './track.ts';

/** The two ways in which one rank holds up the others: its own work, or its input. */
export type Family = 'compute' | 'input';

/** All that the peer rules need about one closed block. */
export type BlockContext = {
  readonly state: DetectorState;
  readonly job: JobState;
  readonly attempt: AttemptState;
  readonly topology: Topology | null;
  readonly view: BlockView;
  readonly options: StragglerOptions;
  readonly changes: Changes;
};

/** Input stalls come in bursts: 3 of 5 blocks, a lower z, and a scale below 1 % of the step is not believed. */
const INPUT_FLAGGED_MIN = 3;
const INPUT_Z_MAX = 4;
const INPUT_SCALE_FLOOR = 0.01;
/** A median absolute deviation of five values says little: 2 % at least until there are fifteen (reference A3). */
const EARLY_SCALE = 0.02;

/** The rule of each family under the given options. */
export function ruleOf(family: Family, options: StragglerOptions): Rule {
  const rule: Rule = {
    theta: options.theta_ratio,
    z_min: options.z_min,
    scale_floor: options.scale_floor_ratio,
    early_scale: EARLY_SCALE,
    flagged_min: options.flagged_min,
    history_blocks: options.history_blocks,
    lag_blocks: options.lag_blocks,
  };
  if (family === 'compute') return rule;
  return {
    ...rule,
    z_min: Math.min(options.z_min, INPUT_Z_MAX),
    scale_floor: Math.max(options.scale_floor_ratio, INPUT_SCALE_FLOOR),
    flagged_min: Math.min(options.flagged_min, INPUT_FLAGGED_MIN),
  };
}

/** The tracks of a family, by rank. */
export function tracksOf(attempt: AttemptState, family: Family): Map<number, Track> {
  return family === 'compute' ? attempt.compute : attempt.input;
}
