import { RETRAIN_DECISIONS, RETRAIN_RUNS } from '../control/collections.ts';
import { LeewayError } from '../core/errors.ts';
import type { Control } from '../core/ports.ts';
import type { Decision, RetrainRun } from '../core/retraining.ts';
import { APPROVABLE_STATES } from '../retrain/decision.ts';
import type { DecisionFilter, Page, Paging, RunFilter } from '../server/services.ts';
import type { DecisionDetail, DecisionItem, RetrainRunItem } from '../server/shapes/decision.ts';
import { conditions, newestPage } from './page.ts';

/** A decision as the API shows it. */
export function decisionItem(decision: Decision): DecisionItem {
  const { id, model, version, policy, state, reason, created_at_ms, updated_at_ms, expires_at_ms } = decision;
  const { incident_id, episode_id, dispatch_key, run_id, gates } = decision;
  const shown = { id, model, version, policy, state, reason, created_at_ms, updated_at_ms, expires_at_ms };
  const links = { incident_id, episode_id, dispatch_key, run_id };
  return { ...shown, ...links, gates, can_approve: APPROVABLE_STATES.includes(state) };
}

/** A run as the API shows it. */
export function runItem({ policy: _policy, ...run }: RetrainRun): RetrainRunItem {
  return run;
}

/** Decisions, newest first. */
export function listDecisions(control: Control, filter: DecisionFilter, paging: Paging): Promise<Page<DecisionItem>> {
  const where = conditions({ ...filter }, 'created_at_ms');
  const of = { collection: RETRAIN_DECISIONS, field: 'created_at_ms', where };
  return newestPage(control, of, paging, ({ body }) => decisionItem(body));
}

/** Runs, newest first. */
export function listRuns(control: Control, filter: RunFilter, paging: Paging): Promise<Page<RetrainRunItem>> {
  const where = conditions({ ...filter }, 'dispatched_at_ms');
  const of = { collection: RETRAIN_RUNS, field: 'dispatched_at_ms', where };
  return newestPage(control, of, paging, ({ body }) => runItem(body));
}

/** One decision with its history, run and confirmation. Throws LW-NOT-FOUND. */
export async function decisionDetail(control: Control, id: string): Promise<DecisionDetail> {
  return control.transaction(async (tx) => {
    const found = await tx.get(RETRAIN_DECISIONS, id);
    if (found === null) throw new LeewayError('LW-NOT-FOUND', `no decision ${id}`);
    const { body } = found;
    const run = body.run_id === null ? null : await tx.get(RETRAIN_RUNS, body.run_id);
    const { accuracy_before, accuracy_drifted, accuracy_after, after: windows, state } = body;
    const over = state === 'confirmed' || state === 'not_fixed';
    return {
      ...decisionItem(body),
      events: body.events,
      run: run === null ? null : runItem(run.body),
      confirmation: over ? { accuracy_before, accuracy_drifted, accuracy_after, windows, result: state } : null,
    };
  });
}
