import { OUTBOX, type OutboxRow, RETRAIN_DECISIONS } from '../control/collections.ts';
import { LeewayError } from '../core/errors.ts';
import type { ControlTransaction, Document } from '../core/ports.ts';
import type { Decision, RetrainRun, RunState } from '../core/retraining.ts';

/** Type of the notification that asks a target for a run. */
export const REQUESTED = 'leeway.retrain.requested';

/** What a pipeline says of its run (contract: `POST /api/v1/retrain-runs/{id}/status`). */
export type RunReport = {
  readonly state: Exclude<RunState, 'dispatched'>;
  readonly at_ms: number;
  readonly version?: string;
  readonly metrics?: Readonly<Record<string, unknown>>;
  readonly url?: string;
  readonly reason?: string;
};

/** 0 requested, 1 under way, 2 over: a run never steps back. */
export function runRank(state: RunState): 0 | 1 | 2 {
  if (state === 'dispatched') return 0;
  return state === 'running' ? 1 : 2;
}

/** The run of a decision at the moment of its dispatch. */
export function requestedRun({ id, model, policy }: Decision, run_id: string, now_ms: number): RetrainRun {
  return {
    id: run_id,
    decision_id: id,
    model,
    policy,
    state: 'dispatched',
    dispatched_at_ms: now_ms,
    updated_at_ms: now_ms,
    version: null,
    metrics: null,
    url: null,
    reason: null,
  };
}

async function requestsOf(tx: ControlTransaction, decision_id: string): Promise<Document<OutboxRow>[]> {
  const rows = await tx.list(OUTBOX, { where: [{ field: 'decision_id', is: '=', value: decision_id }], limit: 100 });
  return rows.filter(({ body }) => body.type === REQUESTED);
}

/**
 * Takes back a request that its target has not accepted: it is not sent any more. One that is on its way at this moment
 * is not sent again. Returns whether there is a request that never arrived and never will.
 */
export async function withdrawRequest(
  tx: ControlTransaction,
  decision_id: string,
  at: { readonly reason: string; readonly now_ms: number },
): Promise<boolean> {
  let undelivered = false;
  for (const { id, revision, body } of await requestsOf(tx, decision_id)) {
    if (body.state === 'delivered') continue;
    const leased = body.lease_until_ms > at.now_ms;
    undelivered ||= !leased;
    if (body.state === 'failed') continue;
    const failed = { state: 'failed', reason: at.reason, next_attempt_at_ms: null, lease_until_ms: 0 } as const;
    await tx.update(OUTBOX, id, revision, { ...body, ...(leased ? { expires_at_ms: at.now_ms } : failed) });
  }
  return undelivered;
}

/** Throws LW-CONFLICT for the request of a decision that is over: sent again it would start a run that nobody follows. */
export async function assertWanted(tx: ControlTransaction, { id, body }: Document<OutboxRow>): Promise<void> {
  if (body.type !== REQUESTED || body.decision_id === null) return;
  const decision = await tx.get(RETRAIN_DECISIONS, body.decision_id);
  if (decision === null || decision.body.state === 'dispatched') return;
  throw new LeewayError(
    'LW-CONFLICT',
    `notification ${id} asks for a run of decision ${decision.id}, which is ${decision.body.state}; wait for the next decision`,
  );
}
