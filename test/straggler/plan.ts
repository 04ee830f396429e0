/** What is done to the simulated job. `steps` count from 0; `ratio` 0.2 = 20 % more time. */
export type Fault =
  | {
      readonly kind: 'gpu_slow';
      readonly rank: number;
      readonly ratio: number;
      readonly from: number;
      readonly to?: number;
      readonly echo?: 'thermal' | 'power';
    }
  | {
      readonly kind: 'node_slow';
      readonly node: number;
      readonly ratio: number;
      readonly from: number;
      readonly to?: number;
    }
  | {
      readonly kind: 'loader_stall';
      readonly rank: number;
      readonly ratio: number;
      readonly from: number;
      readonly to?: number;
    }
  | { readonly kind: 'storage_stall'; readonly ratio: number; readonly from: number; readonly to?: number }
  | { readonly kind: 'global_slow'; readonly ratio: number; readonly from: number; readonly to?: number }
  | {
      readonly kind: 'hang';
      readonly rank: number;
      readonly from: number;
      readonly resume_ms?: number;
      readonly mute?: boolean;
    }
  | { readonly kind: 'checkpoint_stall'; readonly from: number }
  | { readonly kind: 'gc_pause'; readonly ratio: number }
  | {
      readonly kind: 'nic_slow';
      readonly node: number;
      readonly ratio: number;
      readonly from: number;
      readonly to?: number;
    }
  | { readonly kind: 'stage_imbalance'; readonly ratio: number }
  | { readonly kind: 'sequence_imbalance'; readonly sigma: number }
  | { readonly kind: 'curriculum'; readonly ratio: number; readonly from: number }
  | { readonly kind: 'heterogeneity'; readonly sigma: number }
  | { readonly kind: 'jitter'; readonly bursts: number }
  | { readonly kind: 'checkpoints'; readonly every: number };

export type Plan = {
  readonly seed: number;
  readonly dp: number;
  readonly pp?: number;
  readonly tp?: number;
  readonly ranks_per_node?: number;
  readonly steps: number;
  readonly compute_ms?: number;
  /** Per-step noise of a rank's compute; 0.004 of a well-kept cluster, 0.03 and 0.06 of shared ones. */
  readonly noise?: number;
  readonly faults: readonly Fault[];
  readonly beats?: boolean;
  readonly gpus?: boolean;
  /** Collectives in the step records, and network cards' counters. */
  readonly collectives?: boolean;
  readonly nics?: boolean;
  readonly price?: number;
};
