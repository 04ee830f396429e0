import { OUTBOX } from '../control/collections.ts';
import { type Severity, severityRank } from '../core/incident.ts';
import type { ControlTransaction } from '../core/ports.ts';
import { notificationId } from '../incident/identity.ts';
import { matchesPattern } from '../incident/suppression.ts';

/** A destination as far as choosing it goes. */
export type Recipient = {
  readonly id: string;
  /** Patterns of types, `*` for any rest; empty = only told by name. */
  readonly types: readonly string[];
  readonly min_severity: Severity;
  readonly accepts: (type: string) => boolean;
};

/** Something to tell. `event` names it within its subject, so that the same event is never queued twice. */
export type Announcement = {
  readonly type: string;
  readonly subject: string;
  readonly event: string;
  readonly at_ms: number;
  readonly data: Readonly<Record<string, unknown>>;
  /** null = not graded: goes to every recipient of the type. */
  readonly severity: Severity | null;
  readonly incident_id: string | null;
  readonly decision_id: string | null;
  /** After this nothing is sent any more; null = no end but the horizon of retries. */
  readonly expires_at_ms: number | null;
};

/** The recipients whose types and least severity ask for it. */
export function recipientsOf(recipients: readonly Recipient[], type: string, severity: Severity | null): string[] {
  return recipients
    .filter(
      (recipient) =>
        recipient.types.some((pattern) => matchesPattern(pattern, type)) &&
        recipient.accepts(type) &&
        (severity === null || severityRank(severity) >= severityRank(recipient.min_severity)),
    )
    .map((recipient) => recipient.id);
}

/**
 * Puts one row a destination into the outbox, in the caller's transaction: what happened and that it will be told are
 * durable together. Returns the ids (webhook-id). An event that is there already is not queued again.
 */
export async function enqueue(
  tx: ControlTransaction,
  announcement: Announcement,
  destinations: readonly string[],
): Promise<string[]> {
  const [last] = await tx.list(OUTBOX, { order: { field: 'sequence', descending: true }, limit: 1 });
  let sequence = last?.body.sequence ?? 0;
  const ids: string[] = [];
  for (const sink of destinations) {
    const { event, data, ...rest } = announcement;
    const id = notificationId(announcement.subject, event, sink);
    ids.push(id);
    if ((await tx.get(OUTBOX, id)) !== null) continue;
    await tx.insert(OUTBOX, id, {
      ...rest,
      sink,
      data: { ...data },
      sequence: ++sequence,
      state: 'retrying',
      reason: null,
      attempts: 0,
      retry_from_ms: announcement.at_ms,
      retry_from_attempt: 0,
      next_attempt_at_ms: announcement.at_ms,
      lease_until_ms: 0,
      delivered_at_ms: null,
    });
  }
  return ids;
}
