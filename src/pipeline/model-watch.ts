import type { Finding } from '../core/finding.ts';
import type { Store } from '../core/ports.ts';
import { windowAlpha } from '../drift/alarm-budget.ts';
import { assessWindow } from '../drift/assess-window.ts';
import { freezeReference, type Reference } from '../drift/reference.ts';
import { windowOfRows } from '../drift/window.ts';
import { assessAccuracy } from '../quality/accuracy.ts';
import {
  accuracyBySpan,
  accuracyThrough,
  freshLabels,
  freshPredictions,
  type FreshRows,
  labelledSpans,
  type PredictionRow,
  predictionRows,
  requestsServed,
  type SpanCount,
  WINDOW_ROWS_MAX,
} from '../read/model-rows.ts';
import { NOTHING_SEEN, type StreamMarks, withSeen } from '../read/stream-marks.ts';
import { TableNews } from '../read/table-news.ts';
import { ACCURACY, DRIFTED_ACCURACY, driftFinding, type DriftSituation, qualityFinding } from './model-findings.ts';
import {
  assessedWindows,
  driftStart,
  mergeSpans,
  mergeWindows,
  type ModelState,
  newVersion,
  VERSIONS_MAX,
  type VersionState,
  type WatchedWindow,
  WINDOWS_MAX,
} from './model-state.ts';

/** What the desk and the retraining coordinator get of one model. */
export type ModelAnalysis = {
  readonly state: ModelState;
  readonly finding: Finding;
  readonly quality: Finding | null;
  readonly situation: DriftSituation;
};

export type WatchOptions = {
  readonly window_ms: number;
  readonly rows_min: number;
  readonly reference_rows: number;
  readonly false_alarms_per_month: number;
  /** Windows that the drift finding of a model looks back on. */
  readonly hysteresis_windows: (model: string) => number;
};

/** History up to 15 minutes old is treated like live data (contract: api.md); the last minute is for its way here. */
export const HISTORY_MS = 16 * 60_000;
/** How long after its end a window waits for rows in flight: two spool segments and a sender's batch. */
const GRACE_MS = 1_500;
/** Labels may come this long after their prediction; those of older history than above are looked for once a minute. */
const LABELS_LATE_MS = 24 * 3_600_000;
const LATE_LOOK_MS = 60_000;
/** Models watched at once; further ones are stored and not judged. */
const MODELS_MAX = 1_000;
/** Another version becomes the active one when the one before was silent for a window, at most this long. */
const SWITCH_MS_MAX = 60_000;

/** Watches the models of a store: counts what is new, judges closed windows, returns what was found. */
export class ModelWatch {
  readonly #store: Store;
  readonly #options: WatchOptions;
  readonly #news: TableNews;
  readonly #models = new Map<string, ModelState>();
  /** Windows to count again, until they were. */
  readonly #dirty = new Map<VersionState, Set<number>>();
  readonly #requests = new Map<string, number>();
  #predictions_seen: StreamMarks = NOTHING_SEEN;
  #labels_seen: StreamMarks = NOTHING_SEEN;
  #late_labels_seen: StreamMarks = NOTHING_SEEN;
  #late_looked_ms = 0;

  constructor(store: Store, options: WatchOptions, restored: readonly ModelState[] = []) {
    this.#store = store;
    this.#options = options;
    this.#news = new TableNews(store);
    for (const state of restored) this.#models.set(state.model, state);
  }

