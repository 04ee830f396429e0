import type {
  exemplar,
  exponentialPoint,
  histogramPoint,
  numberPoint,
  summaryPoint,
  TestAttributes,
  TestValue,
} from './otlp-messages.ts';
import { hexOf } from './sample-rows.ts';

/** The same messages as otlp-messages.ts builds, as OTLP/JSON values: 64-bit numbers as strings, ids hexadecimal. */
type JsonObject = Readonly<Record<string, unknown>>;

function anyValue(value: TestValue): JsonObject {
  if (typeof value === 'string') return { stringValue: value };
  if (typeof value === 'boolean') return { boolValue: value };
  if (typeof value === 'bigint') return { intValue: value.toString() };
  if (typeof value === 'number') return { doubleValue: double(value) };
  if (value instanceof Uint8Array) return { bytesValue: Buffer.from(value).toString('base64') };
  if (isList(value)) return { arrayValue: { values: value.map(anyValue) } };
  return { kvlistValue: { values: attributes(value) } };
}

function isList(value: TestValue): value is readonly TestValue[] {
  return Array.isArray(value);
}

export function attributes(of: TestAttributes | undefined): JsonObject[] {
  return Object.entries(of ?? {}).map(([key, value]) => ({ key, value: anyValue(value) }));
}

function double(value: number): number | string {
  if (Object.is(value, -0)) return '-0'; // JSON.stringify would lose the sign
  return Number.isFinite(value) ? value : String(value);
}

const nanos = (at_ms: number): string => `${at_ms}000000`;

function optional(fields: Readonly<Record<string, unknown>>): JsonObject {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

export function jsonExemplar(one: Parameters<typeof exemplar>[0]): JsonObject {
  return optional({
    timeUnixNano: nanos(one.at_ms),
    ...(typeof one.value === 'number' ? { asDouble: double(one.value) } : { asInt: one.value.toString() }),
    spanId: one.span === undefined ? undefined : hexOf(one.span),
    traceId: one.trace === undefined ? undefined : hexOf(one.trace).toUpperCase(),
    filteredAttributes: attributes(one.attributes),
  });
}

export function jsonNumberPoint(
  point: Omit<Parameters<typeof numberPoint>[0], 'exemplars'>,
  exemplars: readonly JsonObject[],
): JsonObject {
  const { value } = point;
  return optional({
    attributes: attributes(point.attributes),
    startTimeUnixNano: nanos(point.at_ms - 60_000),
    timeUnixNano: nanos(point.at_ms),
    asDouble: typeof value === 'number' ? double(value) : undefined,
    asInt: typeof value === 'bigint' ? value.toString() : undefined,
    flags: point.flags,
    exemplars,
  });
}

export function jsonHistogramPoint(point: Parameters<typeof histogramPoint>[0]): JsonObject {
  return optional({
    startTimeUnixNano: nanos(point.at_ms - 60_000),
    timeUnixNano: nanos(point.at_ms),
    count: point.count.toString(),
    sum: point.sum === undefined ? undefined : double(point.sum),
    bucketCounts: point.counts.map(String),
    explicitBounds: point.bounds.map(double),
    attributes: attributes(point.attributes),
    flags: point.flags,
    min: point.min,
    max: point.max,
  });
}

export function jsonExponentialPoint(point: Parameters<typeof exponentialPoint>[0]): JsonObject {
  const buckets = (of: { offset: number; counts: readonly bigint[] } | undefined): JsonObject | undefined =>
    of === undefined ? undefined : { offset: of.offset, bucketCounts: of.counts.map(String) };
  return optional({
    timeUnixNano: nanos(point.at_ms),
    attributes: attributes(point.attributes),
    count: point.count.toString(),
    sum: point.sum === undefined ? undefined : double(point.sum),
    scale: point.scale,
    zeroCount: (point.zero_count ?? 0n).toString(),
    zeroThreshold: point.zero_threshold,
    positive: buckets(point.positive),
    negative: buckets(point.negative),
  });
}

export function jsonSummaryPoint(point: Parameters<typeof summaryPoint>[0]): JsonObject {
  return {
    timeUnixNano: nanos(point.at_ms),
    attributes: attributes(point.attributes),
    count: point.count.toString(),
    sum: double(point.sum),
    quantileValues: point.quantiles.map(([quantile, value]) => ({ quantile, value: double(value) })),
  };
}
