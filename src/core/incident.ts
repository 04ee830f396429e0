import Type, { type Static } from 'typebox';

/** Vocabulary of incidents: what the desk stores, the API shows and notifications carry (contract: api.md). */

export const SeveritySchema = Type.Union([Type.Literal('page'), Type.Literal('warn')]);
export type Severity = Static<typeof SeveritySchema>;

/** What people did about it. */
export const IncidentStatusSchema = Type.Union([
  Type.Literal('open'),
  Type.Literal('acknowledged'),
  Type.Literal('snoozed'),
  Type.Literal('resolved'),
]);

/** What the data says: `pending` waits for `for_ms` and is shown to nobody; `no_data` and `error` keep an incident open. */
export const IncidentStateSchema = Type.Union([
  Type.Literal('pending'),
  Type.Literal('firing'),
  Type.Literal('recovering'),
  Type.Literal('resolved'),
  Type.Literal('no_data'),
  Type.Literal('error'),
]);

const nullable = <Schema extends Type.TSchema>(schema: Schema) => Type.Union([schema, Type.Null()]);
const number = Type.Number();
const text = Type.String();

/** A finding as it is kept with its incident: the newest one that showed the fault. */
export const JudgedFindingSchema = Type.Object({
  name: text,
  value: nullable(number),
  threshold: number,
  window: Type.Object({ from_ms: number, to_ms: number }),
  evidence: Type.Record(Type.String(), Type.Unknown()),
});
export type JudgedFinding = Static<typeof JudgedFindingSchema>;

/** An incident document. Times Unix ms; money decimal strings; null = unknown or not yet. */
export const IncidentSchema = Type.Object({
  id: text,
  rule: text,
  /** Key of the finding that it is about; rule and key name the incident while it is open. */
  key: text,
  kind: text,
  severity: SeveritySchema,
  status: IncidentStatusSchema,
  state: IncidentStateSchema,
  title: text,
  subjects: Type.Array(Type.Object({ type: text, id: text })),
  cause: text,
  job: nullable(text),
  model: nullable(text),
  version: nullable(text),
  source: nullable(text),
  started_at_ms: nullable(number),
  opened_at_ms: nullable(number),
  resolved_at_ms: nullable(number),
  updated_at_ms: number,
  coverage_ratio: number,
  gpu_seconds_lost: nullable(number),
  usd_lost: nullable(text),
  usd_per_hour: nullable(text),
  runbook_url: text,
  finding: text,
  findings: Type.Array(JudgedFindingSchema),
  /** 1 while judgement must look at it: not resolved, inside its reopen window, or with something still to tell. */
  watched: number,
  /** The condition has held without a break since then; null = it does not hold. */
  breach_since_ms: nullable(number),
  breach_last_ms: nullable(number),
  recovering_since_ms: nullable(number),
  unknown_since_ms: nullable(number),
  judged_at_ms: number,
  /** Times it was reopened; each doubles how long the next recovery must hold. */
  relapses: number,
  /** Returns from recovering to firing, that told nobody. */
  flaps: number,
  /** A person resolved it while the condition held: only a recovery, or the end of the reopen window, lifts this. */
  latched: Type.Boolean(),
  acknowledged_by: nullable(text),
  snoozed_until_ms: nullable(number),
  /** Whether its opening reached the outbox; a resolution is told only then. */
  announced: Type.Boolean(),
  /** What a silence, a mute or a snooze held back. */
  owed: nullable(Type.Union([Type.Literal('opened'), Type.Literal('resolved')])),
  events: number,
});
export type Incident = Static<typeof IncidentSchema>;

/** An entry of an incident's history; append-only. `actor` is null where the desk acted by itself. */
export const IncidentEventSchema = Type.Object({
  incident_id: text,
  sequence: number,
  at_ms: number,
  kind: text,
  note: text,
  actor: nullable(text),
});

/** `warn` < `page`. */
export function severityRank(severity: Severity): number {
  return severity === 'page' ? 1 : 0;
}
