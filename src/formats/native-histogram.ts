import { LIMITS } from '../core/limits.ts';
import type { BucketSpan, ExactNumber, HistogramRow } from '../core/samples.ts';
import { exactBits, exactInteger } from './exact-number.ts';
import { type ProtobufReader, WIRE } from './protobuf-reader.ts';
import type { LabelFault } from './series-labels.ts';
import { STALE_HIGH, STALE_LOW } from './stale-marker.ts';

/** Schema of custom buckets, their bounds in `custom_values`. */
export const CUSTOM_SCHEMA = -53;
const RESET_HINTS = ['unknown', 'yes', 'no', 'gauge'] as const;

type Side = { spans: BucketSpan[]; deltas: bigint[]; counts: ExactNumber[]; floats: number[] };

/** A Histogram message as read, before it is checked. */
class HistogramDraft {
  is_float = false;
  count = 0n;
  zero = 0n;
  float_count: ExactNumber = 0;
  float_zero: ExactNumber = 0;
  sum: ExactNumber = 0;
  sum_value = 0;
  stale = false;
  schema = 0;
  zero_threshold: ExactNumber = 0;
  readonly positive: Side = { spans: [], deltas: [], counts: [], floats: [] };
  readonly negative: Side = { spans: [], deltas: [], counts: [], floats: [] };
  hint = 0;
  at_ms = 0;
  start_ms = 0;
  readonly custom: ExactNumber[] = [];
  readonly bounds: number[] = [];
}

/**
 * Reads a native histogram that ends at `end`: prometheus.Histogram and io.prometheus.write.v2.Histogram, whose fields
 * are the same (17, start_timestamp, since 2.0-rc.4 only). Gives the row, or why it is not one; the checks are those of
 * Prometheus (model/histogram, Validate): spans as long as the buckets, no negative count, buckets that add up to
 * the count (or stay below it when the sum is NaN), custom bounds that rise.
 */
export function readHistogram(reader: ProtobufReader, end: number, series: string): HistogramRow | LabelFault {
  const draft = new HistogramDraft();
  while (reader.at < end) readField(reader, end, draft);
  reader.within(end);
  const positive = draft.is_float ? draft.positive.counts : counted(draft.positive.deltas);
  const negative = draft.is_float ? draft.negative.counts : counted(draft.negative.deltas);
  const reason = draft.stale ? null : faultOf(draft);
  if (reason !== null) return { code: 'histogram', reason: `histogram: ${reason}` };
  return {
    series,
    at_ms: draft.at_ms,
    count: draft.is_float ? draft.float_count : exactInteger(draft.count),
    sum: draft.sum,
    min: null,
    max: null,
    schema: draft.schema,
    zero_threshold: draft.zero_threshold,
    zero_count: draft.is_float ? draft.float_zero : exactInteger(draft.zero),
    positive_spans: draft.positive.spans,
    positive_buckets: positive,
    negative_spans: draft.negative.spans,
    negative_buckets: negative,
    custom_values: draft.custom,
    reset_hint: RESET_HINTS[draft.hint] ?? 'unknown',
    start_ms: draft.start_ms,
    is_float: draft.is_float,
    stale: draft.stale,
  };
}

function readField(reader: ProtobufReader, end: number, draft: HistogramDraft): void {
  const tag = reader.tag();
  switch (tag) {
    case 8:
      draft.count = unsigned(reader);
      draft.is_float = false;
      return;
    case 17:
      draft.float_count = double(reader, end);
      draft.is_float = true;
      return;
    case 25:
      draft.sum = double(reader, end);
      draft.sum_value = doubleOf(reader);
      draft.stale = reader.low === STALE_LOW && reader.high === STALE_HIGH;
      return;
    case 32:
      draft.schema = reader.zigzag32();
      return;
    case 41:
      draft.zero_threshold = double(reader, end);
      return;
    case 48:
      draft.zero = unsigned(reader);
      return;
    case 57:
      draft.float_zero = double(reader, end);
      return;
    case 112:
      draft.hint = reader.int32();
      return;
    case 120:
      draft.at_ms = int64(reader);
      return;
    case 136:
      draft.start_ms = int64(reader);
      return;
    default:
      if (!readRepeated(reader, end, draft, tag)) reader.skip(tag, end);
  }
}

/** The repeated fields, numbers packed or not. False when the tag is none of them. */
function readRepeated(reader: ProtobufReader, end: number, draft: HistogramDraft, tag: number): boolean {
  const field = tag >>> 3;
  const wire = tag & 7;
  const side = field >= 11 ? draft.positive : draft.negative;
  if (field === 8 || field === 11) {
    if (wire !== WIRE.bytes) return false;
    limited(reader, side.spans).push(readSpan(reader, reader.lengthEnd(end)));
    return true;
  }
  if (field === 9 || field === 12) {
    each(reader, end, { wire, single: WIRE.varint }, () => limited(reader, side.deltas).push(zigzag64(reader)));
    return true;
  }
  if (field !== 10 && field !== 13 && field !== 16) return false;
  each(reader, end, { wire, single: WIRE.fixed64 }, (last) => {
    limited(reader, field === 16 ? draft.custom : side.counts).push(double(reader, last));
    (field === 16 ? draft.bounds : side.floats).push(doubleOf(reader));
  });
  return true;
}

