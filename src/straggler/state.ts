import type { BeatState, Place, StepRow } from './records.ts';

/** Everything the detector remembers. Plain data and Maps: `encodeState` turns it into JSON and back. */
export type DetectorState = {
  readonly jobs: Map<string, JobState>;
  /** Telemetry by `node/gpu` and by node, in 10 s buckets. */
  readonly gpus: Map<string, GpuBucket[]>;
  readonly hosts: Map<string, HostBucket[]>;
  readonly nics: Map<string, NicBucket[]>;
  released_ms: number;
  forced_count: number;
};

export type JobState = {
  readonly job: string;
  gpu_usd_per_hour: string | null;
  readonly topologies: Topology[];
  readonly attempts: number[];
  attempt: AttemptState | null;
  readonly incidents: Map<string, IncidentState>;
  readonly totals: Totals;
  readonly progress: Progress;
  readonly insight: InsightState;
};

export type Topology = {
  readonly attempt: number;
  readonly at_ms: number;
  readonly world_size: number;
  readonly places: Map<number, Place>;
};

export type AttemptState = {
  readonly attempt: number;
  readonly first_step: number;
  readonly open: Map<number, OpenBlock>;
  closed_through: number;
  readonly reached: Map<number, number>;
  /** Ranks that are past the oldest open block. */
  readonly passed: Set<number>;
  over_since_ms: number | null;
  readonly compute: Map<number, Track>;
  readonly input: Map<number, Track>;
  /** Transfer time by `group op`. */
  readonly network: Map<string, Track>;
  readonly job: Track;
  /** What the step time was made of in unflagged blocks, and in the last ones: which part grew names the cause. */
  readonly usual_parts: StepParts[];
  readonly recent_parts: StepParts[];
};

export type StepParts = {
  readonly step_ms: number;
  readonly compute_ms: number;
  readonly data_ms: number;
  readonly transfer_ms: number | null;
};

/** Step rows of one block by rank; the same (rank, step) is kept once. */
export type OpenBlock = { readonly index: number; readonly ranks: Map<number, StepRow[]> };

/** One series of block values judged against its own lagged history. */
export type Track = {
  readonly history: number[];
  /** First unflagged values, for "slow from the start". */
  readonly first: number[];
  /** Last verdicts: 1 flagged, 0 not. Blocks without data add none. */
  readonly flags: number[];
  run: Run | null;
  /** Key of the incident that this track belongs to while it is active. */
  incident: string | null;
};

/** The flagged stretch that may become an incident, block by block since it began. */
export type Run = {
  readonly started_at_ms: number;
  readonly started_step: number;
  /** Block at which the stretch first met the rule: how long it has been waiting for its node to be judged. */
  ready_index: number | null;
  readonly blocks: RunBlock[];
};

export type RunBlock = {
  readonly index: number;
  readonly to_ms: number;
  readonly to_step: number;
  readonly ratio: number;
  readonly loss_ms: number;
  /** `loss_ms` by training step of the block; empty where only the sum is known. */
  readonly step_losses: readonly number[];
  readonly duration_ms: number;
  readonly seen_count: number;
  readonly expected_count: number;
};

export type IncidentKind = 'slow_rank' | 'slow_node' | 'slow_network' | 'slow_input' | 'slow_job' | 'hang';
export type Cause =
  | 'thermal'
  | 'power'
  | 'hardware'
  | 'interconnect'
  | 'network'
  | 'input'
  | 'host'
  | 'storage'
  | 'mismatch'
  | 'unknown';
export type Subject = { readonly type: 'rank' | 'node' | 'group' | 'job'; readonly id: string };

export type IncidentState = {
  readonly id: string;
  readonly key: string;
  readonly kind: IncidentKind;
  readonly attempt: number;
  readonly ranks: readonly number[];
  readonly subjects: readonly Subject[];
  severity: 'page' | 'warn';
  cause: Cause;
  started_at_ms: number;
  started_step: number;
  raised_at_ms: number;
  raised_step: number;
  cleared_at_ms: number | null;
  cleared_step: number | null;
  reopened_count: number;
  readonly flags: number[];
  readonly ratios: number[];
  gpu_ms_lost: number;
  step_ms_lost: number;
  step_ms: number;
  seen_count: number;
  expected_count: number;
  peer_count: number;
  evidence: Readonly<Record<string, unknown>>;
};

