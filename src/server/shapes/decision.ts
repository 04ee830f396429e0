import Type, { type Static } from 'typebox';
import { DECISION_STATES, RUN_STATES } from '../../core/retraining.ts';
import { count, evidence, nullableReal, nullableText, nullableTime, text, time, words } from './base.ts';

const gate = Type.Object({
  gate: text,
  result: words(['pass', 'fail', 'defer', 'override']),
  observed: evidence,
  threshold: evidence,
  note: nullableText,
});

export const DECISION = Type.Object({
  id: text,
  model: text,
  version: nullableText,
  policy: text,
  state: words(DECISION_STATES),
  reason: nullableText,
  created_at_ms: time,
  updated_at_ms: time,
  expires_at_ms: nullableTime,
  incident_id: nullableText,
  episode_id: nullableText,
  dispatch_key: nullableText,
  run_id: nullableText,
  gates: Type.Array(gate),
  can_approve: Type.Boolean(),
});

export const RETRAIN_RUN = Type.Object({
  id: text,
  decision_id: text,
  model: text,
  state: words(RUN_STATES),
  dispatched_at_ms: time,
  updated_at_ms: time,
  version: nullableText,
  metrics: evidence,
  url: nullableText,
  reason: nullableText,
});

/** One line of the history of an incident or a decision: `actor` is a token, `local` or `leeway` itself. */
export const HISTORY_EVENT = Type.Object({ at_ms: time, kind: text, note: nullableText, actor: nullableText });

const confirmation = Type.Object({
  accuracy_before: nullableReal,
  accuracy_drifted: nullableReal,
  accuracy_after: nullableReal,
  windows: Type.Array(evidence),
  result: words(['confirmed', 'not_fixed']),
});

export const DECISION_DETAIL = Type.Object({
  ...DECISION.properties,
  events: Type.Array(HISTORY_EVENT),
  run: Type.Union([RETRAIN_RUN, Type.Null()]),
  confirmation: Type.Union([confirmation, Type.Null()]),
});

/** What a retraining pipeline tells of its run (contract: api.md `POST /retrain-runs/{id}/status`). */
export const RUN_STATUS = Type.Object({
  state: words(['running', 'succeeded', 'failed', 'cancelled']),
  at_ms: count,
  version: Type.Optional(Type.String({ maxLength: 512 })),
  metrics: Type.Optional(Type.Record(Type.String({ maxLength: 128 }), Type.Unknown(), { maxProperties: 1000 })),
  url: Type.Optional(Type.String({ maxLength: 2048 })),
  reason: Type.Optional(Type.String({ maxLength: 4096 })),
});

export type DecisionItem = Static<typeof DECISION>;
export type DecisionDetail = Static<typeof DECISION_DETAIL>;
export type RetrainRunItem = Static<typeof RETRAIN_RUN>;
export type RunStatus = Static<typeof RUN_STATUS>;
