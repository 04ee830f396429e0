/** A field: its number, its type (a scalar as the JSON decoder names it, else a message) and whether it is repeated. */
export type SchemaField = { readonly number: number; readonly type: string; readonly repeated: boolean };

function one(number: number, type: string): SchemaField {
  return { number, type, repeated: false };
}

function many(number: number, type: string): SchemaField {
  return { number, type, repeated: true };
}

const POINT_TIMES = { startTimeUnixNano: one(2, 'fixed64'), timeUnixNano: one(3, 'fixed64') } as const;
const POINTS_AND_TEMPORALITY = { aggregationTemporality: one(2, 'temporality') } as const;

/**
 * The messages of ExportMetricsServiceRequest by their JSON names: opentelemetry-proto collector/metrics/v1,
 * metrics/v1, common/v1 and resource/v1 (release 1.9, fields unchanged since 1.0). uint64 bucket counts are written
 * like int64, the wire being the same.
 */
export const OTLP_SCHEMA: Readonly<Record<string, Readonly<Record<string, SchemaField>>>> = {
  Request: { resourceMetrics: many(1, 'ResourceMetrics') },
  ResourceMetrics: { resource: one(1, 'Resource'), scopeMetrics: many(2, 'ScopeMetrics') },
  Resource: { attributes: many(1, 'KeyValue') },
  ScopeMetrics: { scope: one(1, 'Scope'), metrics: many(2, 'Metric') },
  Scope: { name: one(1, 'string'), version: one(2, 'string'), attributes: many(3, 'KeyValue') },
  Metric: {
    name: one(1, 'string'),
    description: one(2, 'string'),
    unit: one(3, 'string'),
    gauge: one(5, 'Gauge'),
    sum: one(7, 'Sum'),
    histogram: one(9, 'Histogram'),
    exponentialHistogram: one(10, 'ExponentialHistogram'),
    summary: one(11, 'Summary'),
  },
  Gauge: { dataPoints: many(1, 'NumberDataPoint') },
  Sum: { dataPoints: many(1, 'NumberDataPoint'), ...POINTS_AND_TEMPORALITY, isMonotonic: one(3, 'bool') },
  Histogram: { dataPoints: many(1, 'HistogramDataPoint'), ...POINTS_AND_TEMPORALITY },
  ExponentialHistogram: { dataPoints: many(1, 'ExponentialHistogramDataPoint'), ...POINTS_AND_TEMPORALITY },
  Summary: { dataPoints: many(1, 'SummaryDataPoint') },
  NumberDataPoint: {
    ...POINT_TIMES,
    asDouble: one(4, 'double'),
    exemplars: many(5, 'Exemplar'),
    asInt: one(6, 'fixed64'),
    attributes: many(7, 'KeyValue'),
    flags: one(8, 'uint32'),
  },
  HistogramDataPoint: {
    ...POINT_TIMES,
    count: one(4, 'fixed64'),
    sum: one(5, 'double'),
    bucketCounts: many(6, 'fixed64'),
    explicitBounds: many(7, 'double'),
    exemplars: many(8, 'Exemplar'),
    attributes: many(9, 'KeyValue'),
    flags: one(10, 'uint32'),
    min: one(11, 'double'),
    max: one(12, 'double'),
  },
  ExponentialHistogramDataPoint: {
    attributes: many(1, 'KeyValue'),
    ...POINT_TIMES,
    count: one(4, 'fixed64'),
    sum: one(5, 'double'),
    scale: one(6, 'sint32'),
    zeroCount: one(7, 'fixed64'),
    positive: one(8, 'Buckets'),
    negative: one(9, 'Buckets'),
    flags: one(10, 'uint32'),
    exemplars: many(11, 'Exemplar'),
    min: one(12, 'double'),
    max: one(13, 'double'),
    zeroThreshold: one(14, 'double'),
  },
  Buckets: { offset: one(1, 'sint32'), bucketCounts: many(2, 'int64') },
  SummaryDataPoint: {
    ...POINT_TIMES,
    count: one(4, 'fixed64'),
    sum: one(5, 'double'),
    quantileValues: many(6, 'ValueAtQuantile'),
    attributes: many(7, 'KeyValue'),
    flags: one(8, 'uint32'),
  },
  ValueAtQuantile: { quantile: one(1, 'double'), value: one(2, 'double') },
  Exemplar: {
    timeUnixNano: one(2, 'fixed64'),
    asDouble: one(3, 'double'),
    spanId: one(4, 'hex'),
    traceId: one(5, 'hex'),
    asInt: one(6, 'fixed64'),
    filteredAttributes: many(7, 'KeyValue'),
  },
  KeyValue: { key: one(1, 'string'), value: one(2, 'AnyValue') },
  AnyValue: {
    stringValue: one(1, 'string'),
    boolValue: one(2, 'bool'),
    intValue: one(3, 'int64'),
    doubleValue: one(4, 'double'),
    arrayValue: one(5, 'ArrayValue'),
    kvlistValue: one(6, 'KeyValueList'),
    bytesValue: one(7, 'bytes'),
  },
  ArrayValue: { values: many(1, 'AnyValue') },
  KeyValueList: { values: many(1, 'KeyValue') },
};
