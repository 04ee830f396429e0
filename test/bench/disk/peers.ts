import { NativeWriter } from '../../../src/formats/native.ts';
import type { WritingSession } from '../../../src/store/engine.ts';
import { hashSql } from './checksum.ts';
import type { Chunk, Series } from './corpus.ts';

/** A layout of another project: its tables, how a chunk gets in, and what is counted. */
export type Peer = {
  readonly name: string;
  /** `database.table` of the samples. */
  readonly samples: string;
  /** Tables that belong to it and are listed beside it. */
  readonly beside: readonly string[];
  readonly create: readonly string[];
  /** Fills `beside` from the list of series. */
  readonly series: readonly string[];
  readonly insert: (source: string) => string;
  readonly sums: string;
  /** A column that a reader may wish to leave out of the comparison. */
  readonly separate?: string;
};

/** Columns of a chunk's file, and the list of series that it is joined with. */
const CHUNK_STRUCTURE = 'number UInt32, at Int64, v Float64';
const CREATE_LIST = `CREATE TABLE bench.series (number UInt32, metric String, unit String, help String,
  labels Map(LowCardinality(String), String)) ENGINE = Memory`;

/**
 * SigNoz/signoz-otel-collector @75a995d09efe44c98652f2ae8d5771eb57675b29, cmd/signozschemamigrator/schema_migrator:
 * squashed_metrics_migrations.go (7 and 9) with the columns that metrics_migrations.go adds (1000, 1001, 1003, 1007) and the
 * index that it drops (1006). `inserted_at_unix_milli` is one time for a batch of ten seconds, as a collector's batch processor sends.
 */
const SIGNOZ: Peer = {
  name: 'SigNoz samples_v4',
  samples: 'signoz_metrics.samples_v4',
  beside: ['signoz_metrics.time_series_v4'],
  separate: 'inserted_at_unix_milli',
  create: [
    'CREATE DATABASE signoz_metrics',
    `CREATE TABLE signoz_metrics.samples_v4 (
  env LowCardinality(String) DEFAULT 'default', temporality LowCardinality(String) DEFAULT 'Unspecified',
  metric_name LowCardinality(String), fingerprint UInt64 CODEC(Delta(8), ZSTD(1)),
  unix_milli Int64 CODEC(DoubleDelta, ZSTD(1)), value Float64 CODEC(Gorilla, ZSTD(1)),
  flags UInt32 DEFAULT 0 CODEC(ZSTD(1)), inserted_at_unix_milli Int64 CODEC(ZSTD(1)))
ENGINE = MergeTree PARTITION BY toDate(unix_milli / 1000)
ORDER BY (env, temporality, metric_name, fingerprint, unix_milli)
TTL toDateTime(unix_milli / 1000) + toIntervalSecond(2592000)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1`,
    `CREATE TABLE signoz_metrics.time_series_v4 (
  env LowCardinality(String) DEFAULT 'default', temporality LowCardinality(String) DEFAULT 'Unspecified',
  metric_name LowCardinality(String), description LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  unit LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)), type LowCardinality(String) DEFAULT '' CODEC(ZSTD(1)),
  is_monotonic Bool DEFAULT false CODEC(ZSTD(1)), fingerprint UInt64 CODEC(Delta(8), ZSTD(1)),
  unix_milli Int64 CODEC(Delta(8), ZSTD(1)), labels String CODEC(ZSTD(5)),
  attrs Map(LowCardinality(String), String) DEFAULT map() CODEC(ZSTD(1)),
  scope_attrs Map(LowCardinality(String), String) DEFAULT map() CODEC(ZSTD(1)),
  resource_attrs Map(LowCardinality(String), String) DEFAULT map() CODEC(ZSTD(1)),
  __normalized Bool DEFAULT true CODEC(ZSTD(1)), inserted_at_unix_milli Int64 CODEC(ZSTD(1)))
ENGINE = ReplacingMergeTree PARTITION BY toDate(unix_milli / 1000)
ORDER BY (env, temporality, metric_name, fingerprint, unix_milli)
TTL toDateTime(unix_milli / 1000) + toIntervalSecond(2592000)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1`,
  ],
  // a row a series and hour, as the exporter writes them
  series: [
    `INSERT INTO signoz_metrics.time_series_v4 (metric_name, description, unit, type, fingerprint, unix_milli, labels, attrs, inserted_at_unix_milli)
SELECT metric, help, unit, 'Gauge', cityHash64(metric, labels), hour_ms, toJSONString(labels), labels, hour_ms
FROM bench.series CROSS JOIN (SELECT DISTINCT intDiv(unix_milli, 3600000) * 3600000 AS hour_ms FROM signoz_metrics.samples_v4) AS hours`,
  ],
  insert: (
    source,
  ) => `INSERT INTO signoz_metrics.samples_v4 (env, temporality, metric_name, fingerprint, unix_milli, value, flags, inserted_at_unix_milli)
SELECT 'default', 'Unspecified', metric, cityHash64(metric, labels), at, v, 0, intDiv(at, 10000) * 10000 + 10137
FROM ${source} AS sent INNER JOIN bench.series AS list USING number`,
  sums: `SELECT metric, uuid, count() AS n, ${hashSql('value', 'unix_milli')} AS hash
FROM signoz_metrics.samples_v4 INNER JOIN (SELECT cityHash64(metric, labels) AS fingerprint, metric, labels['uuid'] AS uuid FROM bench.series) AS list USING fingerprint
GROUP BY metric, uuid`,
};

