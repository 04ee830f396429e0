import { type LeewayRecord, RECORD_TYPES, type RecordType } from './records.ts';

/**
 * How a column is kept: `text` LowCardinality string, `string` plain string, `integer` Int64, `real` Float64, `time`
 * Float64 Unix ms as sent, `flag` Bool, `json` JSON text, `id` UInt64 from a decimal string. A trailing `?` makes it
 * nullable.
 */
export type ColumnKind = 'text' | 'string' | 'integer' | 'real' | 'time' | 'flag' | 'json' | 'id';
export type Column = ColumnKind | `${ColumnKind}?`;

/** One wide typed table of the telemetry store, one a record type or kind of series row. */
export type Table = {
  /** The field that places a row in time; `at` DateTime64(3) is derived from it. */
  readonly time: string | null;
  /** The subject: `ORDER BY (key…, at, record_hash)`; equal records meet there and count once. */
  readonly key: readonly string[];
  /** Field → column. Fields that are not listed are kept as JSON in `rest`. */
  readonly columns: Readonly<Record<string, Column>>;
};

const interval = { from_ms: 'time', to_ms: 'time?' } as const;

/**
 * What open ingest (remote write, OTLP) stores beside samples: `series` says what the id of a sample means; the others are
 * rare next to samples. No sender writes these as records.
 */
export const SERIES_TABLES = ['series', 'histogram', 'exemplar', 'metadata'] as const;
export type SeriesTable = (typeof SERIES_TABLES)[number];

/** A table with typed columns and a row a record. */
export type TypedTable = RecordType | SeriesTable;

/** The narrow table of samples has a layout of its own (formats/sample-frame.ts): id, time, scaled value. */
export const SAMPLES = 'samples';

/** Every table that frames carry rows of. */
export type TableName = TypedTable | typeof SAMPLES;

/** A row on its way to a typed table: a record, or a row of a series table. */
export type StoredRecord = LeewayRecord | { readonly type: SeriesTable; readonly [field: string]: unknown };

