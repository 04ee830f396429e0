/**
 * Samples of open ingest, column by column: raw little-endian bytes, `rows` of each. `id` is the series' 64-bit hash
 * (8 bytes a row), `at_ms` Int64 Unix ms (8), `mantissa` of `mantissa_type` (2, 4 or 8) and `exponent` Int8 (1).
 * The value of a row is `mantissa / 10^exponent`; at exponent 127 the mantissa is the Float64's own bits (always Int64).
 */
export type SampleRows = {
  readonly rows: number;
  readonly id: ArrayBufferView;
  readonly at_ms: ArrayBufferView;
  readonly mantissa: ArrayBufferView;
  readonly mantissa_type: 'Int16' | 'Int32' | 'Int64';
  readonly exponent: ArrayBufferView;
};

/**
 * A number that JSON gives back bit for bit: a JSON number where that is exact, else text: `"NaN"`, `"Infinity"`,
 * `"-Infinity"`, `"-0"`, `"nan:7ff0000000000002"` (other NaN bits, 16 hex digits), or the decimal digits of an integer
 * above 2^53. Written by `exactDouble` and `exactInteger` of formats/exact-number.ts.
 */
export type ExactNumber = number | string;

/**
 * What a series measures, as its sender declared it; `unknown` where it did not. `_delta`: each value is the change
 * since the one before it, not the total since the start; `up_down_delta` may fall.
 */
export type SeriesKind =
  | 'unknown'
  | 'counter'
  | 'gauge'
  | 'histogram'
  | 'gauge_histogram'
  | 'summary'
  | 'info'
  | 'state_set'
  | 'counter_delta'
  | 'up_down_delta'
  | 'histogram_delta';

/**
 * A series seen for the first time: `id` the decimal digits of its 64-bit hash, `labels` all of its labels with
 * `__name__` (a null-prototype object), `kind`, `unit` and `help` empty where the sender did not say.
 */
export type SeriesRow = {
  readonly id: string;
  readonly metric: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly kind: SeriesKind;
  readonly unit: string;
  readonly help: string;
};

/** A run of `length` buckets, `offset` empty ones after the end of the run before it (the first: the bucket's index). */
export type BucketSpan = { readonly offset: number; readonly length: number };

/**
 * One histogram of open ingest. `schema` −10..20: exponential, bucket i ends at `2^(i·2^−schema)`; −53: custom buckets,
 * `custom_values` their inclusive upper bounds, the last one to +Inf implied. Buckets are counts (not deltas, not
 * cumulative), one for each place of the spans. `is_float`: counts are doubles, else unsigned 64-bit integers.
 * `sum`, `min`, `max` null: not recorded. `start_ms` 0: unknown. `stale`: the series has ended; its numbers mean nothing.
 */
export type HistogramRow = {
  readonly series: string;
  readonly at_ms: number;
  readonly count: ExactNumber;
  readonly sum: ExactNumber | null;
  readonly min: ExactNumber | null;
  readonly max: ExactNumber | null;
  readonly schema: number;
  readonly zero_threshold: ExactNumber;
  readonly zero_count: ExactNumber;
  readonly positive_spans: readonly BucketSpan[];
  readonly positive_buckets: readonly ExactNumber[];
  readonly negative_spans: readonly BucketSpan[];
  readonly negative_buckets: readonly ExactNumber[];
  readonly custom_values: readonly ExactNumber[];
  readonly reset_hint: 'unknown' | 'yes' | 'no' | 'gauge';
  readonly start_ms: number;
  readonly is_float: boolean;
  readonly stale: boolean;
};

/** One exemplar: the series it belongs to, its value, its time and its own labels (null-prototype object). */
export type ExemplarRow = {
  readonly series: string;
  readonly at_ms: number;
  readonly value: ExactNumber;
  readonly labels: Readonly<Record<string, string>>;
};

/** What a sender declared about a metric apart from any series (remote write 1.0 metadata). */
export type MetadataRow = {
  readonly metric: string;
  readonly kind: SeriesKind;
  readonly unit: string;
  readonly help: string;
};

/** Why a part of a body was not taken, how many samples that cost, and one example in words. */
export type SampleRejection = { readonly code: string; readonly count: number; readonly reason: string };