/**
 * open-telemetry/opentelemetry-collector-contrib @e3bd2d1d648f1868f50a8f2c1b68f7ce451ee6eb,
 * exporter/clickhouseexporter/internal/sqltemplates/metrics_gauge_table.sql, with its default engine and without a TTL.
 */
const OTEL: Peer = {
  name: 'OTel exporter gauge',
  samples: 'otel.otel_metrics_gauge',
  beside: [],
  create: [
    'CREATE DATABASE otel',
    `CREATE TABLE otel.otel_metrics_gauge (
  ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)), ResourceSchemaUrl String CODEC(ZSTD(1)),
  ScopeName String CODEC(ZSTD(1)), ScopeVersion String CODEC(ZSTD(1)),
  ScopeAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)), ScopeDroppedAttrCount UInt32 CODEC(ZSTD(1)),
  ScopeSchemaUrl String CODEC(ZSTD(1)), ServiceName LowCardinality(String) CODEC(ZSTD(1)),
  MetricName String CODEC(ZSTD(1)), MetricDescription String CODEC(ZSTD(1)), MetricUnit String CODEC(ZSTD(1)),
  Attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)), StartTimeUnix DateTime64(9) CODEC(Delta, ZSTD(1)),
  TimeUnix DateTime64(9) CODEC(Delta, ZSTD(1)), Value Float64 CODEC(ZSTD(1)), Flags UInt32 CODEC(ZSTD(1)),
  Exemplars Nested (FilteredAttributes Map(LowCardinality(String), String), TimeUnix DateTime64(9), Value Float64,
    SpanId String, TraceId String) CODEC(ZSTD(1)),
  INDEX idx_res_attr_key mapKeys(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_res_attr_value mapValues(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_scope_attr_key mapKeys(ScopeAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_scope_attr_value mapValues(ScopeAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_attr_key mapKeys(Attributes) TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX idx_attr_value mapValues(Attributes) TYPE bloom_filter(0.01) GRANULARITY 1)
ENGINE = MergeTree PARTITION BY toDate(TimeUnix)
ORDER BY (ServiceName, MetricName, Attributes, toUnixTimestamp64Nano(TimeUnix))
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1`,
  ],
  series: [],
  insert: (
    source,
  ) => `INSERT INTO otel.otel_metrics_gauge (ResourceAttributes, ScopeName, ServiceName, MetricName, MetricDescription, MetricUnit, Attributes, StartTimeUnix, TimeUnix, Value)
SELECT map('host.name', labels['instance'], 'k8s.cluster.name', labels['cluster'], 'service.name', labels['job']), 'gpu',
  labels['job'], metric, help, unit, map('gpu', labels['gpu'], 'uuid', labels['uuid']), toDateTime64(0, 9),
  fromUnixTimestamp64Nano(at * 1000000), v
FROM ${source} AS sent INNER JOIN bench.series AS list USING number`,
  sums: `SELECT MetricName AS metric, Attributes['uuid'] AS uuid, count() AS n,
  ${hashSql('Value', 'intDiv(toUnixTimestamp64Nano(TimeUnix), 1000000)')} AS hash FROM otel.otel_metrics_gauge GROUP BY metric, uuid`,
};

export const PEERS: readonly Peer[] = [SIGNOZ, OTEL];

/** Makes the tables of both, and the list of series that chunks are joined with. */
export async function createPeers(session: WritingSession, series: readonly Series[]): Promise<void> {
  for (const sql of ['CREATE DATABASE bench', CREATE_LIST, ...PEERS.flatMap(({ create }) => create)])
    await session.command(sql);
  const rows = series.map(({ number, metric, labels }) => ({
    number,
    metric: metric.name,
    unit: metric.unit,
    help: metric.help,
    labels,
  }));
  await session.insert('bench.series', rows);
}

/** A chunk as a block of the engine's own format. */
export function chunkBlock({ rows, series, at_ms, value }: Chunk): Buffer {
  const writer = new NativeWriter(rows * 20 + 256);
  writer.varint(3);
  writer.varint(rows);
  for (const [name, type, column] of [
    ['number', 'UInt32', series],
    ['at', 'Int64', at_ms],
    ['v', 'Float64', value],
  ] as const) {
    writer.column(name, type);
    writer.raw(column);
  }
  return writer.take();
}

/** Inserts the chunk in `path` into the tables of both. */
export async function insertChunk(session: WritingSession, path: string): Promise<void> {
  for (const peer of PEERS) await session.read({ path }, CHUNK_STRUCTURE, peer.insert);
}
