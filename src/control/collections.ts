import Type, { type Static, type TSchema } from 'typebox';
import { compiled } from '../core/compiled.ts';
import { LeewayError } from '../core/errors.ts';
import { StoredAlertSchema } from '../core/external-alert.ts';
import { IncidentEventSchema, IncidentSchema, SeveritySchema } from '../core/incident.ts';
import type { Collection } from '../core/ports.ts';
import { DecisionSchema, RetrainRunSchema } from '../core/retraining.ts';

/**
 * Every kind of document that the control store holds, with its parse door and the fields that lists can filter and
 * order by. Times Unix ms, money decimal strings, `null` = not known or not yet.
 */

/** Makes a collection whose parse door is a schema; a document that does not fit throws LW-INTERNAL. */
export function collection<const Schema extends TSchema>(
  name: string,
  schema: Schema,
  indexed: Readonly<Record<string, 'text' | 'integer'>>,
): Collection<Static<Schema>> {
  const checker = compiled(schema);
  const parse = (value: unknown): Static<Schema> => {
    if (checker.check(value)) return value;
    const first = checker.problems(value)[0];
    throw new LeewayError(
      'LW-INTERNAL',
      `a document of ${name} does not fit its schema at ${first?.instancePath ?? '/'}: ${first?.message ?? 'unknown'}`,
    );
  };
  return { name, indexed, parse };
}

const text = Type.String();
const number = Type.Number();
const nullableText = Type.Union([text, Type.Null()]);
const nullableNumber = Type.Union([number, Type.Null()]);
const anything = Type.Record(Type.String(), Type.Unknown());

export const INCIDENTS = collection('incidents', IncidentSchema, {
  watched: 'integer',
  status: 'text',
  state: 'text',
  severity: 'text',
  kind: 'text',
  rule: 'text',
  key: 'text',
  job: 'text',
  model: 'text',
  version: 'text',
  cause: 'text',
  source: 'text',
  opened_at_ms: 'integer',
  updated_at_ms: 'integer',
});

/** Id: `<incident>/<sequence, 6 digits>`. */
export const INCIDENT_EVENTS = collection('incident_events', IncidentEventSchema, {
  incident_id: 'text',
  at_ms: 'integer',
});

/** Alerts of other systems, one a label set. Id: of the label set. */
export const EXTERNAL_ALERTS = collection('external_alerts', StoredAlertSchema, {
  key: 'text',
  ends_ms: 'integer',
  updated_at_ms: 'integer',
});

/** A notification for one destination: a row of the outbox. `retrying` also before its first attempt. */
const OutboxSchema = Type.Object({
  /** Id of the sink, or `target:<policy id>`. */
  sink: text,
  type: text,
  subject: text,
  severity: Type.Union([SeveritySchema, Type.Null()]),
  data: anything,
  at_ms: number,
  /** Order of creation over all rows; rows of one sink and subject are told in this order. */
  sequence: number,
  state: Type.Union([
    Type.Literal('retrying'),
    Type.Literal('blocked'),
    Type.Literal('delivered'),
    Type.Literal('failed'),
  ]),
  reason: nullableText,
  attempts: number,
  /** Where the horizon of retries starts: creation, or the last replay. */
  retry_from_ms: number,
  retry_from_attempt: number,
  next_attempt_at_ms: nullableNumber,
  lease_until_ms: number,
  /** After this nothing is sent; null = only the horizon of retries ends it. */
  expires_at_ms: nullableNumber,
  delivered_at_ms: nullableNumber,
  incident_id: nullableText,
  decision_id: nullableText,
});
export type OutboxRow = Static<typeof OutboxSchema>;
export const OUTBOX = collection('outbox', OutboxSchema, {
  sink: 'text',
  state: 'text',
  sequence: 'integer',
  at_ms: 'integer',
  incident_id: 'text',
  decision_id: 'text',
});

/** One attempt to tell one destination. Id: `<notification>/<attempt, 6 digits>`. */
const AttemptSchema = Type.Object({
  notification_id: text,
  sink: text,
  at_ms: number,
  outcome: Type.Union([
    Type.Literal('delivered'),
    Type.Literal('retry'),
    Type.Literal('failed'),
    Type.Literal('blocked'),
  ]),
  http_status: nullableNumber,
  reason: text,
  duration_ms: number,
});
export type DeliveryAttempt = Static<typeof AttemptSchema>;
export const DELIVERY_ATTEMPTS = collection('delivery_attempts', AttemptSchema, {
  notification_id: 'text',
  sink: 'text',
  at_ms: 'integer',
});