/** Every table by record type. Adding a field here is a migration of the store (`ADD COLUMN`), never a change of meaning. */
export const TABLES = {
  job: {
    time: 'at_ms',
    key: ['job'],
    columns: {
      job: 'text',
      attempt: 'integer?',
      at_ms: 'time',
      world_size: 'integer',
      ranks: 'json',
      gpu_usd_per_hour: 'real?',
      model: 'text?',
      team: 'text?',
    },
  },
  step: {
    time: 'at_ms',
    key: ['job', 'rank', 'step'],
    columns: {
      job: 'text',
      attempt: 'integer?',
      rank: 'integer',
      step: 'integer',
      at_ms: 'time',
      duration_ms: 'real',
      compute_ms: 'real',
      data_ms: 'real',
      wait_ms: 'real?',
      transfer_ms: 'real?',
      tokens: 'real?',
      samples: 'real?',
      loss: 'real?',
      accuracy: 'real?',
      grad_norm: 'real?',
      phase: 'text',
      collectives: 'json?',
    },
  },
  heartbeat: {
    time: 'at_ms',
    key: ['job', 'rank'],
    columns: {
      job: 'text',
      attempt: 'integer?',
      rank: 'integer',
      at_ms: 'time',
      step: 'integer',
      state: 'text',
      group: 'text?',
      op: 'text?',
      seq: 'integer?',
    },
  },
  phase: {
    time: 'at_ms',
    key: ['job'],
    columns: { job: 'text', attempt: 'integer?', at_ms: 'time', phase: 'text', state: 'text', rank: 'integer?' },
  },
  checkpoint: {
    time: 'at_ms',
    key: ['job'],
    columns: { job: 'text', at_ms: 'time', step: 'integer', durable: 'flag', bytes: 'real?' },
  },
  gpu: {
    time: 'at_ms',
    key: ['node', 'gpu'],
    columns: {
      node: 'text',
      gpu: 'json',
      at_ms: 'time',
      utilization: 'real?',
      sm_active: 'real?',
      memory_used_bytes: 'real?',
      memory_total_bytes: 'real?',
      sm_clock_mhz: 'real?',
      sm_clock_max_mhz: 'real?',
      temperature_c: 'real?',
      power_w: 'real?',
      energy_j: 'real?',
      throttle: 'json?',
      ecc_uncorrected: 'real?',
      xid: 'integer?',
      nvlink_tx_bytes: 'real?',
      nvlink_rx_bytes: 'real?',
      nvlink_errors: 'real?',
      pcie_tx_bytes: 'real?',
      pcie_rx_bytes: 'real?',
      pcie_generation: 'real?',
      pcie_width: 'real?',
    },
  },
  nic: {
    time: 'at_ms',
    key: ['node', 'device'],
    columns: {
      node: 'text',
      device: 'text',
      at_ms: 'time',
      tx_bytes: 'real?',
      rx_bytes: 'real?',
      pfc_frames: 'real?',
      retransmits: 'real?',
      link_downed: 'real?',
    },
  },
  host: {
    time: 'at_ms',
    key: ['node'],
    columns: {
      node: 'text',
      at_ms: 'time',
      cpu_utilization: 'real?',
      iowait: 'real?',
      memory_used_bytes: 'real?',
      swap_in: 'real?',
    },
  },
  inference: {
    time: 'at_ms',
    key: ['model', 'version', 'replica'],
    columns: {
      model: 'text',
      version: 'text',
      replica: 'text',
      node: 'text?',
      gpu: 'json?',
      provider: 'text',
      at_ms: 'time',
      window_ms: 'real',
      requests: 'integer',
      errors: 'integer',
      queue_ms: 'json',
      compute_ms: 'json',
      total_ms: 'json',
      batch: 'json?',
      shape_bucket: 'text?',
    },
  },
  prediction: {
    time: 'at_ms',
    key: ['model', 'version', 'request_id'],
    columns: {
      model: 'text',
      version: 'text',
      request_id: 'string',
      at_ms: 'time',
      features: 'json',
      prediction: 'json',
      scores: 'json?',
      embedding: 'json?',
      segment: 'json?',
      tenant: 'json?',
    },
  },
  label: {
    time: 'at_ms',
    key: ['model', 'request_id'],
    columns: { model: 'text', request_id: 'string', at_ms: 'time', label: 'json' },
  },
  counts: {
    time: 'from_ms',
    key: ['model', 'version', 'feature', 'edges_id'],
    columns: {
      model: 'text',
      version: 'text',
      feature: 'text',
      edges_id: 'text',
      ...interval,
      segment: 'json?',
      counts: 'json',
      sums: 'json?',
      missing: 'integer',
      n: 'integer',
    },
  },
  deploy: {
    time: 'at_ms',
    key: ['model', 'version'],
    columns: {
      model: 'text',
      version: 'text',
      at_ms: 'time',
      previous: 'text?',
      action: 'text',
      traffic_ratio: 'real?',
    },
  },
  asset: { time: 'from_ms', key: ['id'], columns: { id: 'text', ...interval } },
  price: {
    time: 'from_ms',
    key: [],
    columns: {
      from_ms: 'time',
      asset: 'text?',
      instance_type: 'text?',
      region: 'text?',
      pricing: 'text?',
      usd_per_hour: 'string',
    },
  },
  claim: {
    time: 'from_ms',
    key: ['asset', 'tenant'],
    columns: { asset: 'text', tenant: 'json', ...interval, mode: 'text' },
  },
  busy: { time: 'from_ms', key: ['asset', 'tenant'], columns: { asset: 'text', tenant: 'json', ...interval } },
  bucket: {
    time: 'from_ms',
    key: ['run', 'asset'],
    columns: { run: 'text', asset: 'text', ...interval, bucket: 'text' },
  },
  served: {
    time: 'from_ms',
    key: ['model', 'asset'],
    columns: { model: 'text', asset: 'text', tenant: 'json', ...interval },
  },
  overhead: {
    time: 'from_ms',
    key: ['id'],
    columns: { id: 'text', ...interval, usd_per_hour: 'string', split: 'text' },
  },
  transfer: { time: 'from_ms', key: ['tenant'], columns: { tenant: 'json', ...interval } },
  storage: { time: 'from_ms', key: ['id'], columns: { id: 'text', ...interval } },
  commitment: { time: 'from_ms', key: ['id'], columns: { id: 'text', ...interval } },
  correction: { time: 'from_ms', key: ['asset'], columns: { asset: 'text', ...interval, usd: 'string' } },
  budget: { time: null, key: [], columns: { scope: 'json', period: 'text', usd: 'string' } },
  // no time: a series that is announced again by every restart stays one row
  series: {
    time: null,
    key: ['metric', 'id'],
    columns: { id: 'id', metric: 'text', labels: 'json', kind: 'text?', unit: 'text?', help: 'string?' },
  },
  histogram: {
    time: 'at_ms',
    key: ['series'],
    columns: { series: 'id', at_ms: 'time', count: 'json', sum: 'json', schema: 'integer', is_float: 'flag' },
  },
  exemplar: { time: 'at_ms', key: ['series'], columns: { series: 'id', at_ms: 'time', value: 'json', labels: 'json' } },
  metadata: {
    time: null,
    key: ['metric'],
    columns: { metric: 'text', kind: 'text?', unit: 'text?', help: 'string?' },
  },
} as const satisfies Record<TypedTable, Table>;

export const TYPED_TABLES: readonly TypedTable[] = [...RECORD_TYPES, ...SERIES_TABLES];
export const TABLE_NAMES: readonly TableName[] = [...TYPED_TABLES, SAMPLES];
