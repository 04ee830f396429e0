import Type, { type Static } from 'typebox';
import {
  bound,
  count,
  evidence,
  money,
  nullableMoney,
  nullableReal,
  nullableText,
  nullableTime,
  real,
  text,
  time,
  words,
} from './base.ts';
import { SEVERITIES } from './incident.ts';

export const OVERVIEW = Type.Object({
  at_ms: time,
  incidents: Type.Object({ open: count, page: count, warn: count }),
  jobs: Type.Object({ running: count, slowed: count }),
  models: Type.Object({ serving: count, drifting: count }),
  cost: Type.Object({ today_nano_usd: nullableMoney, idle_nano_usd: nullableMoney, budget_nano_usd: nullableMoney }),
  delivery: Type.Object({
    emitted: count,
    stored: count,
    in_flight: count,
    declared_loss: Type.Union([count, Type.Record(Type.String(), Type.Number())]),
    lag_ms: nullableReal,
  }),
  retraining: Type.Object({ running: count, awaiting_approval: count }),
  timeline: Type.Array(
    Type.Object({
      at_ms: time,
      kind: words(['incident', 'deploy', 'retrain']),
      title: text,
      href: nullableText,
      severity: Type.Optional(words(SEVERITIES)),
    }),
  ),
  cost_series: Type.Array(Type.Object({ at_ms: time, nano_usd: money })),
});

export const COSTS = Type.Object({
  currency: Type.Literal('USD'),
  from_ms: time,
  to_ms: time,
  totals: Type.Object({
    billed_nano_usd: money,
    tenant_nano_usd: money,
    idle_nano_usd: money,
    stranded_nano_usd: money,
    overhead_nano_usd: money,
    unobserved_nano_usd: money,
  }),
  items: Type.Array(
    Type.Object({
      period_ms: nullableTime,
      tenant: evidence,
      category: text,
      nano_usd: money,
      gpu_seconds: Type.Union([real, text, Type.Null()]),
    }),
  ),
  warnings: Type.Array(evidence),
});

export const COSTS_QUERY = Type.Object({
  from: bound,
  to: bound,
  /** Comma list of tenant keys. */
  group_by: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9_.-]{1,64}(,[A-Za-z0-9_.-]{1,64}){0,7}$' })),
  period: Type.Optional(words(['hour', 'day', 'month'])),
});

/** Why an asset's hour cost a tenant what it did: the segments and their arithmetic, as the ledger explains it. */
export const COSTS_EXPLAIN = Type.Object({}, { additionalProperties: true });
export const COSTS_EXPLAIN_QUERY = Type.Object({
  asset: Type.String({ minLength: 1, maxLength: 512 }),
  hour: Type.Optional(Type.Number({ minimum: 0, maximum: 253_402_300_799_999 })),
  tenant: Type.Optional(Type.String({ maxLength: 1024 })),
});

export const RULE = Type.Object({
  id: text,
  finding: text,
  fire: evidence,
  clear: evidence,
  for_ms: nullableReal,
  keep_firing_ms: nullableReal,
  data_min: nullableReal,
  severity: evidence,
  runbook: nullableText,
  muted: Type.Boolean(),
});

export const SINK = Type.Object({
  id: text,
  kind: text,
  state: words(['ok', 'retrying', 'blocked', 'disabled']),
  reason: nullableText,
  pending: count,
  last_attempts: Type.Array(
    Type.Object({ at_ms: time, outcome: text, http_status: nullableReal, reason: nullableText }),
  ),
});

/** `blocked` comes alone, the same for open and closed ports. */
export const SINK_TEST = Type.Object({
  outcome: text,
  http_status: Type.Optional(nullableReal),
  reason: Type.Optional(nullableText),
  duration_ms: Type.Optional(nullableReal),
});

/** `sha256` covers every other field, the predecessor's included: the log is a chain. */
export const AUDIT_ENTRY = Type.Object({
  sequence: count,
  at_ms: time,
  actor: text,
  action: text,
  subject: text,
  detail: evidence,
  previous_sha256: text,
  sha256: text,
});

export const RELOAD = Type.Object({
  changed: Type.Array(Type.Object({ path: text, from: evidence, to: evidence, needs_restart: Type.Boolean() })),
});

export const READINESS = Type.Object({
  ready: Type.Boolean(),
  checks: Type.Record(Type.String(), Type.Object({ ok: Type.Boolean(), detail: nullableText })),
});

export type Overview = Static<typeof OVERVIEW>;
export type Costs = Static<typeof COSTS>;
export type RuleItem = Static<typeof RULE>;
export type SinkItem = Static<typeof SINK>;
export type SinkTest = Static<typeof SINK_TEST>;
export type AuditEntry = Static<typeof AUDIT_ENTRY>;
export type Readiness = Static<typeof READINESS>;