/** State of a sink; absent = `ok` and never used. Id: the sink's. */
const SinkStateSchema = Type.Object({
  state: Type.Union([Type.Literal('ok'), Type.Literal('retrying'), Type.Literal('blocked'), Type.Literal('disabled')]),
  reason: nullableText,
  updated_at_ms: number,
});
export type SinkState = Static<typeof SinkStateSchema>;
export const SINK_STATES = collection('sink_states', SinkStateSchema, { state: 'text' });

/** Holds back what matches every matcher between two times. `value` may end in `*` for any rest. */
const SilenceSchema = Type.Object({
  matchers: Type.Array(
    Type.Object({
      field: Type.Union([
        Type.Literal('rule'),
        Type.Literal('kind'),
        Type.Literal('severity'),
        Type.Literal('job'),
        Type.Literal('model'),
        Type.Literal('source'),
        Type.Literal('subject'),
        Type.Literal('incident'),
      ]),
      value: text,
    }),
    { minItems: 1, maxItems: 32 },
  ),
  starts_at_ms: number,
  ends_at_ms: number,
  comment: text,
  created_by: text,
  created_at_ms: number,
});
export type Silence = Static<typeof SilenceSchema>;
export const SILENCES = collection('silences', SilenceSchema, { ends_at_ms: 'integer', created_at_ms: 'integer' });

/** A rule that tells nobody. Id: the rule's. Absent = not muted. */
const RuleMuteSchema = Type.Object({ actor: text, at_ms: number, note: text });
export const RULE_MUTES = collection('rule_mutes', RuleMuteSchema, {});

/** Retraining decisions with their gates and history (schema: core/retraining.ts). */
export const RETRAIN_DECISIONS = collection('retrain_decisions', DecisionSchema, {
  model: 'text',
  version: 'text',
  state: 'text',
  policy: 'text',
  episode_id: 'text',
  dispatch_key: 'text',
  incident_id: 'text',
  created_at_ms: 'integer',
  updated_at_ms: 'integer',
  dispatched_at_ms: 'integer',
});

/** Runs of pipelines, one a dispatch, as their status calls report them. */
export const RETRAIN_RUNS = collection('retrain_runs', RetrainRunSchema, {
  model: 'text',
  state: 'text',
  decision_id: 'text',
  dispatched_at_ms: 'integer',
});

/** State of an engine's shard between analyses, beside its lease. Id: `<engine>/<shard>`. */
const EngineStateSchema = Type.Object({ engine: text, updated_at_ms: number, state: Type.Unknown() });
export const ENGINE_STATE = collection('engine_state', EngineStateSchema, { engine: 'text', updated_at_ms: 'integer' });

/**
 * What a gateway acknowledged in some seconds, for the account of a bus that does not say what waits in it. Id:
 * `<run of a process>/<number>`. Taken away when the store has all of it.
 */
const AcknowledgedSchema = Type.Object({
  at_ms: number,
  /** False: the process acknowledged more before, and could not keep what. */
  whole: Type.Boolean(),
  sources: Type.Array(
    Type.Object({
      source: text,
      epoch: number,
      /** Sequence, records, and ms from the acknowledgement to `at_ms`. */
      batches: Type.Array(Type.Tuple([number, number, number])),
    }),
  ),
});
export type AcknowledgedDocument = Static<typeof AcknowledgedSchema>;
export const ACKNOWLEDGED = collection('acknowledged', AcknowledgedSchema, { at_ms: 'integer' });

/** A frame that a worker set aside instead of storing it: declared loss of the fleet. Id: made of what it holds. */
const QuarantinedSchema = Type.Object({
  source: text,
  epoch: number,
  sequence: number,
  /** Frames of its batch. */
  parts: number,
  records: number,
  at_ms: number,
});
export type QuarantinedDocument = Static<typeof QuarantinedSchema>;
export const QUARANTINED = collection('quarantined', QuarantinedSchema, { at_ms: 'integer' });

/** An entry of the audit log. Id: the sequence, 12 digits. `sha256` covers all other fields, `previous_sha256` included. */
const AuditSchema = Type.Object({
  sequence: number,
  at_ms: number,
  actor: text,
  action: text,
  subject: text,
  detail: anything,
  previous_sha256: text,
  sha256: text,
});
export type AuditEntry = Static<typeof AuditSchema>;
export const AUDIT = collection('audit', AuditSchema, {
  sequence: 'integer',
  at_ms: 'integer',
  actor: 'text',
  action: 'text',
  subject: 'text',
});
