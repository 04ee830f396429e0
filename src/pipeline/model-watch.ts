import type { Finding } from '../core/finding.ts';
import type { Store } from '../core/ports.ts';
import { windowAlpha } from '../drift/alarm-budget.ts';
import { assessWindow, type FeatureVerdict, type WindowVerdict } from '../drift/assess-window.ts';
import { advanceEvidence, type Evidence } from '../drift/evidence.ts';
import { type FeatureCounts, freezeReference, type Reference } from '../drift/reference.ts';
import { windowOfRows } from '../drift/window.ts';
import { type AccuracyVerdict, assessAccuracy } from '../quality/accuracy.ts';
import {
  accuracyBySpan,
  activeVersions,
  type ActiveVersion,
  type Position,
  predictionRows,
  requestsServed,
  type SpanCount,
  WINDOW_ROWS_MAX,
} from '../read/model-rows.ts';

/** One assessed window of one version. `features` only on the newest, for people. */
export type WatchedWindow = {
  readonly from_ms: number;
  readonly to_ms: number;
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
  predictions: number;
  reference: Reference | null;
  reference_end: Position | null;
  reference_quality: { labelled: number; correct: number } | null;
  windows: WatchedWindow[];
  spans: SpanCount[];
  features: readonly FeatureVerdict[];
  /** Counts of the newest assessed window, for the small multiples of the console. */
  current: Readonly<Record<string, FeatureCounts>>;
};

/** All of a model: what the analysis of one tick ends with. */
export type ModelState = {
  model: string;
  active_version: string;
  versions: VersionState[];
};

/** What the desk and the retraining coordinator get of one model. */
export type ModelAnalysis = {
  readonly state: ModelState;
  readonly finding: Finding;
  readonly quality: Finding | null;
  readonly situation: DriftSituation;
};

/** The numbers behind a decision, since the present drift began. */
export type DriftSituation = {
  readonly version: string;
  readonly windows_assessed: number;
  readonly windows_drifted: number;
  readonly drift_started_ms: number | null;
  readonly rows: number;
  readonly labelled_rows: number;
  readonly coverage_ratio: number;
  readonly accuracy: AccuracyVerdict | null;
  readonly reference_accuracy: number | null;
};

export type WatchOptions = {
  readonly window_ms: number;
  readonly rows_min: number;
  readonly reference_rows: number;
  readonly false_alarms_per_month: number;
  /** Windows that the drift finding looks back on. */
  readonly hysteresis_windows: number;
};

/** History up to this old is treated like live data (contract: api.md). */
export const HISTORY_MS = 15 * 60_000;
/** How long after its end a window waits for rows in flight: two spool segments and a sender's batch. */
const GRACE_MS = 1_500;
/** Windows kept per version: 16 hours of 4-minute windows; older ones can be recomputed from the store. */
const WINDOWS_MAX = 240;
const VERSIONS_MAX = 20;
/**
 * Accuracy is judged again at every tick, so one test must be rarer than the ticks: at 1e-6 a day of looks at an
 * unchanged model has a false alarm in less than one of ten. 50 labels: below, ±9 points say nothing.
 */
const ACCURACY = { alpha: 1e-6, labels_min: 50, effect_min: 0.02 };

/** Watches the models of a store: reads what is new, judges closed windows, returns what was found. */
export class ModelWatch {
  readonly #store: Store;
  readonly #options: WatchOptions;
  readonly #models = new Map<string, ModelState>();
  readonly #counted = new Map<string, number>();

  constructor(store: Store, options: WatchOptions, restored: readonly ModelState[] = []) {
    this.#store = store;
    this.#options = options;
    for (const state of restored) this.#models.set(state.model, state);
  }