export type Totals = {
  steps_count: number;
  seen_count: number;
  expected_count: number;
  late_count: number;
  gpu_ms: number;
  world_size: number;
  /** Every `stride`-th step's duration, at most 2,048 of them: exact up to there, a sample beyond. */
  durations: number[];
  stride: number;
  peerless_blocks_count: number;
  blocks_count: number;
};

export type Progress = {
  step: number;
  at_ms: number | null;
  step_ms: number;
  readonly beats: Map<number, Beat>;
  evidence_count: number;
  evidence_bucket: number;
  evidence_ms: number;
  phase: string | null;
  phase_since_ms: number;
  checkpoint_longest_ms: number;
  hang: string | null;
};

export type Beat = {
  at_ms: number;
  step: number;
  state: BeatState;
  group: string | null;
  op: string | null;
  seq: number | null;
};

export type InsightState = {
  readonly stages: Map<number, { sum_ms: number; blocks_count: number; steps_count: number }>;
  readonly pauses: Map<number, { cells_count: number; slow_count: number }>;
  pause_lost_ms: number;
  /** Per step: the largest compute of the cohort over its median; a bounded sample, and who was largest how often. */
  readonly imbalance: {
    ratios: number[];
    stride: number;
    seen_count: number;
    readonly largest: Map<number, number>;
    lost_ms: number;
  };
};

export type GpuBucket = {
  readonly bucket: number;
  temperature_c: number | null;
  clock_ratio: number | null;
  throttle: number;
  ecc_count: number | null;
  nvlink_error_count: number | null;
  pcie_width: number | null;
};
export type NicBucket = { readonly bucket: number; readonly trouble_count: number };
export type HostBucket = { readonly bucket: number; cpu_ratio: number };

/** A new track without history. */
export function newTrack(): Track {
  return { history: [], first: [], flags: [], run: null, incident: null };
}

/** A job of which nothing is known yet. */
export function newJob(job: string): JobState {
  return {
    job,
    gpu_usd_per_hour: null,
    topologies: [],
    attempts: [],
    attempt: null,
    incidents: new Map(),
    totals: {
      steps_count: 0,
      seen_count: 0,
      expected_count: 0,
      late_count: 0,
      gpu_ms: 0,
      world_size: 0,
      durations: [],
      stride: 1,
      peerless_blocks_count: 0,
      blocks_count: 0,
    },
    progress: {
      step: -1,
      at_ms: null,
      step_ms: 0,
      beats: new Map(),
      evidence_count: 0,
      evidence_bucket: -1,
      evidence_ms: 0,
      phase: null,
      phase_since_ms: 0,
      checkpoint_longest_ms: 0,
      hang: null,
    },
    insight: {
      stages: new Map(),
      pauses: new Map(),
      pause_lost_ms: 0,
      imbalance: { ratios: [], stride: 1, seen_count: 0, largest: new Map(), lost_ms: 0 },
    },
  };
}

/** A new attempt of a job: nothing learned before a restart is compared with what follows. */
export function newAttempt(attempt: number, first_step: number): AttemptState {
  return {
    attempt,
    first_step,
    open: new Map(),
    closed_through: -1,
    reached: new Map(),
    passed: new Set(),
    over_since_ms: null,
    compute: new Map(),
    input: new Map(),
    network: new Map(),
    job: newTrack(),
    usual_parts: [],
    recent_parts: [],
  };
}

/** JSON text of a value of plain data, Maps and Sets. */
export function encodeState(value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) => {
    if (item instanceof Map) return { $map: [...item.entries()] };
    return item instanceof Set ? { $set: [...item] } : item;
  });
}

/** The value behind `encodeState`. Throws SyntaxError on anything but its output. */
export function decodeState(text: string): unknown {
  return JSON.parse(text, (_, item: unknown) => {
    if (typeof item !== 'object' || item === null) return item;
    const map: unknown = Reflect.get(item, '$map');
    if (Array.isArray(map)) return new Map(map);
    const set: unknown = Reflect.get(item, '$set');
    return Array.isArray(set) ? new Set(set) : item;
  });
}
