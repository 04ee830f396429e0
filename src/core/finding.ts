/** What an engine has seen in a window: a measured value about a subject, with what it is based on. */
export type Subject = { readonly type: string; readonly id: string };

export type Finding = {
  /** Which rule file judges it: `straggler.slow_rank`, `straggler.hang`, `drift.features`, `quality.accuracy`, … */
  readonly name: string;
  /** One incident a key: a stable name of the cause, e.g. `job:digits/slow_rank/2`. */
  readonly key: string;
  /** job | model | source: what the incident's page shows it under. */
  readonly scope:
    | { readonly job: string }
    | { readonly model: string; readonly version: string }
    | { readonly source: string };
  readonly subjects: readonly Subject[];
  readonly cause: string;
  /** The value that the rule's thresholds judge; null = could not be computed, `reason` says why. */
  readonly value: number | null;
  readonly reason: string | null;
  /** Rows or steps behind the value; the rule's `data_min` judges it. */
  readonly data_count: number;
  /** Share of the data that should have been seen, 0..1. */
  readonly coverage_ratio: number;
  readonly window: { readonly from_ms: number; readonly to_ms: number };
  readonly started_at_ms: number | null;
  readonly gpu_seconds_lost: number | null;
  readonly usd_lost: string | null;
  readonly usd_per_hour: string | null;
  /** A sentence in plain words for people. */
  readonly title: string;
  /** JSON for the sceptic; numbers carry units in their names. */
  readonly evidence: Readonly<Record<string, unknown>>;
};
