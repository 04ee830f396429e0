import type { FeatureVerdict, WindowVerdict } from '../drift/assess-window.ts';
import { evidenceOf } from '../drift/evidence.ts';
import type { FeatureCounts, Reference } from '../drift/reference.ts';
import type { Position, SpanCount } from '../read/model-rows.ts';

/** One assessed window of one version. */
export type WatchedWindow = {
  readonly from_ms: number;
  readonly to_ms: number;
  /** Predictions that the store held of this window when it was judged; another number later judges it again. */
  readonly rows: number;
  /** Rows behind the verdict: those after the reference, or a sample of them. */
  readonly n: number;
  readonly status: WindowVerdict['status'];
  readonly min_p: number | null;
  readonly e_value: number;
  readonly features_drifted: number;
};

/** What is known of a version. JSON, so that it can be kept beside the lease and read by the console. */
export type VersionState = {
  version: string;
  first_ms: number;
  last_ms: number;
  /** Predictions in windows that are not kept any more. */
  predictions_before: number;
  predictions: number;
  reference: Reference | null;
  reference_end: Position | null;
  reference_quality: { labelled: number; correct: number } | null;
  windows: WatchedWindow[];
  spans: SpanCount[];
  /** Verdicts of the newest assessed window, for people. */
  features: readonly FeatureVerdict[];
  /** Drifted features of the newest window that drifts. */
  moved: readonly FeatureVerdict[];
  /** Counts of the newest assessed window, for the small multiples of the console. */
  current: Readonly<Record<string, FeatureCounts>>;
};

/** All of a model: what the analysis of one tick ends with. */
export type ModelState = {
  model: string;
  active_version: string;
  versions: VersionState[];
};

/** Windows kept per version: the history that is treated like live data, at the shortest window of one second. */
export const WINDOWS_MAX = 1_000;
/** Versions kept per model; the oldest known makes room. */
export const VERSIONS_MAX = 20;

/** A version of which nothing is known but its first rows. */
export function newVersion(
  version: string,
  rows: { readonly first_ms: number; readonly last_ms: number },
): VersionState {
  return {
    version,
    first_ms: rows.first_ms,
    last_ms: rows.last_ms,
    predictions_before: 0,
    predictions: 0,
    reference: null,
    reference_end: null,
    reference_quality: null,
    windows: [],
    spans: [],
    features: [],
    moved: [],
    current: {},
  };
}

/** Puts fresh counts in the place of those of the same windows, and counts all predictions anew. */
export function mergeSpans(known: VersionState, fresh: readonly SpanCount[]): void {
  const replaced = new Set(fresh.map((span) => span.from_ms));
  const all = [...known.spans.filter((span) => !replaced.has(span.from_ms)), ...fresh];
  all.sort((a, b) => a.from_ms - b.from_ms);
  const gone = all.splice(0, Math.max(0, all.length - WINDOWS_MAX));
  known.predictions_before += gone.reduce((total, span) => total + span.predicted, 0);
  known.spans = all;
  known.predictions = all.reduce((total, span) => total + span.predicted, known.predictions_before);
}

/** Puts judged windows in the place of older verdicts, with the evidence along the line of windows. */
export function mergeWindows(known: VersionState, judged: readonly WatchedWindow[]): void {
  const replaced = new Set(judged.map((window) => window.from_ms));
  const all = [...known.windows.filter((window) => !replaced.has(window.from_ms)), ...judged];
  all.sort((a, b) => a.from_ms - b.from_ms);
  const kept = all.slice(-WINDOWS_MAX);
  const evidence = evidenceOf(kept.map((window) => window.min_p));
  known.windows = kept.map((window, index) => ({ ...window, e_value: evidence[index] ?? 1 }));
}

/** Windows with enough rows to tell. */
export function assessedWindows(known: VersionState): WatchedWindow[] {
  return known.windows.filter((window) => window.status !== 'insufficient');
}

/** Start of the drift that is still present: the first drifted window after the last `lookback` stable ones in a row. */
export function driftStart(assessed: readonly WatchedWindow[], lookback: number): number | null {
  let started: number | null = null;
  let stable = 0;
  for (const window of assessed) {
    if (window.status === 'drift') {
      started ??= window.from_ms;
      stable = 0;
    } else if (++stable >= lookback) started = null;
  }
  return started;
}
