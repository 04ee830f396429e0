import {
  DELIVERY_ATTEMPTS,
  INCIDENTS,
  type DeliveryAttempt,
  OUTBOX,
  type OutboxRow,
  SINK_STATES,
  type SinkState,
} from '../control/collections.ts';
import type { Reject } from '../core/outcome.ts';
import type { Control, ControlTransaction, Document } from '../core/ports.ts';

/** Rows of one sink that are looked at for one that is due; those behind an unfinished one of their subject wait anyway. */
const SCAN_MAX = 500;

/** A row that this worker alone may attempt until its lease ends; `expired`: it must not be sent any more. */
export type Claimed = { readonly kind: 'due' | 'expired'; readonly document: Document<OutboxRow> };

/**
 * Takes the next due row of a sink: oldest first, strictly in order within a subject (a resolution never overtakes the
 * opening that it ends), skipping subjects that wait for a retry. Counts the attempt and leases the row before anything
 * is sent. Workers that look at once take different rows and do not wait for each other; only the row chosen is locked,
 * since one that leaves out what others hold must not take the second row of a subject for its first. Null when none
 * is due or the sink is disabled.
 */
export async function claimNext(
  control: Control,
  sink: string,
  at: { readonly now_ms: number; readonly lease_ms: number },
): Promise<Claimed | null> {
  return control.transaction(async (tx) => {
    const state = await tx.get(SINK_STATES, sink);
    if (state?.body.state === 'disabled') return null;
    const waiting = await tx.list(OUTBOX, {
      where: [
        { field: 'sink', is: '=', value: sink },
        { field: 'state', is: 'in', value: ['retrying', 'blocked'] },
      ],
      order: { field: 'sequence', descending: false },
      limit: SCAN_MAX,
    });
    const seen = new Set<string>();
    for (const document of waiting) {
      const { body } = document;
      if (seen.has(body.subject)) continue;
      seen.add(body.subject);
      if (body.lease_until_ms > at.now_ms || (body.next_attempt_at_ms ?? 0) > at.now_ms) continue;
      const itself = { field: 'id', is: '=', value: document.id } as const;
      const [free] = await tx.list(OUTBOX, { where: [itself], lock: 'skip' });
      if (free !== undefined) return claim(tx, free, at); // else another worker takes it now: on to the next subject
    }
    return null;
  });
}

async function claim(
  tx: ControlTransaction,
  document: Document<OutboxRow>,
  at: { readonly now_ms: number; readonly lease_ms: number },
): Promise<Claimed> {
  const { id, revision, body } = document;
  const expired = body.expires_at_ms !== null && body.expires_at_ms <= at.now_ms;
  const leased = { ...body, attempts: body.attempts + 1, lease_until_ms: at.now_ms + at.lease_ms };
  await tx.update(OUTBOX, id, revision, leased);
  return { kind: expired ? 'expired' : 'due', document: { id, revision: revision + 1, body: leased } };
}

/**
 * Writes an attempt and the row after it; true when both are written. When the lease ended meanwhile and somebody else
 * took the row (or it was replayed), only the attempt is kept: the row is theirs.
 */
export async function recordAttempt(
  tx: ControlTransaction,
  claimed: Document<OutboxRow>,
  row: OutboxRow,
  attempt: DeliveryAttempt,
): Promise<boolean> {
  const { attempts, lease_until_ms } = claimed.body;
  const id = `${claimed.id}/${String(attempts).padStart(6, '0')}`;
  if ((await tx.get(DELIVERY_ATTEMPTS, id)) === null) await tx.insert(DELIVERY_ATTEMPTS, id, attempt);
  const stored = await tx.get(OUTBOX, claimed.id);
  if (stored === null || stored.body.attempts !== attempts || stored.body.lease_until_ms !== lease_until_ms)
    return false;
  const { expires_at_ms } = stored.body; // may have been taken back meanwhile
  await tx.update(OUTBOX, claimed.id, stored.revision, { ...row, expires_at_ms });
  return true;
}

/** Writes the state of a sink. `disabled` stays until a test succeeds (`lift`). */
export async function noteSinkState(
  tx: ControlTransaction,
  sink: string,
  state: SinkState,
  lift = false,
): Promise<void> {
  const stored = await tx.get(SINK_STATES, sink);
  if (stored === null) return tx.insert(SINK_STATES, sink, state);
  const stays = stored.body.state === 'disabled' && !(lift && state.state === 'ok' && state.reason === null);
  if (stays) return;
  await tx.update(SINK_STATES, sink, stored.revision, state);
}

/** Open incidents that one destination is reminded of: far beyond what a receiver can group. */
const RESEND_MAX = 1000;

/** The last delivered opening or escalation of every incident that is open now, for a destination that forgets. */
export async function openlyTold(control: Control, sink: string): Promise<Document<OutboxRow>[]> {
  return control.transaction(async (tx) => {
    const open = await tx.list(INCIDENTS, {
      where: [
        { field: 'watched', is: '=', value: 1 },
        { field: 'status', is: 'in', value: ['open', 'acknowledged'] },
      ],
      limit: RESEND_MAX,
    });
    const rows: Document<OutboxRow>[] = [];
    for (const { id, body } of open) {
      if (!body.announced || body.owed !== null) continue;
      const told = await tx.list(OUTBOX, {
        where: [
          { field: 'incident_id', is: '=', value: id },
          { field: 'sink', is: '=', value: sink },
          { field: 'state', is: '=', value: 'delivered' },
        ],
        order: { field: 'sequence', descending: true },
        limit: 10,
      });
      const last = told.find(({ body: row }) => /\.(opened|escalated)$/.test(row.type));
      if (last !== undefined) rows.push(last);
    }
    return rows;
  });
}

/** Whether a destination asked not to be told again. */
export function isGone(outcome: Reject): boolean {
  return outcome.code === 'LW-SINK-GONE';
}