function limited<Item>(reader: ProtobufReader, list: Item[]): Item[] {
  if (list.length >= LIMITS.histogram_buckets_max)
    throw reader.error(`a histogram of more than ${LIMITS.histogram_buckets_max} buckets`);
  return list;
}

/** Calls `read` for each number of a repeated field: a packed run, or one. Shared with the OTLP decoder. */
export function each(
  reader: ProtobufReader,
  end: number,
  wires: { readonly wire: number; readonly single: number },
  read: (end: number) => void,
): void {
  if (wires.wire === wires.single) {
    read(end);
    return;
  }
  if (wires.wire !== WIRE.bytes) throw reader.error('a list of numbers expected');
  const last = reader.lengthEnd(end);
  while (reader.at < last) read(last);
  reader.within(last);
}

function readSpan(reader: ProtobufReader, end: number): BucketSpan {
  let offset = 0;
  let length = 0;
  while (reader.at < end) {
    const tag = reader.tag();
    if (tag === 8) offset = reader.zigzag32();
    else if (tag === 16) length = reader.varint32();
    else reader.skip(tag, end);
  }
  reader.within(end);
  return { offset, length };
}

/** Counts from the differences between neighbours. */
function counted(deltas: readonly bigint[]): ExactNumber[] {
  let count = 0n;
  return deltas.map((delta) => exactInteger((count += delta)));
}

function faultOf(draft: HistogramDraft): string | null {
  const custom = draft.schema === CUSTOM_SCHEMA;
  if (!custom && (draft.schema < -4 || draft.schema > 8)) return `schema ${draft.schema}, expected -4 to 8 or -53`;
  if (custom && (draft.negative.spans.length > 0 || draft.zero !== 0n || draft.float_zero !== 0))
    return 'custom buckets with negative buckets or a zero bucket';
  if (!custom && draft.custom.length > 0) return 'custom bounds without schema -53';
  return (
    boundsFault(draft.bounds) ??
    sideFault(draft.positive, draft) ??
    sideFault(draft.negative, draft) ??
    countFault(draft)
  );
}

function boundsFault(bounds: readonly number[]): string | null {
  for (const [index, bound] of bounds.entries()) {
    const before = index === 0 ? -Infinity : (bounds[index - 1] ?? -Infinity);
    if (!(bound < Infinity) || !(bound > before || index === 0)) return 'custom bounds that do not rise';
  }
  return null;
}

function sideFault(side: Side, draft: HistogramDraft): string | null {
  const buckets = draft.is_float ? side.counts.length : side.deltas.length;
  let length = 0;
  let reach = 0;
  for (const [index, span] of side.spans.entries()) {
    if (index > 0 && span.offset < 0) return 'a span that begins before the one before it ends';
    length += span.length;
    reach += span.offset + span.length;
  }
  if (length !== buckets) return `spans for ${length} buckets, ${buckets} buckets given`;
  if (draft.schema === CUSTOM_SCHEMA && ((side.spans[0]?.offset ?? 0) < 0 || reach > draft.custom.length + 1))
    return `buckets beyond the ${draft.custom.length} custom bounds`;
  let count = 0n;
  for (const delta of side.deltas) {
    count += delta;
    if (!draft.is_float && count < 0n) return 'a bucket with a negative count';
  }
  return draft.is_float && side.floats.some((float) => float < 0) ? 'a bucket with a negative count' : null;
}

function countFault(draft: HistogramDraft): string | null {
  if (draft.is_float) return null; // sums of floats are rounded: nothing exact to hold them to
  let total = draft.zero;
  for (const { deltas } of [draft.positive, draft.negative]) {
    let count = 0n;
    for (const delta of deltas) total += count += delta;
  }
  if (Number.isNaN(draft.sum_value)) return total > draft.count ? `buckets hold ${total} of ${draft.count}` : null;
  return total === draft.count ? null : `buckets hold ${total}, the count says ${draft.count}`;
}

function unsigned(reader: ProtobufReader): bigint {
  reader.varint64();
  return (BigInt(reader.high >>> 0) << 32n) | BigInt(reader.low >>> 0);
}

function zigzag64(reader: ProtobufReader): bigint {
  const raw = unsigned(reader);
  return (raw >> 1n) ^ -(raw & 1n);
}

/** An int64 as a number; times are far below 2^53, and what is above is no time. */
function int64(reader: ProtobufReader): number {
  reader.varint64();
  return reader.high * 4_294_967_296 + (reader.low >>> 0);
}

function double(reader: ProtobufReader, end: number): ExactNumber {
  reader.fixed64(end);
  return exactBits(reader.low, reader.high);
}

/** The double that was just read as two words. */
function doubleOf(reader: ProtobufReader): number {
  return reader.view.getFloat64(reader.at - 8, true);
}
