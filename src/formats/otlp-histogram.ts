import { LIMITS } from '../core/limits.ts';
import type { ExactNumber, HistogramRow } from '../core/samples.ts';
import { exactBits, exactInteger } from './exact-number.ts';
import { CUSTOM_SCHEMA, each } from './native-histogram.ts';
import { milliseconds } from './otlp-time.ts';
import { type ProtobufReader, WIRE } from './protobuf-reader.ts';
import type { LabelFault } from './series-labels.ts';

const NO_RECORDED_VALUE = 1;
const SCALE_MIN = -10;
const SCALE_MAX = 20;

/** Field numbers that the two kinds of histogram points have under different numbers. */
type Fields = {
  readonly attributes: number;
  readonly min: number;
  readonly max: number;
  readonly exemplars: number;
  readonly own: (reader: ProtobufReader, end: number, draft: Draft, tag: number) => boolean;
};

type Buckets = { offset: number; counts: bigint[] };

/** Tags of HistogramDataPoint (explicit bounds) and ExponentialHistogramDataPoint, metrics/v1/metrics.proto. */
export const EXPLICIT: Fields = { attributes: 74, min: 89, max: 97, exemplars: 66, own: readExplicit };
export const EXPONENTIAL: Fields = { attributes: 10, min: 97, max: 105, exemplars: 90, own: readExponential };

class Draft {
  at_ms = 0;
  start_ms = 0;
  count = 0n;
  sum: ExactNumber | null = null;
  min: ExactNumber | null = null;
  max: ExactNumber | null = null;
  flags = 0;
  scale = 0;
  zero_count = 0n;
  zero_threshold: ExactNumber = 0;
  readonly counts: bigint[] = [];
  readonly bounds: ExactNumber[] = [];
  readonly bound_values: number[] = [];
  readonly positive: Buckets = { offset: 0, counts: [] };
  readonly negative: Buckets = { offset: 0, counts: [] };
}

/**
 * Reads a histogram point that ends at `end`; attributes and exemplars are passed over. One row, not a series for each
 * bucket: a histogram stays whole, its counts are exact, and 15 buckets cost one row instead of 17 samples. Explicit
 * bounds become custom buckets (schema -53); exponential ones keep their scale. OTLP's bucket i ends at base^(i+1),
 * ours at base^i: offsets are one higher. Refused: bucket counts that do not fit their bounds or their count, bounds
 * that do not rise.
 */
export function readHistogramPoint(
  reader: ProtobufReader,
  end: number,
  { fields, series }: { readonly fields: Fields; readonly series: string },
): HistogramRow | LabelFault {
  const draft = new Draft();
  while (reader.at < end) {
    const tag = reader.tag();
    if (!readCommon(reader, end, draft, { tag, fields }) && !fields.own(reader, end, draft, tag)) reader.skip(tag, end);
  }
  reader.within(end);
  const stale = (draft.flags & NO_RECORDED_VALUE) !== 0;
  const reason = stale ? null : faultOf(draft, fields);
  if (reason !== null) return { code: 'histogram', reason: `histogram: ${reason}` };
  return rowOf(draft, { fields, series, stale });
}

function rowOf(draft: Draft, of: { fields: Fields; series: string; stale: boolean }): HistogramRow {
  const explicit = of.fields === EXPLICIT;
  const positive = explicit ? { offset: -1, counts: draft.counts } : draft.positive;
  return {
    series: of.series,
    at_ms: draft.at_ms,
    count: exactInteger(draft.count),
    sum: draft.sum,
    min: draft.min,
    max: draft.max,
    schema: explicit ? CUSTOM_SCHEMA : draft.scale,
    zero_threshold: draft.zero_threshold,
    zero_count: exactInteger(draft.zero_count),
    positive_spans: spanOf(positive),
    positive_buckets: positive.counts.map(exactInteger),
    negative_spans: spanOf(draft.negative),
    negative_buckets: draft.negative.counts.map(exactInteger),
    custom_values: draft.bounds,
    reset_hint: 'unknown',
    start_ms: draft.start_ms,
    is_float: false,
    stale: of.stale,
  };
}

function spanOf({ offset, counts }: Buckets): { offset: number; length: number }[] {
  return counts.length === 0 ? [] : [{ offset: offset + 1, length: counts.length }];
}