  /**
   * One look at everything that arrived. Costs what is new, not what is stored: only windows that took rows or labels
   * are counted again, and only windows that changed since their verdict are judged.
   */
  async analyse(now_ms: number, signal: AbortSignal): Promise<ModelAnalysis[]> {
    const news = await this.#news.look(signal);
    if (news.tables.has('prediction')) await this.#findPredictions(now_ms, signal);
    if (news.tables.has('label')) await this.#findLabels(now_ms, signal);
    if (news.tables.has('inference')) this.#requests.clear();
    for (const state of this.#models.values())
      for (const known of state.versions) {
        await this.#count(state.model, known, signal);
        await this.#learn(state.model, known, now_ms, signal);
        await this.#judge(state.model, known, now_ms, signal);
      }
    news.read();
    const analyses: ModelAnalysis[] = [];
    for (const state of this.#models.values())
      if (state.versions.some((known) => known.last_ms >= now_ms - HISTORY_MS))
        analyses.push(await this.#conclude(state, now_ms, signal));
    return analyses;
  }

  #look(now_ms: number, after: StreamMarks) {
    const { window_ms } = this.#options;
    const since_ms = now_ms - Math.min(HISTORY_MS, WINDOWS_MAX * window_ms);
    return { after, since_ms, span_ms: window_ms, spans_max: WINDOWS_MAX + 1 };
  }

  async #findPredictions(now_ms: number, signal: AbortSignal): Promise<void> {
    const fresh = await freshPredictions(this.#store, this.#look(now_ms, this.#predictions_seen), signal);
    for (const rows of fresh) {
      const state = this.#models.get(rows.model) ?? { model: rows.model, active_version: rows.version, versions: [] };
      if (this.#models.size >= MODELS_MAX && !this.#models.has(rows.model)) continue;
      this.#models.set(rows.model, state);
      const known = this.#versionIn(state, rows);
      known.first_ms = Math.min(known.first_ms, rows.first_ms);
      known.last_ms = Math.max(known.last_ms, rows.last_ms);
      state.active_version = activeVersion(state, Math.min(this.#options.window_ms, SWITCH_MS_MAX));
      this.#mark(known, rows.spans);
    }
    const lineages = fresh.flatMap((rows) => rows.lineages);
    this.#predictions_seen = withSeen(this.#predictions_seen, lineages);
  }

  #versionIn(state: ModelState, rows: FreshRows): VersionState {
    const known = state.versions.find((candidate) => candidate.version === rows.version);
    if (known !== undefined) return known;
    const fresh = newVersion(rows.version, rows);
    const oldest = state.versions.find((candidate) => candidate.version !== state.active_version);
    if (state.versions.length >= VERSIONS_MAX && oldest !== undefined) {
      state.versions = state.versions.filter((candidate) => candidate !== oldest);
      this.#dirty.delete(oldest);
    }
    state.versions = [...state.versions, fresh];
    return fresh;
  }

  async #findLabels(now_ms: number, signal: AbortSignal): Promise<void> {
    const look = this.#look(now_ms, this.#labels_seen);
    const newest = await freshLabels(this.#store, look, signal);
    if (newest.length > 0) {
      await this.#markLabelled({ ...look, from_ms: look.since_ms }, signal);
      this.#labels_seen = withSeen(this.#labels_seen, newest);
    }
    if (now_ms - this.#late_looked_ms < LATE_LOOK_MS) return;
    const from_ms = now_ms - LABELS_LATE_MS;
    await this.#markLabelled({ ...look, after: this.#late_labels_seen, from_ms }, signal);
    this.#late_labels_seen = this.#labels_seen;
    this.#late_looked_ms = now_ms;
  }

  async #markLabelled(look: Parameters<typeof labelledSpans>[1], signal: AbortSignal): Promise<void> {
    for (const { model, version, spans } of await labelledSpans(this.#store, look, signal)) {
      const known = this.#models.get(model)?.versions.find((candidate) => candidate.version === version);
      if (known === undefined) continue;
      const oldest_ms = known.spans[0]?.from_ms ?? Infinity;
      const kept = spans.filter((from_ms) => from_ms >= oldest_ms);
      this.#mark(known, kept);
    }
  }

  #mark(known: VersionState, spans: readonly number[]): void {
    const dirty = this.#dirty.get(known) ?? new Set();
    for (const from_ms of spans) dirty.add(from_ms);
    this.#dirty.set(known, dirty);
  }

  async #count(model: string, known: VersionState, signal: AbortSignal): Promise<void> {
    const dirty = this.#dirty.get(known);
    if (dirty === undefined || dirty.size === 0) return;
    const spans = [...dirty].sort((a, b) => a - b);
    const { version, reference_end } = known;
    const of = { model, version, spans, span_ms: this.#options.window_ms };
    mergeSpans(known, await accuracyBySpan(this.#store, of, signal));
    if (reference_end !== null && (spans[0] ?? Infinity) <= reference_end.at_ms)
      known.reference_quality = await this.#qualityOfReference(model, known, signal);
    this.#dirty.delete(known);
  }

  async #qualityOfReference(model: string, { version, first_ms, reference_end }: VersionState, signal: AbortSignal) {
    if (reference_end === null) return null;
    return accuracyThrough(this.#store, { model, version, from_ms: first_ms, last: reference_end }, signal);
  }

  async #learn(model: string, known: VersionState, now_ms: number, signal: AbortSignal): Promise<void> {
    const limit = this.#options.reference_rows;
    if (known.reference !== null || known.predictions < limit) return;
    const { version, first_ms: from_ms } = known;
    const of = { model, version, after: null, from_ms, to_ms: now_ms - GRACE_MS, limit };
    const rows = await predictionRows(this.#store, of, signal);
    const last = rows.at(-1);
    if (rows.length < limit || last === undefined) return;
    const features = rows.map((row) => row.features);
    known.reference = freezeReference(features, { edges_id: `${version}:first-${rows.length}` });
    known.reference_end = { at_ms: last.at_ms, request_id: last.request_id };
    known.reference_quality = await this.#qualityOfReference(model, known, signal);
  }

  async #judge(model: string, known: VersionState, now_ms: number, signal: AbortSignal): Promise<void> {
    const { reference } = known;
    if (reference === null) return;
    const due = this.#due(known, now_ms);
    if (due.length === 0) return;
    const judged: WatchedWindow[] = [];
    for (const group of groups(due, this.#options.window_ms)) {
      const rows = await this.#rowsOf(model, known, group, signal);
      for (const span of group) judged.push(this.#assess(known, reference, span, rows.get(span.from_ms) ?? []));
    }
    mergeWindows(known, judged);
  }

  /** Closed windows after the reference that changed since they were judged. */
  #due(known: VersionState, now_ms: number): SpanCount[] {
    const { window_ms } = this.#options;
    const judged = new Map(known.windows.map((window) => [window.from_ms, window.rows]));
    return known.spans.filter(({ from_ms, predicted }) => {
      const to_ms = from_ms + window_ms;
      if (to_ms + GRACE_MS > now_ms || to_ms <= (known.reference_end?.at_ms ?? 0)) return false;
      return judged.get(from_ms) !== predicted;
    });
  }

  async #rowsOf(
    model: string,
    { version, reference_end: after }: VersionState,
    group: readonly SpanCount[],
    signal: AbortSignal,
  ): Promise<Map<number, PredictionRow[]>> {
    const { window_ms } = this.#options;
    const from_ms = group[0]?.from_ms ?? 0;
    const to_ms = (group.at(-1)?.from_ms ?? 0) + window_ms;
    const every = Math.ceil(predictedIn(group) / WINDOW_ROWS_MAX);
    const limit = 2 * WINDOW_ROWS_MAX;
    const of = { model, version, after, from_ms, to_ms, every, limit };
    const rows = new Map<number, PredictionRow[]>();
    for (const row of await predictionRows(this.#store, of, signal)) {
      const start_ms = Math.floor(row.at_ms / window_ms) * window_ms;
      const held = rows.get(start_ms);
      if (held === undefined) rows.set(start_ms, [row]);
      else held.push(row);
    }
    return rows;
  }

  #assess(
    known: VersionState,
    reference: Reference,
    { from_ms, predicted }: SpanCount,
    rows: readonly PredictionRow[],
  ): WatchedWindow {
    const span = { from_ms, to_ms: from_ms + this.#options.window_ms };
    const features = rows.map((row) => row.features);
    const window = windowOfRows(reference, features, span);
    const alpha = windowAlpha(this.#options);
    const verdict = assessWindow(reference, window, { alpha, rows_min: this.#options.rows_min });
    const moved = verdict.features.filter((feature) => feature.drifted);
    const newest_ms = assessedWindows(known).at(-1)?.from_ms ?? -Infinity;
    if (verdict.status !== 'insufficient' && from_ms >= newest_ms) {
      known.features = verdict.features;
      known.current = window.features;
      if (moved.length > 0) known.moved = moved;
    }
    const { n, status, min_p } = verdict;
    return { ...span, rows: predicted, n, status, min_p, e_value: 1, features_drifted: moved.length };
  }

  async #conclude(state: ModelState, now_ms: number, signal: AbortSignal): Promise<ModelAnalysis> {
    const known = state.versions.find((version) => version.version === state.active_version);
    if (known === undefined) throw new Error(`model ${state.model} lost its active version`);
    const situation = await this.#situation(state.model, known, now_ms, signal);
    const recent_ms = this.#recentStart(state.model, known, now_ms);
    const seen = { state, known, situation, alpha: windowAlpha(this.#options), recent_ms, now_ms };
    return { state, situation, finding: driftFinding(seen), quality: qualityFinding(seen) };
  }

  async #situation(model: string, known: VersionState, now_ms: number, signal: AbortSignal): Promise<DriftSituation> {
    const lookback = this.#options.hysteresis_windows(model);
    const assessed = assessedWindows(known);
    const last = assessed.slice(-lookback);
    const started_ms = driftStart(assessed, lookback);
    const since_ms = started_ms ?? this.#recentStart(model, known, now_ms);
    const spans = known.spans.filter((span) => span.from_ms >= since_ms);
    const rows = predictedIn(spans);
    const labelled = spans.reduce((total, span) => total + span.labelled, 0);
    const correct = spans.reduce((total, span) => total + span.correct, 0);
    const quality = known.reference_quality;
    const requests = await this.#requestsSince(model, known.version, { since_ms, now_ms }, signal);
    const window = { correct, labelled, predicted: rows };
    return {
      version: known.version,
      windows_assessed: last.length,
      windows_drifted: last.filter((watched) => watched.status === 'drift').length,
      drift_started_ms: started_ms,
      rows,
      labelled_rows: labelled,
      coverage_ratio: requests > 0 ? Math.min(1, rows / requests) : 1,
      accuracy:
        quality === null
          ? null
          : assessAccuracy({ reference: quality, window }, started_ms === null ? ACCURACY : DRIFTED_ACCURACY),
      reference_accuracy: quality === null || quality.labelled === 0 ? null : quality.correct / quality.labelled,
    };
  }

  /** Where the recent past begins while nothing drifts: at a window's start, after the reference. */
  #recentStart(model: string, known: VersionState, now_ms: number): number {
    const { window_ms } = this.#options;
    const lookback_ms = Math.max(HISTORY_MS, this.#options.hysteresis_windows(model) * window_ms);
    const recent_ms = Math.floor((now_ms - lookback_ms) / window_ms) * window_ms;
    const end_ms = known.reference_end?.at_ms ?? known.first_ms;
    return Math.max(recent_ms, Math.ceil(end_ms / window_ms) * window_ms);
  }

  async #requestsSince(
    model: string,
    version: string,
    { since_ms, now_ms }: { since_ms: number; now_ms: number },
    signal: AbortSignal,
  ): Promise<number> {
    const key = JSON.stringify([model, version, since_ms]);
    const held = this.#requests.get(key);
    if (held !== undefined) return held;
    if (this.#requests.size >= MODELS_MAX) this.#requests.clear();
    const requests = await requestsServed(this.#store, { model, version, from_ms: since_ms, to_ms: now_ms }, signal);
    this.#requests.set(key, requests);
    return requests;
  }
}

function predictedIn(spans: readonly SpanCount[]): number {
  return spans.reduce((total, span) => total + span.predicted, 0);
}

/** The version that serves: it stays until it was silent for `silence_ms`, so that a canary beside it changes nothing. */
function activeVersion(state: ModelState, silence_ms: number): string {
  const newest = state.versions.reduce((latest, version) => (version.last_ms > latest.last_ms ? version : latest));
  const active = state.versions.find((version) => version.version === state.active_version);
  if (active !== undefined && newest.last_ms - active.last_ms < silence_ms) return active.version;
  return newest.version;
}

/** Neighbouring windows that are read at once: at most WINDOW_ROWS_MAX rows, or one window alone. */
function groups(spans: readonly SpanCount[], window_ms: number): SpanCount[][] {
  const all: SpanCount[][] = [];
  for (const span of spans) {
    const last = all.at(-1);
    const adjacent = last?.at(-1)?.from_ms === span.from_ms - window_ms;
    if (last !== undefined && adjacent && predictedIn([...last, span]) <= WINDOW_ROWS_MAX) last.push(span);
    else all.push([span]);
  }
  return all;
}
