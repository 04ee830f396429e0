import Type, { type Static } from 'typebox';

/** Annotations and labels of an alert: texts by name. */
const TextsSchema = Type.Record(Type.String(), Type.String());

/**
 * An alert of another system as the control store remembers it, one a label set: Prometheus repeats what fires about once
 * a minute and says with each repeat until when that holds, so what it said last must outlive a restart. Times Unix ms.
 */
export const StoredAlertSchema = Type.Object({
  /** Names the incident: the label set without `severity`. */
  key: Type.String(),
  labels: TextsSchema,
  annotations: TextsSchema,
  generator_url: Type.Union([Type.String(), Type.Null()]),
  starts_ms: Type.Number(),
  /** It fires until then and is over afterwards. */
  ends_ms: Type.Number(),
  /** The sender named no end: `ends_ms` is the resolve timeout's. */
  timeout: Type.Boolean(),
  /** The latest end that a firing message has named; a message that names no later one is a repeat. */
  asserted_ms: Type.Union([Type.Number(), Type.Null()]),
  /** The latest end that lay in the past when it was told: the sender said that it is over. */
  closed_ms: Type.Union([Type.Number(), Type.Null()]),
  updated_at_ms: Type.Number(),
});
export type StoredAlert = Readonly<Static<typeof StoredAlertSchema>>;
