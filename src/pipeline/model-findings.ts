import type { Finding } from '../core/finding.ts';
import { windowsPerFalseAlarm } from '../drift/alarm-budget.ts';
import { type AccuracyVerdict, assessAccuracy } from '../quality/accuracy.ts';
import { assessedWindows, type ModelState, type VersionState } from './model-state.ts';

/** The numbers behind a decision, since the present drift began. */
export type DriftSituation = {
  readonly version: string;
  /** Of the last windows that the policy looks back on. */
  readonly windows_assessed: number;
  readonly windows_drifted: number;
  readonly drift_started_ms: number | null;
  readonly rows: number;
  readonly labelled_rows: number;
  readonly coverage_ratio: number;
  readonly accuracy: AccuracyVerdict | null;
  readonly reference_accuracy: number | null;
};

/** What a finding about a model is made of. */
export type Seen = {
  readonly state: ModelState;
  readonly known: VersionState;
  readonly situation: DriftSituation;
  readonly alpha: number;
  /** Where the recent past begins, drift or not. */
  readonly recent_ms: number;
  readonly now_ms: number;
};

/**
 * Accuracy is judged again at every tick, so one test must be rarer than the ticks: at 1e-6 a day of looks at an
 * unchanged model has a false alarm in less than one of ten. 50 labels: below, ±9 points say nothing.
 */
export const ACCURACY = { alpha: 1e-6, labels_min: 50, effect_min: 0.02 };

const NO_LOSS = { gpu_seconds_lost: null, usd_lost: null, usd_per_hour: null } as const;

/**
 * Where the inputs drift already (a claim of its own, at the budget of false alarms), labels are asked whether it hurt:
 * at 1e-4, 100 looks at a growing sample of an unharmed model said yes in 2 of 2,000 simulated episodes (reference of 500
 * labels, 0.94, 60 labels a look). At 1e-6 such a reference cannot show a fall of six points however long one looks.
 */
export const DRIFTED_ACCURACY = { ...ACCURACY, alpha: 1e-4 };

/** Input drift of the active version: `value` counts the drifting windows among the last ones. */
export function driftFinding({ state, known, situation, alpha, now_ms }: Seen): Finding {
  const newest = assessedWindows(known).at(-1);
  const moved = situation.windows_drifted === 0 ? [] : known.moved;
  const features = moved
    .toSorted((a, b) => b.contribution - a.contribution)
    .map(({ name, statistic, value, p_value, contribution }) => ({ name, statistic, value, p_value, contribution }));
  const names = features.slice(0, 3).map(({ name }) => name);
  return {
    name: 'drift.features',
    key: `model:${state.model}/drift`,
    scope: { model: state.model, version: known.version },
    subjects: [{ type: 'model', id: state.model }, ...names.map((id) => ({ type: 'feature', id }))],
    cause: 'data',
    value: situation.windows_assessed === 0 ? null : situation.windows_drifted,
    reason: reasonOf(known, situation),
    data_count: newest?.n ?? 0, // no window judged yet is no data, not an error
    coverage_ratio: situation.coverage_ratio,
    window: { from_ms: newest?.from_ms ?? known.first_ms, to_ms: newest?.to_ms ?? now_ms },
    started_at_ms: situation.drift_started_ms,
    ...NO_LOSS,
    title: driftTitle(state.model, known.version, names, situation),
    evidence: {
      features,
      windows_assessed: situation.windows_assessed,
      windows_drifted: situation.windows_drifted,
      e_value: newest?.e_value ?? null,
      samples_per_false_alarm: newest === undefined ? null : Math.round(newest.n * windowsPerFalseAlarm(alpha)),
      estimated_metrics: estimatedMetrics(situation.accuracy),
      reference: known.reference === null ? null : { version: known.version, edges_id: known.reference.edges_id },
      accuracy: situation.accuracy,
      reference_accuracy: situation.reference_accuracy,
      rows: situation.rows,
      labelled_rows: situation.labelled_rows,
      version: known.version,
    },
  };
}

function reasonOf(known: VersionState, situation: DriftSituation): string | null {
  if (situation.windows_assessed > 0) return null;
  return known.reference === null ? 'reference_not_complete' : 'no_window_with_enough_rows';
}

/** What labels say of the accuracy since the drift began, with its 95 % interval; empty where there are none. */
function estimatedMetrics(accuracy: AccuracyVerdict | null): Record<string, unknown> {
  if (accuracy === null) return {};
  return { accuracy: { estimate: accuracy.accuracy, low: accuracy.low, high: accuracy.high } };
}

function driftTitle(model: string, version: string, names: readonly string[], situation: DriftSituation): string {
  if (situation.windows_assessed === 0) return `Inputs of ${model} ${version} cannot be compared yet`;
  if (situation.windows_drifted === 0) return `Inputs of ${model} ${version} look like its reference`;
  const { accuracy, reference_accuracy } = situation;
  const fell =
    accuracy?.worse === true && reference_accuracy !== null
      ? `; accuracy fell from ${percent(reference_accuracy)} to ${percent(accuracy.accuracy)}`
      : '';
  return `Inputs of ${model} ${version} drift: ${names.length > 0 ? names.join(', ') : 'several features'} moved${fell}`;
}

/** Concept drift: accuracy falls though no input feature moved. Where inputs moved, the drift incident tells both. */
export function qualityFinding({ state, known, situation, recent_ms, now_ms }: Seen): Finding | null {
  const { reference_accuracy } = situation;
  const accuracy = steadyAccuracy(known, recent_ms);
  if (accuracy === null || reference_accuracy === null || accuracy.status === 'insufficient') return null;
  const lost = accuracy.worse && situation.windows_drifted === 0 ? reference_accuracy - accuracy.accuracy : 0;
  return {
    name: 'quality.accuracy',
    key: `model:${state.model}/accuracy`,
    scope: { model: state.model, version: known.version },
    subjects: [{ type: 'model', id: state.model }],
    cause: 'concept',
    value: lost,
    reason: null,
    data_count: accuracy.labelled,
    coverage_ratio: accuracy.completeness_ratio,
    window: { from_ms: situation.drift_started_ms ?? known.first_ms, to_ms: now_ms },
    started_at_ms: null,
    ...NO_LOSS,
    title: `Accuracy of ${state.model} ${known.version} is ${percent(accuracy.accuracy)}, ${percent(reference_accuracy)} in its reference`,
    evidence: { accuracy, reference_accuracy, labelled_rows: accuracy.labelled },
  };
}

/**
 * Accuracy over recent windows that are stable and were followed by another stable one: where drift begins inside a window, its
 * labels may tell before its inputs do, and then the drift's own incident tells of both.
 */
function steadyAccuracy(known: VersionState, recent_ms: number): AccuracyVerdict | null {
  if (known.reference_quality === null) return null;
  const assessed = assessedWindows(known);
  const steady = new Set(
    assessed
      .filter((window, index) => window.status === 'stable' && assessed[index + 1]?.status === 'stable')
      .map((window) => window.from_ms),
  );
  const total = { predicted: 0, labelled: 0, correct: 0 };
  for (const span of known.spans) {
    if (span.from_ms < recent_ms || !steady.has(span.from_ms)) continue;
    total.predicted += span.predicted;
    total.labelled += span.labelled;
    total.correct += span.correct;
  }
  return assessAccuracy({ reference: known.reference_quality, window: total }, ACCURACY);
}

function percent(ratio: number): string {
  return `${(100 * ratio).toFixed(1)} %`;
}
