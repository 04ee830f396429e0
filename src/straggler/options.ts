/** What the detector can be told. Every field has a default (`STRAGGLER_DEFAULTS`); ratios are 0..1, times ms. */
export type StragglerOptions = {
  /** Steps in one block; a block's median is the unit of comparison. */
  readonly block_steps: number;
  /** A rank is flagged when it exceeds its own usual ratio to its peers by more than this … */
  readonly theta_ratio: number;
  /** … and by more than this many robust standard deviations of that ratio. */
  readonly z_min: number;
  /** Smallest standard deviation believed: guards against a history that happened to be still. */
  readonly scale_floor_ratio: number;
  /** Raise when `flagged_min` of the last `flagged_of` blocks are flagged; clear when none of them is. */
  readonly flagged_min: number;
  readonly flagged_of: number;
  /** First steps of an attempt that are not looked at (compilation, allocator, page cache). */
  readonly warmup_steps: number;
  /** A rank's own history ends this many blocks ago, so that a slow ramp does not become its own baseline. */
  readonly lag_blocks: number;
  readonly history_blocks: number;
  /** A slowdown younger than this is not raised. */
  readonly min_duration_ms: number;
  /** Records may arrive this late (contract: 10 s); verdicts wait for them. */
  readonly lateness_ms: number;
  /** Job-wide slowdown against the job's own history; null switches the job-level rule off (noisy shared machines). */
  readonly job_theta_ratio: number | null;
  readonly job_z_min: number;
  /** No progress for this long, or `hang_steps` step times, is a hang; raised `lateness_ms` before, to be in time. */
  readonly hang_silence_ms: number;
  readonly hang_steps: number;
  /** USD of one GPU hour as a decimal; null = the price in the job's own record, else no money is printed. */
  readonly gpu_usd_per_hour: string | null;
  /** Records waiting for their turn; above it the older half is taken as complete. About 150 bytes each. */
  readonly held_records_max: number;
};

/** The product's defaults: reference block 10, θ 0.04, z 6, 4 of 5 blocks, at least 60 s. */
export const STRAGGLER_DEFAULTS: StragglerOptions = {
  block_steps: 10,
  theta_ratio: 0.04,
  z_min: 6,
  scale_floor_ratio: 0.004,
  flagged_min: 4,
  flagged_of: 5,
  warmup_steps: 50,
  lag_blocks: 5,
  history_blocks: 40,
  min_duration_ms: 60_000,
  lateness_ms: 10_000,
  job_theta_ratio: 0.045,
  job_z_min: 4,
  hang_silence_ms: 60_000,
  hang_steps: 6,
  gpu_usd_per_hour: null,
  held_records_max: 1_000_000,
};

/**
 * Settings for a small live job on a machine that others use too: a busy neighbour (a compiler on both cores) makes one of four
 * ranks 9 to 33 % slower for some seconds, the planted fault makes it 75 to 95 % slower.
 */
export const STRAGGLER_LIVE_DEMO: Partial<StragglerOptions> = {
  block_steps: 5,
  theta_ratio: 0.4,
  z_min: 4,
  scale_floor_ratio: 0.01,
  warmup_steps: 40,
  min_duration_ms: 0,
  lateness_ms: 500,
  job_theta_ratio: null,
};
