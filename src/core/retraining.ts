import Type, { type Static } from 'typebox';

/** Vocabulary of retraining: what the coordinator stores and the API shows (contract: api.md "Decisions"). */

const nullable = <Schema extends Type.TSchema>(schema: Schema) => Type.Union([schema, Type.Null()]);
const text = Type.String();
const number = Type.Number();
/** A choice of fixed words, with their literal types. */
function oneOf<const Words extends readonly string[]>(list: Words) {
  return Type.Enum<[...Words]>([...list]);
}

/** `suppressed`, `expired`, `rejected`, `cancelled`, `confirmed` and `not_fixed` are ends. */
export const DECISION_STATES = [
  'suppressed',
  'deferred',
  'suggested',
  'awaiting_approval',
  'approved',
  'dispatched',
  'expired',
  'rejected',
  'cancelled',
  'confirmed',
  'not_fixed',
] as const;
const DecisionStateSchema = oneOf(DECISION_STATES);
export type DecisionState = Static<typeof DecisionStateSchema>;

const GateNameSchema = oneOf([
  'mode',
  'data_quality',
  'hysteresis',
  'performance_evidence',
  'single_flight',
  'cooldown',
  'rate',
  'budget',
  'approval',
  'expiry',
]);
export type GateName = Static<typeof GateNameSchema>;

/** One recorded gate: what was seen, what was asked, and why in words. */
const GateSchema = Type.Object({
  gate: GateNameSchema,
  result: oneOf(['pass', 'fail', 'defer', 'override']),
  observed: text,
  threshold: text,
  note: text,
});
export type Gate = Static<typeof GateSchema>;

const EventSchema = Type.Object({ at_ms: number, kind: text, note: text, actor: nullable(text) });

/** One window after promotion, as the confirmation counts it. */
const AfterWindowSchema = Type.Object({
  from_ms: number,
  to_ms: number,
  drifted: Type.Boolean(),
  accuracy_worse: Type.Boolean(),
});
export type AfterWindow = Static<typeof AfterWindowSchema>;

export const DecisionSchema = Type.Object({
  id: text,
  model: text,
  version: text,
  policy: text,
  state: DecisionStateSchema,
  reason: text,
  created_at_ms: number,
  updated_at_ms: number,
  expires_at_ms: number,
  incident_id: text,
  /** One drift from its first firing to its end; a run per episode and attempt. */
  episode_id: text,
  attempt: number,
  /** Idempotency key of the run at the target. */
  dispatch_key: text,
  run_id: nullable(text),
  dispatched_at_ms: nullable(number),
  /** Money reserved by a dispatched run, nano-USD as decimal text. */
  reserved_nano_usd: text,
  approved_by: nullable(text),
  gates: Type.Array(GateSchema),
  /** Drift and data as the request carried them: what the decision was made on. */
  drift: Type.Record(Type.String(), Type.Unknown()),
  data: Type.Object({ from_ms: number, to_ms: number, rows: number, labelled_rows: number }),
  accuracy_before: nullable(number),
  accuracy_drifted: nullable(number),
  accuracy_after: nullable(number),
  after: Type.Array(AfterWindowSchema),
  events: Type.Array(EventSchema),
});
export type Decision = Static<typeof DecisionSchema>;

export const RUN_STATES = ['dispatched', 'running', 'succeeded', 'failed', 'cancelled'] as const;
const RunStateSchema = oneOf(RUN_STATES);
export type RunState = Static<typeof RunStateSchema>;

export const RetrainRunSchema = Type.Object({
  id: text,
  decision_id: text,
  model: text,
  policy: text,
  state: RunStateSchema,
  dispatched_at_ms: number,
  updated_at_ms: number,
  version: nullable(text),
  metrics: nullable(Type.Record(Type.String(), Type.Unknown())),
  url: nullable(text),
  reason: nullable(text),
});
export type RetrainRun = Static<typeof RetrainRunSchema>;
