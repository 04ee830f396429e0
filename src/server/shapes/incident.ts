import Type, { type Static } from 'typebox';
import {
  count,
  evidence,
  nullableMoney,
  nullableReal,
  nullableText,
  nullableTime,
  ratio,
  text,
  time,
  words,
} from './base.ts';
import { DECISION, HISTORY_EVENT } from './decision.ts';

export const SEVERITIES = ['page', 'warn'] as const;
export const INCIDENT_STATUSES = ['open', 'acknowledged', 'snoozed', 'resolved'] as const;
export const INCIDENT_STATES = ['pending', 'firing', 'recovering', 'resolved', 'no_data', 'error'] as const;

export const INCIDENT = Type.Object({
  id: text,
  kind: text,
  severity: words(SEVERITIES),
  status: words(INCIDENT_STATUSES),
  state: words(INCIDENT_STATES),
  title: text,
  subjects: Type.Array(Type.Object({ type: text, id: text })),
  cause: nullableText,
  job: Type.Optional(text),
  model: Type.Optional(text),
  version: Type.Optional(text),
  started_at_ms: nullableTime,
  opened_at_ms: nullableTime,
  resolved_at_ms: nullableTime,
  updated_at_ms: time,
  coverage_ratio: ratio,
  gpu_seconds_lost: nullableReal,
  usd_lost: nullableMoney,
  usd_per_hour: nullableMoney,
  rule: nullableText,
  runbook_url: nullableText,
});

const finding = Type.Object({
  name: text,
  value: nullableReal,
  threshold: evidence,
  window: Type.Object({ from_ms: nullableTime, to_ms: nullableTime }),
  evidence,
});

const attempt = Type.Object({
  at_ms: time,
  outcome: text,
  http_status: nullableReal,
  reason: nullableText,
  duration_ms: Type.Union([count, Type.Null()]),
});

export const NOTIFICATION = Type.Object({
  id: text,
  sink: text,
  type: text,
  state: words(['delivered', 'retrying', 'failed', 'blocked']),
  created_at_ms: time,
  next_attempt_at_ms: nullableTime,
  attempts: Type.Array(attempt),
});

export const INCIDENT_DETAIL = Type.Object({
  ...INCIDENT.properties,
  events: Type.Array(HISTORY_EVENT),
  findings: Type.Array(finding),
  notifications: Type.Array(NOTIFICATION),
  decisions: Type.Array(DECISION),
});

export const SILENCE_FIELDS = ['rule', 'kind', 'severity', 'job', 'model', 'source', 'subject', 'incident'] as const;

/** A silence holds back what fits every matcher; `value` may end in `*` for any rest. */
const matchers = Type.Array(
  Type.Object({ field: words(SILENCE_FIELDS), value: Type.String({ minLength: 1, maxLength: 512 }) }),
  { minItems: 1, maxItems: 32 },
);

export const SILENCE_REQUEST = Type.Object({
  matchers,
  /** Absent = now. */
  starts_at_ms: Type.Optional(time),
  ends_at_ms: time,
  comment: Type.Optional(Type.String({ maxLength: 4096 })),
});

export const SILENCE = Type.Object({
  id: text,
  matchers,
  starts_at_ms: time,
  ends_at_ms: time,
  comment: text,
  created_by: text,
  created_at_ms: time,
});

export type IncidentItem = Static<typeof INCIDENT>;
export type IncidentDetail = Static<typeof INCIDENT_DETAIL>;
export type NotificationItem = Static<typeof NOTIFICATION>;
export type SilenceRequest = Static<typeof SILENCE_REQUEST>;
export type SilenceItem = Static<typeof SILENCE>;
