import {
  bytes,
  double,
  type Field,
  fixed,
  joined,
  message,
  packedDoubles,
  packedFixed,
  packedVarints,
  sint,
  text,
  uint,
} from './protobuf-writer.ts';

/** An attribute value as the tests write it; bigint for int_value, Uint8Array for bytes_value. */
export type TestValue =
  | string
  | boolean
  | bigint
  | number
  | Uint8Array
  | readonly TestValue[]
  | { readonly [key: string]: TestValue };
export type TestAttributes = Readonly<Record<string, TestValue>>;

export type TestMetric = {
  readonly name: string;
  readonly unit?: string;
  readonly description?: string;
  readonly gauge?: readonly Field[];
  readonly sum?: { readonly points: readonly Field[]; readonly temporality: number; readonly monotonic: boolean };
  readonly histogram?: { readonly points: readonly Field[]; readonly temporality: number };
  readonly exponential?: { readonly points: readonly Field[]; readonly temporality: number };
  readonly summary?: readonly Field[];
};
export type TestResource = {
  readonly resource?: TestAttributes;
  readonly scope?: { readonly name: string; readonly version?: string; readonly attributes?: TestAttributes };
  readonly metrics: readonly TestMetric[];
};

export function anyValue(value: TestValue): Field {
  if (typeof value === 'string') return text(1, value);
  if (typeof value === 'boolean') return uint(2, value ? 1 : 0);
  if (typeof value === 'bigint') return uint(3, value);
  if (typeof value === 'number') return double(4, value);
  if (value instanceof Uint8Array) return bytes(7, value);
  if (isList(value)) return message(5, ...value.map((item) => message(1, anyValue(item))));
  return message(6, ...keyValues(1, value));
}

function isList(value: TestValue): value is readonly TestValue[] {
  return Array.isArray(value);
}

export function keyValues(field: number, attributes: TestAttributes): Field[] {
  return Object.entries(attributes).map(([key, value]) => message(field, text(1, key), message(2, anyValue(value))));
}

export const nanos = (at_ms: number): bigint => BigInt(at_ms) * 1_000_000n;

/** A NumberDataPoint in field order, as generated encoders write it. */
export function numberPoint(point: {
  readonly attributes?: TestAttributes;
  readonly at_ms: number;
  readonly value?: number | bigint;
  readonly flags?: number;
  readonly exemplars?: readonly Field[];
}): Field {
  const { value } = point;
  return joined(
    fixed(2, nanos(point.at_ms - 60_000)),
    fixed(3, nanos(point.at_ms)),
    ...(typeof value === 'number' ? [double(4, value)] : []),
    ...(point.exemplars ?? []).map((one) => bytes(5, one)),
    ...(typeof value === 'bigint' ? [fixed(6, value)] : []),
    ...keyValues(7, point.attributes ?? {}),
    ...(point.flags === undefined ? [] : [uint(8, point.flags)]),
  );
}

export function exemplar(one: {
  readonly attributes?: TestAttributes;
  readonly at_ms: number;
  readonly value: number | bigint;
  readonly trace?: Uint8Array;
  readonly span?: Uint8Array;
}): Field {
  return joined(
    fixed(2, nanos(one.at_ms)),
    typeof one.value === 'number' ? double(3, one.value) : fixed(6, one.value),
    ...(one.span === undefined ? [] : [bytes(4, one.span)]),
    ...(one.trace === undefined ? [] : [bytes(5, one.trace)]),
    ...keyValues(7, one.attributes ?? {}),
  );
}