function readCommon(
  reader: ProtobufReader,
  end: number,
  draft: Draft,
  { tag, fields }: { readonly tag: number; readonly fields: Fields },
): boolean {
  if (tag === 17 || tag === 25) {
    reader.fixed64(end);
    if (tag === 17) draft.start_ms = milliseconds(reader.low, reader.high);
    else draft.at_ms = milliseconds(reader.low, reader.high);
  } else if (tag === 33) draft.count = fixed(reader, end);
  else if (tag === 41) draft.sum = double(reader, end);
  else if (tag === 80) draft.flags = reader.varint32();
  else if (tag === fields.min) draft.min = double(reader, end);
  else if (tag === fields.max) draft.max = double(reader, end);
  else return false;
  return true;
}

function readExplicit(reader: ProtobufReader, end: number, draft: Draft, tag: number): boolean {
  const field = tag >>> 3;
  if (field !== 6 && field !== 7) return false;
  each(reader, end, { wire: tag & 7, single: WIRE.fixed64 }, (last) => {
    if (field === 6) limited(reader, draft.counts).push(fixed(reader, last));
    else {
      limited(reader, draft.bounds).push(double(reader, last));
      draft.bound_values.push(reader.view.getFloat64(reader.at - 8, true));
    }
  });
  return true;
}

function readExponential(reader: ProtobufReader, end: number, draft: Draft, tag: number): boolean {
  if (tag === 48) draft.scale = reader.zigzag32();
  else if (tag === 57) draft.zero_count = fixed(reader, end);
  else if (tag === 113) draft.zero_threshold = double(reader, end);
  else if (tag === 66) readBuckets(reader, reader.lengthEnd(end), draft.positive);
  else if (tag === 74) readBuckets(reader, reader.lengthEnd(end), draft.negative);
  else return false;
  return true;
}

/** Buckets { sint32 offset = 1; repeated uint64 bucket_counts = 2 }. */
function readBuckets(reader: ProtobufReader, end: number, buckets: Buckets): void {
  while (reader.at < end) {
    const tag = reader.tag();
    if (tag === 8) buckets.offset = reader.zigzag32();
    else if (tag >>> 3 === 2) {
      each(reader, end, { wire: tag & 7, single: WIRE.varint }, () => {
        reader.varint64();
        limited(reader, buckets.counts).push(unsigned(reader));
      });
    } else reader.skip(tag, end);
  }
  reader.within(end);
}

function faultOf(draft: Draft, fields: Fields): string | null {
  if (fields === EXPONENTIAL) {
    if (draft.scale < SCALE_MIN || draft.scale > SCALE_MAX) return `scale ${draft.scale}, expected -10 to 20`;
    return countFault(draft, [draft.zero_count, ...draft.positive.counts, ...draft.negative.counts]);
  }
  const { bound_values: bounds, counts } = draft;
  if (counts.length === 0 && bounds.length === 0) return null; // only a count and a sum: allowed
  if (counts.length !== bounds.length + 1) return `${counts.length} buckets for ${bounds.length} bounds`;
  if (bounds.some((bound, index) => !(bound < Infinity) || (index > 0 && !(bound > (bounds[index - 1] ?? NaN)))))
    return 'bounds that do not rise';
  return countFault(draft, counts);
}

function countFault(draft: Draft, counts: readonly bigint[]): string | null {
  const total = counts.reduce((sum, count) => sum + count, 0n);
  return total === draft.count ? null : `buckets hold ${total}, the count says ${draft.count}`;
}

function limited<Item>(reader: ProtobufReader, list: Item[]): Item[] {
  if (list.length >= LIMITS.histogram_buckets_max)
    throw reader.error(`a histogram of more than ${LIMITS.histogram_buckets_max} buckets`);
  return list;
}

function fixed(reader: ProtobufReader, end: number): bigint {
  reader.fixed64(end);
  return unsigned(reader);
}

/** The 64-bit number that was just read. */
function unsigned(reader: ProtobufReader): bigint {
  return (BigInt(reader.high >>> 0) << 32n) | BigInt(reader.low >>> 0);
}

function double(reader: ProtobufReader, end: number): ExactNumber {
  reader.fixed64(end);
  return exactBits(reader.low, reader.high);
}
