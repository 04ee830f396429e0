import type { Decision, RetrainRun } from '../core/retraining.ts';
import { OPEN_STATES } from '../retrain/decision.ts';
import type { RetrainPolicy } from '../retrain/policy.ts';
import type { ModelState } from './model-state.ts';
import type { ModelAnalysis } from './model-watch.ts';
import { dataOf, driftOf } from './retrain-request.ts';

/** The drift incident that a decision belongs to, as far as it matters here. */
export type Episode = { readonly incident_id: string; readonly opened_at_ms: number };

/** One drift from its first firing to its end. */
export function episodeId({ incident_id, opened_at_ms }: Episode): string {
  return `${incident_id}@${opened_at_ms}`;
}

/** A new decision of an episode, before any gate was judged. */
export function openedDecision(
  policy: RetrainPolicy,
  analysis: ModelAnalysis,
  of: Episode & { readonly attempt: number; readonly installation: string; readonly now_ms: number },
): Decision {
  const { incident_id, opened_at_ms, attempt, installation, now_ms } = of;
  const { situation, state } = analysis;
  const episode_id = episodeId(of);
  return {
    id: `dec_${incident_id.replace(/^inc_/, '')}_${opened_at_ms.toString(36)}_${attempt}`,
    model: state.model,
    version: situation.version,
    policy: policy.id,
    state: 'deferred',
    reason: 'opened',
    created_at_ms: now_ms,
    updated_at_ms: now_ms,
    expires_at_ms: now_ms + policy.decision_ttl_ms,
    incident_id,
    episode_id,
    attempt,
    dispatch_key: `${installation}:${state.model}:${episode_id}:${attempt}`,
    run_id: null,
    dispatched_at_ms: null,
    reserved_nano_usd: '0',
    approved_by: null,
    gates: [],
    drift: driftOf(analysis, { incident_id, detected_at_ms: opened_at_ms }),
    data: dataOf(analysis, now_ms),
    accuracy_before: situation.reference_accuracy,
    accuracy_drifted: situation.accuracy?.accuracy ?? null,
    accuracy_after: null,
    after: [],
    events: [{ at_ms: now_ms, kind: 'opened', note: `drift incident ${incident_id}, attempt ${attempt}`, actor: null }],
  };
}

/** Whether a decision of this drift leaves no room for another: one under way, or one about this very version. */
export function closesEpisode(decision: Decision, version: string): boolean {
  if (OPEN_STATES.includes(decision.state) || decision.state === 'dispatched') return true;
  return decision.version === version && decision.state !== 'not_fixed'; // a failed attempt allows the next
}

/**
 * The version that a succeeded run brought, and since when its windows count: what the pipeline reported, else the
 * first version seen after the dispatch. Where the name stayed the same, rows count from the report on.
 */
export function promotedBy(
  run: RetrainRun,
  decision: Decision,
  state: ModelState,
): { readonly version: string; readonly since_ms: number } | null {
  if (run.version !== null)
    return { version: run.version, since_ms: run.version === decision.version ? run.updated_at_ms : 0 };
  const fresh = state.versions.find(
    ({ version, first_ms }) => version !== decision.version && first_ms >= run.dispatched_at_ms,
  );
  return fresh === undefined ? null : { version: fresh.version, since_ms: 0 };
}
