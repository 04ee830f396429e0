import { assert } from '../core/assert.ts';
import { advanceEvidence, type Evidence } from './evidence.ts';
import { type FeatureTest, testFeature } from './feature-test.ts';
import type { Reference, WindowCounts } from './reference.ts';

export type AssessOptions = {
  /** Chance of a false alarm over all features of this window; see windowAlpha. */
  readonly alpha: number;
  /** Rows below which the answer is "insufficient", in the window and in the reference. */
  readonly rows_min: number;
  /** Smallest change of a share or of the cumulative share that counts. Default EFFECT_MIN. */
  readonly effect_min?: number;
  /** Rows that the window should have had, when known: lowers `coverage_ratio` when some did not come. */
  readonly rows_expected?: number;
  /** Evidence after the window before, for e_value. */
  readonly evidence?: Evidence | null;
};

export type FeatureVerdict = {
  readonly name: string;
  readonly statistic: FeatureTest['statistic'];
  readonly value: number;
  /** For this feature alone, over all its tests. Holm's step over the features decides `drifted`. */
  readonly p_value: number;
  readonly psi_debiased: number | null;
  readonly drifted: boolean;
  /** Share of this feature in the movement of all features (debiased PSI), 0..1. */
  readonly contribution: number;
};

export type WindowVerdict = {
  readonly status: 'drift' | 'stable' | 'insufficient';
  /** Why the status is "insufficient"; null otherwise. */
  readonly reason: 'too_few_rows' | 'too_few_reference_rows' | 'no_comparable_features' | null;
  readonly from_ms: number;
  readonly to_ms: number;
  /** Share of the feature values that this window should have held. */
  readonly coverage_ratio: number;
  /** Most significant first. */
  readonly features: readonly FeatureVerdict[];
  /** Smallest p-value of a feature times the features tested, at most 1; null when nothing was tested. */
  readonly min_p: number | null;
  readonly e_value: number;
  readonly evidence: Evidence;
  /** Rows of the window. */
  readonly n: number;
  readonly alpha: number;
};

/**
 * Smallest effect that is drift however many rows prove it: five hundredths of a share, or of the cumulative share
 * (a shift of an eighth of a standard deviation). Smaller ones do no harm a retraining would repair.
 */
export const EFFECT_MIN = 0.05;

/**
 * Compares a window with the reference: exact tests a feature, Holm over features at `alpha`, and an effect floor.
 * The chance that any feature of an unchanged stream is called drifted is at most alpha. "insufficient" (with its
 * reason) instead of "stable" when there are too few rows to tell.
 */
export function assessWindow(reference: Reference, window: WindowCounts, options: AssessOptions): WindowVerdict {
  const names = Object.keys(reference.features);
  const n = names.reduce((most, name) => Math.max(most, window.features[name]?.n ?? 0), 0);
  const tests = names.flatMap((name) => {
    const feature = reference.features[name];
    const counts = window.features[name];
    if (feature === undefined || counts === undefined || counts.n < options.rows_min) return [];
    const test = testFeature(feature, counts);
    return test === null ? [] : [{ name, test }];
  });
  const reason = insufficiency(reference, { n, tested: tests.length }, options);
  const common = {
    from_ms: window.from_ms,
    to_ms: window.to_ms,
    coverage_ratio: coverage(reference, window, options.rows_expected ?? n),
    n,
    alpha: options.alpha,
  };
  if (reason !== null) {
    const evidence = options.evidence ?? { e_value: 1, windows: 0 };
    return {
      status: 'insufficient',
      reason,
      ...common,
      features: [],
      min_p: null,
      e_value: evidence.e_value,
      evidence,
    };
  }
  const features = verdicts(tests, options);
  const min_p = Math.min(1, (features[0]?.p_value ?? 1) * features.length);
  const evidence = advanceEvidence(options.evidence ?? null, min_p);
  const status = features.some((feature) => feature.drifted) ? 'drift' : 'stable';
  return { status, reason: null, ...common, features, min_p, e_value: evidence.e_value, evidence };
}

function insufficiency(
  reference: Reference,
  seen: { readonly n: number; readonly tested: number },
  options: AssessOptions,
): WindowVerdict['reason'] {
  if (reference.n < options.rows_min) return 'too_few_reference_rows';
  if (seen.n < options.rows_min) return 'too_few_rows';
  return seen.tested === 0 ? 'no_comparable_features' : null;
}

/** Values received of those due: every reference feature, `rows` rows each. Counts against other edges are not received. */
function coverage(reference: Reference, window: WindowCounts, rows: number): number {
  const entries = Object.entries(reference.features);
  if (rows === 0 || entries.length === 0) return 0;
  let received = 0;
  for (const [name, feature] of entries) {
    const counts = window.features[name];
    if (counts?.counts.length === feature.counts.length) received += Math.min(rows, counts.n);
  }
  return received / (rows * entries.length);
}

/**
 * Holm 1979: the k-th smallest p-value is held against alpha / (tests − k + 1), until one fails. A p-value that is no
 * number is a programmer's error: as the first it would leave every feature undecided, and that reads as unchanged.
 */
function verdicts(
  tests: readonly { readonly name: string; readonly test: FeatureTest }[],
  options: AssessOptions,
): FeatureVerdict[] {
  for (const { name, test } of tests) assert(test.p_value >= 0 && test.p_value <= 1, `p-value of ${name} in [0, 1]`);
  const ordered = tests.toSorted((a, b) => a.test.p_value - b.test.p_value || (a.name < b.name ? -1 : 1));
  const movement = ordered.reduce((sum, { test }) => sum + Math.max(0, test.psi_debiased ?? 0), 0);
  const effect_min = options.effect_min ?? EFFECT_MIN;
  let rejecting = true;
  return ordered.map(({ name, test }, rank) => {
    rejecting = rejecting && test.p_value <= options.alpha / (ordered.length - rank);
    return {
      name,
      ...test,
      drifted: rejecting && test.value >= effect_min,
      contribution: movement === 0 ? 0 : Math.max(0, test.psi_debiased ?? 0) / movement,
    };
  });
}
