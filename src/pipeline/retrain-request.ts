import { RETRAIN_DECISIONS, RETRAIN_RUNS } from '../control/collections.ts';
import { formatUsd } from '../core/money.ts';
import type { ControlTransaction } from '../core/ports.ts';
import type { Decision } from '../core/retraining.ts';
import type { Situation } from '../retrain/gates.ts';
import type { RetrainPolicy } from '../retrain/policy.ts';
import type { ModelAnalysis } from './model-watch.ts';

const WEEK_MS = 7 * 24 * 3_600_000;

/** Measures everything that the gates look at, inside the transaction that will act on it. */
export async function situationOf(
  tx: ControlTransaction,
  policy: RetrainPolicy,
  {
    decision,
    analysis,
    now_ms,
  }: { readonly decision: Decision; readonly analysis: ModelAnalysis; readonly now_ms: number },
): Promise<Situation> {
  const runs = await tx.list(RETRAIN_RUNS, {
    where: [{ field: 'model', is: '=', value: decision.model }],
    order: { field: 'dispatched_at_ms', descending: true },
    limit: 500,
  });
  const { situation } = analysis;
  const accuracy = situation.accuracy;
  return {
    now_ms,
    created_at_ms: decision.created_at_ms,
    windows_assessed: situation.windows_assessed,
    windows_drifted: situation.windows_drifted,
    rows: situation.rows,
    labelled_rows: situation.labelled_rows,
    coverage_ratio: situation.coverage_ratio,
    accuracy:
      accuracy === null || accuracy.status === 'insufficient'
        ? null
        : {
            reference: accuracy.reference_accuracy,
            current: accuracy.accuracy,
            p_value: accuracy.p_value,
            worse: accuracy.worse,
          },
    runs_active: runs.filter(({ body }) => body.state === 'dispatched' || body.state === 'running').length,
    last_dispatch_ms: runs[0]?.body.dispatched_at_ms ?? null,
    runs_last_week: runs.filter(({ body }) => body.dispatched_at_ms > now_ms - WEEK_MS).length,
    spent_month_nano_usd: await spentThisMonth(tx, policy, now_ms),
    approved_by: decision.approved_by,
  };
}

async function spentThisMonth(tx: ControlTransaction, policy: RetrainPolicy, now_ms: number): Promise<bigint> {
  const now = new Date(now_ms);
  const month_ms = Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), 1);
  const decisions = await tx.list(RETRAIN_DECISIONS, {
    where: [
      { field: 'policy', is: '=', value: policy.id },
      { field: 'dispatched_at_ms', is: '>=', value: month_ms },
    ],
    limit: 500,
  });
  return decisions.reduce((total, { body }) => total + BigInt(body.reserved_nano_usd), 0n);
}

/** The drift as a decision keeps it and the request carries it (contract: api.md `leeway.drift.detected`, but `url`). */
export function driftOf(
  { finding, situation, state }: ModelAnalysis,
  incident: { readonly incident_id?: unknown; readonly detected_at_ms?: unknown },
): Record<string, unknown> {
  const { evidence } = finding;
  return {
    model: state.model,
    version: situation.version,
    incident_id: incident.incident_id ?? null,
    detected_at_ms: incident.detected_at_ms ?? null,
    estimated_start_ms: situation.drift_started_ms,
    features: evidence['features'] ?? [],
    segments: evidence['segments'] ?? [],
    e_value: evidence['e_value'] ?? null,
    samples_per_false_alarm: evidence['samples_per_false_alarm'] ?? null,
    estimated_metrics: evidence['estimated_metrics'] ?? {},
    reference: evidence['reference'] ?? null,
    windows_drifted: situation.windows_drifted,
    windows_assessed: situation.windows_assessed,
  };
}

/** The data that a retraining should learn from: since the drift began. */
export function dataOf({ situation }: ModelAnalysis, now_ms: number): Decision['data'] {
  return {
    from_ms: situation.drift_started_ms ?? now_ms,
    to_ms: now_ms,
    rows: situation.rows,
    labelled_rows: situation.labelled_rows,
  };
}

/** Body of `leeway.retrain.requested` (contract: api.md). */
export function requestData(decision: Decision, run_id: string, base: string): Record<string, unknown> {
  const { id, dispatch_key, model, version, episode_id, attempt, drift, data, gates, expires_at_ms } = decision;
  const { incident_id } = decision;
  return {
    decision_id: id,
    dispatch_key,
    model,
    lineage: version,
    episode_id,
    attempt,
    reason: 'drift',
    drift: { ...drift, url: `${base}/incidents/${incident_id}` },
    data,
    gates,
    budget: { reserved_usd: formatUsd(BigInt(decision.reserved_nano_usd)) },
    expires_at_ms,
    status_url: `${base}/api/v1/retrain-runs/${run_id}/status`,
    cancel_url: `${base}/api/v1/decisions/${id}/cancel`,
  };
}
