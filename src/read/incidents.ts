import {
  DELIVERY_ATTEMPTS,
  INCIDENT_EVENTS,
  INCIDENTS,
  OUTBOX,
  type OutboxRow,
  RETRAIN_DECISIONS,
} from '../control/collections.ts';
import { LeewayError } from '../core/errors.ts';
import type { Incident } from '../core/incident.ts';
import type { Control, ControlTransaction, Document } from '../core/ports.ts';
import type { IncidentFilter, Page, Paging } from '../server/services.ts';
import type { IncidentDetail, IncidentItem, NotificationItem } from '../server/shapes/incident.ts';
import { decisionItem } from './decisions.ts';
import { conditions, newestPage } from './page.ts';

const HISTORY_MAX = 500;

/** An incident as the API shows it. */
export function incidentItem(incident: Incident): IncidentItem {
  const { id, kind, severity, status, state, title, subjects, cause, job, model, version } = incident;
  const { started_at_ms, opened_at_ms, resolved_at_ms, updated_at_ms, coverage_ratio } = incident;
  const { gpu_seconds_lost, usd_lost, usd_per_hour, rule, runbook_url } = incident;
  return {
    id,
    kind,
    severity,
    status,
    state,
    title,
    subjects,
    cause,
    ...(job === null ? {} : { job }),
    ...(model === null ? {} : { model }),
    ...(version === null ? {} : { version }),
    started_at_ms,
    opened_at_ms,
    resolved_at_ms,
    updated_at_ms,
    coverage_ratio,
    gpu_seconds_lost,
    usd_lost,
    usd_per_hour,
    rule,
    runbook_url,
  };
}

/** Incidents that were opened, newest first; what is still pending is nobody's business yet. */
export function listIncidents(control: Control, filter: IncidentFilter, paging: Paging): Promise<Page<IncidentItem>> {
  const where = conditions({ ...filter }, 'opened_at_ms');
  const opened = { field: 'opened_at_ms', is: '>', value: 0 } as const;
  const of = { collection: INCIDENTS, field: 'opened_at_ms', where: [opened, ...where] };
  return newestPage(control, of, paging, ({ body }) => incidentItem(body));
}

/** One incident with history, findings, notifications and decisions. Throws LW-NOT-FOUND. */
export async function incidentDetail(control: Control, id: string): Promise<IncidentDetail> {
  return control.transaction(async (tx) => {
    const found = await tx.get(INCIDENTS, id);
    if (found === null) throw new LeewayError('LW-NOT-FOUND', `no incident ${id}`);
    const about = [{ field: 'incident_id', is: '=', value: id } as const];
    const events = await tx.list(INCIDENT_EVENTS, {
      where: about,
      order: { field: 'at_ms', descending: false },
      limit: HISTORY_MAX,
    });
    const rows = await tx.list(OUTBOX, {
      where: about,
      order: { field: 'sequence', descending: false },
      limit: HISTORY_MAX,
    });
    const decisions = await tx.list(RETRAIN_DECISIONS, { where: about, limit: HISTORY_MAX });
    return {
      ...incidentItem(found.body),
      events: events.map(({ body: { at_ms, kind, note, actor } }) => ({ at_ms, kind, note, actor })),
      findings: found.body.findings,
      notifications: await Promise.all(rows.map((row) => notificationItem(tx, row))),
      decisions: decisions.map(({ body }) => decisionItem(body)),
    };
  });
}

/** A notification with its attempts. */
export async function notificationItem(tx: ControlTransaction, row: Document<OutboxRow>): Promise<NotificationItem> {
  const { sink, type, state, at_ms, next_attempt_at_ms } = row.body;
  const attempts = await tx.list(DELIVERY_ATTEMPTS, {
    where: [{ field: 'notification_id', is: '=', value: row.id }],
    order: { field: 'at_ms', descending: false },
    limit: 100,
  });
  return {
    id: row.id,
    sink,
    type,
    state,
    created_at_ms: at_ms,
    next_attempt_at_ms,
    attempts: attempts.map(({ body }) => {
      const { outcome, http_status, reason, duration_ms } = body;
      return { at_ms: body.at_ms, outcome, http_status, reason, duration_ms };
    }),
  };
}
