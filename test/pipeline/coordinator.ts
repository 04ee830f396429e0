import { expect } from 'vitest';
import { OUTBOX, RETRAIN_DECISIONS } from '../../src/control/collections.ts';
import type { Finding } from '../../src/core/finding.ts';
import type { Decision } from '../../src/core/retraining.ts';
import { parseUsd } from '../../src/core/money.ts';
import type { RetrainPolicy } from '../../src/retrain/policy.ts';
import {
  mergeSpans,
  mergeWindows,
  type ModelState,
  newVersion,
  type WatchedWindow,
} from '../../src/pipeline/model-state.ts';
import type { ModelAnalysis } from '../../src/pipeline/model-watch.ts';
import { Retraining } from '../../src/pipeline/retrain.ts';
import { destinationOf, type House, openHouse } from './desk-house.ts';

export const WINDOW_MS = 1_000;
export const HOUR_MS = 3_600_000;
export const EPISODE = { incident_id: 'inc_1', opened_at_ms: 1_767_225_600_000 };

export const POLICY: RetrainPolicy = {
  id: 'live',
  model: '*',
  mode: 'auto',
  hysteresis: { windows: 4, drifted_min: 3 },
  cooldown_ms: HOUR_MS,
  runs_per_week_max: 10,
  budget_per_month_nano_usd: parseUsd('100') ?? 0n,
  estimated_run_nano_usd: parseUsd('5') ?? 0n,
  labels_min: 100,
  approval_above_nano_usd: parseUsd('50') ?? 0n,
  decision_ttl_ms: 24 * HOUR_MS,
  evidence: 'performance',
};

/** The coordinator over a control store in memory, telling through the real outbox to a target and a sink. */
export async function openCoordinator(changes: Partial<RetrainPolicy> = {}) {
  const settings = { url: 'https://target.example/start', secret_file: 'secret' };
  const house = await openHouse({
    destinations: [destinationOf('ops'), destinationOf('target:live', { types: [], settings })],
    onFailed: (tx, row) => retraining.undelivered(tx, row),
  });
  const retraining = coordinatorOf(house, { ...POLICY, ...changes });
  return { house, retraining };
}

/** As after a restart: nothing is remembered but the control store. */
export function coordinatorOf({ control, clock, desk }: House, policy: RetrainPolicy): Retraining {
  return new Retraining({
    control,
    clock,
    policies: [policy],
    installation: 'test',
    public_url: () => 'http://leeway.test',
    window_ms: WINDOW_MS,
    onDecision: () => undefined,
    tell: async (tx, { to, policy: id, decision_id, ...message }) => {
      const event = message.type;
      const target = to === 'sinks' ? {} : { target: `target:${id}` };
      await desk.enqueue(tx, { ...message, decision_id, event, sinks: to !== 'target', ...target });
    },
  });
}

export function consider(
  house: House,
  retraining: Retraining,
  analysis: ModelAnalysis,
  episode: typeof EPISODE | null = EPISODE,
) {
  return house.control.transaction(async (tx) => {
    await retraining.expire(tx);
    await retraining.consider(tx, analysis, episode);
  });
}

export function decisionsOf({ control }: House): Promise<Decision[]> {
  const order = { field: 'created_at_ms', descending: false };
  return control.transaction(async (tx) => (await tx.list(RETRAIN_DECISIONS, { order })).map(({ body }) => body));
}

export async function onlyDecision(house: House): Promise<Decision> {
  const decisions = await decisionsOf(house);
  expect(decisions).toHaveLength(1);
  return decisions[0] as Decision; // length 1 was just expected
}

export async function told(house: House): Promise<string[]> {
  const rows = await house.control.transaction((tx) =>
    tx.list(OUTBOX, { order: { field: 'sequence', descending: false } }),
  );
  return rows.map(({ body }) => `${body.type.replace('leeway.retrain.', '')} to ${body.sink}`);
}

export function stateWith(versions: ModelState['versions'], active_version = 'v1'): ModelState {
  return { model: 'digits', active_version, versions };
}

/** v1 with a labelled reference of 0.96. */
function firstVersion(): ModelState['versions'][number] {
  const known = newVersion('v1', { first_ms: 0, last_ms: 0 });
  known.reference_quality = { labelled: 1_000, correct: 960 };
  return known;
}

export function analysisOf(
  changes: Partial<ModelAnalysis['situation']> = {},
  state = stateWith([firstVersion()]),
): ModelAnalysis {
  const situation: ModelAnalysis['situation'] = {
    version: 'v1',
    windows_assessed: 4,
    windows_drifted: 3,
    drift_started_ms: EPISODE.opened_at_ms - 4_000,
    rows: 400,
    labelled_rows: 300,
    coverage_ratio: 1,
    accuracy: {
      status: 'worse',
      reason: null,
      accuracy: 0.7,
      low: 0.65,
      high: 0.75,
      reference_accuracy: 0.96,
      change: -0.26,
      change_low: -0.31,
      change_high: -0.21,
      p_value: 1e-30,
      worse: true,
      completeness_ratio: 0.75,
      labelled: 300,
    },
    reference_accuracy: 0.96,
    ...changes,
  };
  const evidence = {
    features: [{ name: 'x', statistic: 'ks', value: 0.6, p_value: 1e-20, contribution: 1 }],
    e_value: 1e9,
    samples_per_false_alarm: 1_000,
    estimated_metrics: { accuracy: { estimate: 0.7, low: 0.65, high: 0.75 } },
    reference: { version: 'v1', edges_id: 'v1:first-100' },
  };
  const finding: Finding = {
    name: 'drift.features',
    key: 'model:digits/drift',
    scope: { model: 'digits', version: situation.version },
    subjects: [],
    cause: 'data',
    value: situation.windows_drifted,
    reason: null,
    data_count: 100,
    coverage_ratio: 1,
    window: { from_ms: 0, to_ms: 1 },
    started_at_ms: situation.drift_started_ms,
    gpu_seconds_lost: null,
    usd_lost: null,
    usd_per_hour: null,
    title: 'drift',
    evidence,
  };
  return { state, situation, finding, quality: null };
}

/** `of` windows of a version from `from_ms` on: drifting or not, 100 rows each, with so many right answers. */
export function promoted(version: string, from_ms: number, of: readonly { drifts?: boolean; correct?: number }[]) {
  const known = newVersion(version, { first_ms: from_ms, last_ms: from_ms });
  const windows = of.map(
    ({ drifts }, index): WatchedWindow => ({
      from_ms: from_ms + index * WINDOW_MS,
      to_ms: from_ms + (index + 1) * WINDOW_MS,
      rows: 100,
      n: 100,
      status: drifts === true ? 'drift' : 'stable',
      min_p: 0.5,
      e_value: 1,
      features_drifted: drifts === true ? 1 : 0,
    }),
  );
  mergeWindows(known, windows);
  mergeSpans(
    known,
    of.map(({ correct = 96 }, index) => ({
      from_ms: from_ms + index * WINDOW_MS,
      predicted: 100,
      labelled: 100,
      correct,
    })),
  );
  return analysisOf({ version, windows_drifted: 0 }, stateWith([firstVersion(), known], version));
}