  /** One look at everything that arrived; pure in the rows that the store holds, so a repeat changes nothing. */
  async analyse(now_ms: number, signal: AbortSignal): Promise<ModelAnalysis[]> {
    const active = await activeVersions(this.#store, now_ms - HISTORY_MS, signal);
    const touched = new Set<string>();
    for (const version of active) {
      const state = this.#stateOf(version);
      const known = versionIn(state, version);
      await this.#learn(state.model, known, now_ms, signal);
      await this.#judge(state.model, known, now_ms, signal);
      touched.add(version.model);
    }
    const analyses: ModelAnalysis[] = [];
    for (const model of touched) {
      const state = this.#models.get(model);
      if (state !== undefined) analyses.push(await this.#conclude(state, now_ms, signal));
    }
    return analyses;
  }

  #stateOf({ model, version }: ActiveVersion): ModelState {
    const known = this.#models.get(model);
    if (known !== undefined) {
      known.active_version = version; // active versions arrive with the newest activity last
      return known;
    }
    const fresh: ModelState = { model, active_version: version, versions: [] };
    this.#models.set(model, fresh);
    return fresh;
  }

  async #learn(model: string, known: VersionState, now_ms: number, signal: AbortSignal): Promise<void> {
    const from_ms = Math.min(known.first_ms, now_ms - HISTORY_MS);
    if (known.reference === null) {
      const limit = this.#options.reference_rows;
      if (known.predictions < limit) return;
      const rows = await predictionRows(
        this.#store,
        { model, version: known.version, after: null, from_ms, to_ms: now_ms - GRACE_MS, limit },
        signal,
      );
      const last = rows.at(-1);
      if (rows.length < limit || last === undefined) return;
      const edges_id = `${known.version}:first-${rows.length}`;
      known.reference = freezeReference(
        rows.map((row) => row.features),
        { edges_id },
      );
      known.reference_end = { at_ms: last.at_ms, request_id: last.request_id };
    }
    const end = known.reference_end;
    if (end === null || (known.reference_quality?.labelled ?? 0) >= this.#options.reference_rows) return;
    const spans = await accuracyBySpan(
      this.#store,
      { model, version: known.version, after: null, from_ms, to_ms: end.at_ms, span_ms: 1e15 },
      signal,
    );
    known.reference_quality = { labelled: spans[0]?.labelled ?? 0, correct: spans[0]?.correct ?? 0 };
  }

  async #judge(model: string, known: VersionState, now_ms: number, signal: AbortSignal): Promise<void> {
    const { window_ms } = this.#options;
    const from_ms = Math.floor(Math.max(known.first_ms, now_ms - HISTORY_MS) / window_ms) * window_ms;
    const of = { model, version: known.version, after: null, from_ms, to_ms: now_ms };
    const fresh = await accuracyBySpan(this.#store, { ...of, span_ms: window_ms }, signal);
    known.spans = merged(known.spans, fresh);
    if (known.reference === null) return;
    for (const span of fresh) {
      const to_ms = span.from_ms + window_ms;
      const key = `${model}/${known.version}/${span.from_ms}`;
      if (to_ms + GRACE_MS > now_ms || this.#counted.get(key) === span.predicted) continue;
      this.#remember(key, span.predicted);
      await this.#assess(model, known, { from_ms: span.from_ms, to_ms, predicted: span.predicted }, signal);
    }
    known.windows = withEvidence(known.windows).slice(-WINDOWS_MAX);
  }

  #remember(key: string, predicted: number): void {
    this.#counted.set(key, predicted);
    const oldest = this.#counted.keys().next();
    if (this.#counted.size > WINDOWS_MAX * VERSIONS_MAX && oldest.done !== true) this.#counted.delete(oldest.value);
  }

  async #assess(
    model: string,
    known: VersionState,
    span: { from_ms: number; to_ms: number; predicted: number },
    signal: AbortSignal,
  ): Promise<void> {
    if (known.reference === null) return;
    const { version, reference_end: after } = known;
    const rows = await predictionRows(
      this.#store,
      { model, version, after, from_ms: span.from_ms, to_ms: span.to_ms, limit: WINDOW_ROWS_MAX },
      signal,
    );
    const window = windowOfRows(
      known.reference,
      rows.map((row) => row.features),
      span,
    );
    const verdict = assessWindow(known.reference, window, {
      alpha: windowAlpha(this.#options),
      rows_min: this.#options.rows_min,
    });
    const watched: WatchedWindow = {
      from_ms: span.from_ms,
      to_ms: span.to_ms,
      n: verdict.n,
      status: verdict.status,
      min_p: verdict.min_p,
      e_value: 1,
      features_drifted: verdict.features.filter((feature) => feature.drifted).length,
    };
    known.windows = [...known.windows.filter((other) => other.from_ms !== span.from_ms), watched].sort(
      (a, b) => a.from_ms - b.from_ms,
    );
    if (known.windows.at(-1) === watched && verdict.status !== 'insufficient') {
      known.features = verdict.features;
      known.current = window.features;
    }
  }

  async #conclude(state: ModelState, now_ms: number, signal: AbortSignal): Promise<ModelAnalysis> {
    const known = state.versions.find((version) => version.version === state.active_version);
    if (known === undefined) throw new Error(`model ${state.model} lost its active version`);
    const situation = await this.#situation(state, known, now_ms, signal);
    return {
      state,
      situation,
      finding: driftFinding(state, known, situation, now_ms),
      quality: qualityFinding(state, known, situation, now_ms),
    };
  }

  async #situation(
    state: ModelState,
    known: VersionState,
    now_ms: number,
    signal: AbortSignal,
  ): Promise<DriftSituation> {
    const assessed = known.windows.filter((window) => window.status !== 'insufficient');
    const last = assessed.slice(-this.#options.hysteresis_windows);
    const started_ms = driftStart(assessed, this.#options.hysteresis_windows);
    const since_ms = started_ms ?? Math.max(known.first_ms, now_ms - HISTORY_MS);
    const spans = known.spans.filter((span) => span.from_ms >= since_ms);
    const rows = sum(spans.map((span) => span.predicted));
    const labelled = sum(spans.map((span) => span.labelled));
    const correct = sum(spans.map((span) => span.correct));
    const quality = known.reference_quality;
    const requests = await requestsServed(
      this.#store,
      { model: state.model, version: known.version, from_ms: since_ms, to_ms: now_ms },
      signal,
    );
    return {
      version: known.version,
      windows_assessed: last.length,
      windows_drifted: last.filter((window) => window.status === 'drift').length,
      drift_started_ms: started_ms,
      rows,
      labelled_rows: labelled,
      coverage_ratio: requests > 0 ? Math.min(1, rows / requests) : 1,
      accuracy:
        quality !== null
          ? assessAccuracy({ reference: quality, window: { correct, labelled, predicted: rows } }, ACCURACY)
          : null,
      reference_accuracy: quality !== null && quality.labelled > 0 ? quality.correct / quality.labelled : null,
    };
  }
}

function versionIn(state: ModelState, active: ActiveVersion): VersionState {
  const known = state.versions.find((version) => version.version === active.version);
  if (known !== undefined) {
    known.first_ms = Math.min(known.first_ms, active.first_ms);
    known.last_ms = active.last_ms;
    known.predictions = Math.max(known.predictions, active.predictions);
    return known;
  }
  const fresh: VersionState = {
    version: active.version,
    first_ms: active.first_ms,
    last_ms: active.last_ms,
    predictions: active.predictions,
    reference: null,
    reference_end: null,
    reference_quality: null,
    windows: [],
    spans: [],
    features: [],
    current: {},
  };
  state.versions = [...state.versions, fresh].slice(-VERSIONS_MAX);
  return fresh;
}

function merged(known: readonly SpanCount[], fresh: readonly SpanCount[]): SpanCount[] {
  const replaced = new Set(fresh.map((span) => span.from_ms));
  return [...known.filter((span) => !replaced.has(span.from_ms)), ...fresh]
    .sort((a, b) => a.from_ms - b.from_ms)
    .slice(-WINDOWS_MAX);
}

function withEvidence(windows: readonly WatchedWindow[]): WatchedWindow[] {
  let evidence: Evidence | null = null;
  return windows.map((window) => {
    if (window.min_p !== null) evidence = advanceEvidence(evidence, window.min_p);
    return { ...window, e_value: evidence?.e_value ?? 1 };
  });
}

/** Start of the drift that is still present: the first drifted window after the last run of stable ones. */
function driftStart(assessed: readonly WatchedWindow[], lookback: number): number | null {
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

function driftFinding(state: ModelState, known: VersionState, situation: DriftSituation, now_ms: number): Finding {
  const newest = known.windows.filter((window) => window.status !== 'insufficient').at(-1);
  const moved = [...known.features]
    .filter((feature) => feature.drifted)
    .sort((a, b) => b.contribution - a.contribution);
  const names = moved.slice(0, 3).map((feature) => feature.name);
  return {
    name: 'drift.features',
    key: `model:${state.model}/drift`,
    scope: { model: state.model, version: known.version },
    subjects: [{ type: 'model', id: state.model }, ...names.map((id) => ({ type: 'feature', id }))],
    cause: 'data',
    value: situation.windows_assessed === 0 ? null : situation.windows_drifted,
    reason:
      situation.windows_assessed > 0
        ? null
        : known.reference === null
          ? 'reference_not_complete'
          : 'no_window_with_enough_rows',
    data_count: newest?.n ?? 0,
    coverage_ratio: situation.coverage_ratio,
    window: { from_ms: newest?.from_ms ?? known.first_ms, to_ms: newest?.to_ms ?? now_ms },
    started_at_ms: situation.drift_started_ms,
    gpu_seconds_lost: null,
    usd_lost: null,
    usd_per_hour: null,
    title: driftTitle(state.model, known.version, names, situation),
    evidence: {
      features: moved.map(({ name, statistic, value, p_value, contribution }) => ({
        name,
        statistic,
        value,
        p_value,
        contribution,
      })),
      windows_assessed: situation.windows_assessed,
      windows_drifted: situation.windows_drifted,
      e_value: newest?.e_value ?? null,
      accuracy: situation.accuracy,
      reference_accuracy: situation.reference_accuracy,
      rows: situation.rows,
      labelled_rows: situation.labelled_rows,
      version: known.version,
    },
  };
}

function driftTitle(model: string, version: string, names: readonly string[], situation: DriftSituation): string {
  if (situation.windows_drifted === 0) return `Inputs of ${model} ${version} look like its reference`;
  const accuracy = situation.accuracy;
  const fell =
    accuracy?.worse === true && situation.reference_accuracy !== null && accuracy.accuracy !== null
      ? `; accuracy fell from ${percent(situation.reference_accuracy)} to ${percent(accuracy.accuracy)}`
      : '';
  return `Inputs of ${model} ${version} drift: ${names.length > 0 ? names.join(', ') : 'several features'} moved${fell}`;
}

/** Concept drift: accuracy falls though no input feature moved. Where inputs moved, the drift incident tells both. */
function qualityFinding(
  state: ModelState,
  known: VersionState,
  situation: DriftSituation,
  now_ms: number,
): Finding | null {
  const { accuracy, reference_accuracy } = situation;
  if (accuracy?.accuracy == null || reference_accuracy === null || accuracy.status === 'insufficient') return null;
  const lost = accuracy.worse && situation.windows_drifted === 0 ? reference_accuracy - accuracy.accuracy : 0;
  return {
    name: 'quality.accuracy',
    key: `model:${state.model}/accuracy`,
    scope: { model: state.model, version: known.version },
    subjects: [{ type: 'model', id: state.model }],
    cause: 'concept',
    value: lost,
    reason: null,
    data_count: situation.labelled_rows,
    coverage_ratio: accuracy.completeness_ratio,
    window: { from_ms: situation.drift_started_ms ?? known.first_ms, to_ms: now_ms },
    started_at_ms: null,
    gpu_seconds_lost: null,
    usd_lost: null,
    usd_per_hour: null,
    title: `Accuracy of ${state.model} ${known.version} is ${percent(accuracy.accuracy)}, ${percent(reference_accuracy)} in its reference`,
    evidence: { accuracy, reference_accuracy, labelled_rows: situation.labelled_rows },
  };
}

function percent(ratio: number): string {
  return `${(100 * ratio).toFixed(1)} %`;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