export function histogramPoint(point: {
  readonly attributes?: TestAttributes;
  readonly at_ms: number;
  readonly count: bigint;
  readonly sum?: number;
  readonly counts: readonly bigint[];
  readonly bounds: readonly number[];
  readonly min?: number;
  readonly max?: number;
  readonly flags?: number;
  readonly exemplars?: readonly Field[];
}): Field {
  return joined(
    fixed(2, nanos(point.at_ms - 60_000)),
    fixed(3, nanos(point.at_ms)),
    fixed(4, point.count),
    ...(point.sum === undefined ? [] : [double(5, point.sum)]),
    packedFixed(6, point.counts),
    packedDoubles(7, point.bounds),
    ...(point.exemplars ?? []).map((one) => bytes(8, one)),
    ...keyValues(9, point.attributes ?? {}),
    ...(point.flags === undefined ? [] : [uint(10, point.flags)]),
    ...(point.min === undefined ? [] : [double(11, point.min)]),
    ...(point.max === undefined ? [] : [double(12, point.max)]),
  );
}

type TestBuckets = { readonly offset: number; readonly counts: readonly bigint[] };

export function exponentialPoint(point: {
  readonly attributes?: TestAttributes;
  readonly at_ms: number;
  readonly count: bigint;
  readonly sum?: number;
  readonly scale: number;
  readonly zero_count?: bigint;
  readonly zero_threshold?: number;
  readonly positive?: TestBuckets;
  readonly negative?: TestBuckets;
}): Field {
  const buckets = (field: number, of: TestBuckets | undefined): Field[] =>
    of === undefined ? [] : [message(field, sint(1, of.offset), packedVarints(2, of.counts))];
  return joined(
    ...keyValues(1, point.attributes ?? {}),
    fixed(3, nanos(point.at_ms)),
    fixed(4, point.count),
    ...(point.sum === undefined ? [] : [double(5, point.sum)]),
    sint(6, point.scale),
    fixed(7, point.zero_count ?? 0n),
    ...buckets(8, point.positive),
    ...buckets(9, point.negative),
    ...(point.zero_threshold === undefined ? [] : [double(14, point.zero_threshold)]),
  );
}

export function summaryPoint(point: {
  readonly attributes?: TestAttributes;
  readonly at_ms: number;
  readonly count: bigint;
  readonly sum: number;
  readonly quantiles: readonly (readonly [number, number])[];
}): Field {
  return joined(
    fixed(3, nanos(point.at_ms)),
    fixed(4, point.count),
    double(5, point.sum),
    ...point.quantiles.map(([quantile, value]) => message(6, double(1, quantile), double(2, value))),
    ...keyValues(7, point.attributes ?? {}),
  );
}

function metric(one: TestMetric): Field {
  const points = (of: readonly Field[]): Field[] => of.map((point) => bytes(1, point));
  return message(
    2,
    text(1, one.name),
    ...(one.description === undefined ? [] : [text(2, one.description)]),
    ...(one.unit === undefined ? [] : [text(3, one.unit)]),
    ...(one.gauge === undefined ? [] : [message(5, ...points(one.gauge))]),
    ...(one.sum === undefined
      ? []
      : [message(7, ...points(one.sum.points), uint(2, one.sum.temporality), uint(3, one.sum.monotonic ? 1 : 0))]),
    ...(one.histogram === undefined
      ? []
      : [message(9, ...points(one.histogram.points), uint(2, one.histogram.temporality))]),
    ...(one.exponential === undefined
      ? []
      : [message(10, ...points(one.exponential.points), uint(2, one.exponential.temporality))]),
    ...(one.summary === undefined ? [] : [message(11, ...points(one.summary))]),
  );
}

/** ExportMetricsServiceRequest, one scope a resource. */
export function otlpRequest(resources: readonly TestResource[]): Uint8Array {
  return joined(
    ...resources.map(({ resource, scope, metrics }) =>
      message(
        1,
        ...(resource === undefined ? [] : [message(1, ...keyValues(1, resource))]),
        message(
          2,
          ...(scope === undefined
            ? []
            : [message(1, text(1, scope.name), text(2, scope.version ?? ''), ...keyValues(3, scope.attributes ?? {}))]),
          ...metrics.map(metric),
        ),
      ),
    ),
  );
}
