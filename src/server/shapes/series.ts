import Type, { type Static } from 'typebox';
import { bound, count, filter, listQuery, real, text, time } from './base.ts';

/** A number that JSON gives back bit for bit (core/samples.ts ExactNumber). */
const exact = Type.Union([Type.Number(), Type.String()]);
const labels = Type.Record(Type.String(), Type.String());

export const SERIES = Type.Object({ id: text, metric: text, labels, kind: text, unit: text, help: text });
export type SeriesItem = Static<typeof SERIES>;

export const SAMPLE = Type.Object({ at_ms: time, value: exact });
export type SampleItem = Static<typeof SAMPLE>;

const spans = Type.Array(Type.Object({ offset: Type.Integer(), length: count }));

export const HISTOGRAM = Type.Object({
  series: text,
  at_ms: time,
  count: exact,
  sum: exact,
  schema: Type.Integer(),
  zero_threshold: exact,
  zero_count: exact,
  positive_spans: spans,
  positive_buckets: Type.Array(exact),
  negative_spans: spans,
  negative_buckets: Type.Array(exact),
  custom_values: Type.Array(exact),
  reset_hint: text,
  start_ms: real,
  is_float: Type.Boolean(),
  stale: Type.Boolean(),
});
export type HistogramItem = Static<typeof HISTOGRAM>;

export const EXEMPLAR = Type.Object({ series: text, at_ms: time, value: exact, labels });
export type ExemplarItem = Static<typeof EXEMPLAR>;

export const SERIES_QUERY = listQuery({ metric: filter, id: filter });
export const SAMPLES_QUERY = listQuery({ from: bound, to: bound });
