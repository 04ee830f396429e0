import Type, { type Static, type TProperties } from 'typebox';
import { LIMITS } from './limits.ts';

// Contract: events.md. Required fields reject the record when missing; unknown fields are kept.

const text = Type.String({ maxLength: 4096 });
const name = Type.String({ minLength: 1, maxLength: 512 });
const real = Type.Number();
const positive = Type.Number({ minimum: 0 });
const ratio = Type.Number({ minimum: 0, maximum: 1 });
const count = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const time = Type.Number({ minimum: LIMITS.time_ms_min, maximum: LIMITS.time_ms_max });
/** A counter or amount of money of the ledger: exact limits are the ledger's (cost.md), the door only asks for its kind. */
const ledgerNumber = Type.Union([Type.Number(), Type.String({ maxLength: 64 })]);
const ledgerTime = Type.Number({ minimum: 0, maximum: 253_402_300_799_999 });
const money = Type.String({ maxLength: 64 });
const tenant = Type.Record(Type.String(), Type.String());
const maybe = Type.Optional;
const indexOrName = Type.Union([count, name]);
const quality = maybe(Type.Record(Type.String(), Type.String()));

/** Counts by bucket: `counts` has one more entry than `bounds` (the last is above the last bound). */
const histogram = Type.Object({
  bounds: Type.Array(real, { maxItems: 512 }),
  counts: Type.Array(positive, { maxItems: 513 }),
  sum: real,
});

function record<Kind extends string, Fields extends TProperties>(kind: Kind, fields: Fields) {
  return Type.Object({ type: Type.Literal(kind), ...fields }, { additionalProperties: true });
}

/** Schemas of all record types, version 1. Units are in the names: `_ms` Unix or duration milliseconds, ratios 0..1. */
export const RECORD_SCHEMAS = {
  job: record('job', {
    job: name,
    attempt: maybe(count),
    at_ms: time,
    world_size: count,
    ranks: Type.Array(
      Type.Object(
        {
          rank: count,
          node: text,
          gpu: maybe(indexOrName),
          local_rank: maybe(count),
          dp: maybe(count),
          pp: maybe(count),
          tp: maybe(count),
          ep: maybe(count),
        },
        { additionalProperties: true },
      ),
      { maxItems: 65_536 },
    ),
    gpu_usd_per_hour: maybe(positive),
    model: maybe(text),
    team: maybe(text),
    versions: maybe(Type.Record(Type.String(), Type.String())),
  }),
  step: record('step', {
    job: name,
    attempt: maybe(count),
    rank: count,
    step: count,
    at_ms: time,
    duration_ms: positive,
    compute_ms: positive,
    data_ms: positive,
    wait_ms: maybe(positive),
    transfer_ms: maybe(positive),
    tokens: maybe(positive),
    samples: maybe(positive),
    loss: maybe(real),
    accuracy: maybe(real),
    grad_norm: maybe(real),
    phase: Type.Union([
      Type.Literal('train'),
      Type.Literal('eval'),
      Type.Literal('checkpoint'),
      Type.Literal('warmup'),
    ]),
    collectives: maybe(
      Type.Array(
        Type.Object(
          { group: text, op: text, seq: count, bytes: positive, arrive_ms: real, end_ms: real },
          { additionalProperties: true },
        ),
        { maxItems: 10_000 },
      ),
    ),
  }),
  heartbeat: record('heartbeat', {
    job: name,
    attempt: maybe(count),
    rank: count,
    at_ms: time,
    step: count,
    state: Type.Union([
      Type.Literal('running'),
      Type.Literal('in_collective'),
      Type.Literal('waiting_data'),
      Type.Literal('checkpoint'),
      Type.Literal('exited'),
    ]),
    group: maybe(text),
    op: maybe(text),
    seq: maybe(count),
  }),
  phase: record('phase', {
    job: name,
    at_ms: time,
    phase: Type.Union([
      Type.Literal('compile'),
      Type.Literal('warmup'),
      Type.Literal('train'),
      Type.Literal('eval'),
      Type.Literal('checkpoint'),
      Type.Literal('resume'),
    ]),
    state: Type.Union([Type.Literal('begin'), Type.Literal('end')]),
    rank: maybe(count),
    attempt: maybe(count),
  }),
  checkpoint: record('checkpoint', {
    job: name,
    at_ms: time,
    step: count,
    durable: Type.Boolean(),
    bytes: maybe(positive),
  }),
  gpu: record('gpu', {
    node: name,
    gpu: indexOrName,
    at_ms: time,
    utilization: maybe(ratio),
    sm_active: maybe(ratio),
    memory_used_bytes: maybe(positive),
    memory_total_bytes: maybe(positive),
    sm_clock_mhz: maybe(positive),
    sm_clock_max_mhz: maybe(positive),
    temperature_c: maybe(real),
    power_w: maybe(positive),
    energy_j: maybe(positive),
    throttle: maybe(Type.Array(text, { maxItems: 64 })),
    ecc_uncorrected: maybe(positive),
    xid: maybe(count),
    nvlink_tx_bytes: maybe(positive),
    nvlink_rx_bytes: maybe(positive),
    nvlink_errors: maybe(positive),
    pcie_tx_bytes: maybe(positive),
    pcie_rx_bytes: maybe(positive),
    pcie_generation: maybe(positive),
    pcie_width: maybe(positive),
    quality,
  }),
  nic: record('nic', {
    node: name,
    device: name,
    at_ms: time,
    tx_bytes: maybe(positive),
    rx_bytes: maybe(positive),
    pfc_frames: maybe(positive),
    retransmits: maybe(positive),
    link_downed: maybe(positive),
    quality,
  }),
  host: record('host', {
    node: name,
    at_ms: time,
    cpu_utilization: maybe(ratio),
    iowait: maybe(ratio),
    memory_used_bytes: maybe(positive),
    swap_in: maybe(positive),
    quality,
  }),
  inference: record('inference', {
    model: name,
    version: name,
    replica: name,
    node: maybe(text),
    gpu: maybe(indexOrName),
    provider: text,
    at_ms: time,
    window_ms: positive,
    requests: count,
    errors: count,
    queue_ms: histogram,
    compute_ms: histogram,
    total_ms: histogram,
    batch: maybe(histogram),
    shape_bucket: maybe(text),
  }),
  prediction: record('prediction', {
    model: name,
    version: name,
    request_id: name,
    at_ms: time,
    features: Type.Record(
      Type.String(),
      Type.Union([Type.Number(), Type.String({ maxLength: 4096 }), Type.Boolean(), Type.Null()]),
    ),
    prediction: Type.Union([Type.Number(), text, Type.Boolean()]),
    scores: maybe(Type.Array(real, { maxItems: 10_000 })),
    embedding: maybe(Type.Array(real, { maxItems: 16_384 })),
    segment: maybe(Type.Record(Type.String(), Type.String())),
    tenant: maybe(Type.Union([text, tenant])),
  }),
  label: record('label', {
    model: name,
    request_id: name,
    at_ms: time,
    label: Type.Union([Type.Number(), text, Type.Boolean()]),
  }),
  counts: record('counts', {
    model: name,
    version: name,
    feature: name,
    edges_id: name,
    from_ms: time,
    to_ms: time,
    segment: maybe(Type.Union([text, Type.Record(Type.String(), Type.String())])),
    counts: Type.Array(positive, { maxItems: 10_000 }),
    sums: maybe(Type.Array(real, { maxItems: 10_000 })),
    missing: count,
    n: count,
  }),
  deploy: record('deploy', {
    model: name,
    version: name,
    at_ms: time,
    previous: maybe(text),
    action: Type.Union([
      Type.Literal('deploy'),
      Type.Literal('rollback'),
      Type.Literal('shadow'),
      Type.Literal('canary'),
    ]),
    traffic_ratio: maybe(ratio),
  }),
  asset: record('asset', {
    id: name,
    kind: text,
    gpus: ledgerNumber,
    gpu_model: maybe(text),
    from_ms: ledgerTime,
    to_ms: Type.Union([ledgerTime, Type.Null()]),
    provider: text,
    region: text,
    instance_type: text,
    pricing: text,
    account: text,
  }),
  price: record('price', {
    asset: maybe(name),
    instance_type: maybe(text),
    region: maybe(text),
    pricing: maybe(text),
    from_ms: ledgerTime,
    usd_per_hour: money,
    source: text,
    retrieved_on: text,
  }),
  claim: record('claim', {
    asset: name,
    tenant,
    from_ms: ledgerTime,
    to_ms: ledgerTime,
    gpus: ledgerNumber,
    mode: text,
  }),
  busy: record('busy', {
    asset: name,
    gpu_index: ledgerNumber,
    tenant,
    from_ms: ledgerTime,
    to_ms: ledgerTime,
    sm_active: real,
  }),
  bucket: record('bucket', { run: name, asset: name, from_ms: ledgerTime, to_ms: ledgerTime, bucket: text }),
  served: record('served', {
    model: name,
    tenant,
    asset: name,
    from_ms: ledgerTime,
    to_ms: ledgerTime,
    requests: ledgerNumber,
  }),
  overhead: record('overhead', {
    id: name,
    from_ms: ledgerTime,
    to_ms: ledgerTime,
    usd_per_hour: money,
    split: text,
  }),
  transfer: record('transfer', {
    tenant,
    from_ms: ledgerTime,
    to_ms: ledgerTime,
    bytes: ledgerNumber,
    usd_per_gib: money,
    kind: text,
  }),
  storage: record('storage', {
    id: name,
    tenant: maybe(tenant),
    from_ms: ledgerTime,
    to_ms: ledgerTime,
    bytes: ledgerNumber,
    usd_per_gib_month: money,
    class: text,
  }),
  commitment: record('commitment', {
    id: name,
    from_ms: ledgerTime,
    to_ms: ledgerTime,
    usd_per_hour: money,
    covers: Type.Object({ instance_type: text, region: text }, { additionalProperties: true }),
    upfront_usd: maybe(money),
  }),
  correction: record('correction', {
    asset: name,
    from_ms: ledgerTime,
    to_ms: ledgerTime,
    usd: money,
    reason: text,
  }),
  budget: record('budget', {
    scope: tenant,
    period: text,
    usd: money,
    thresholds: Type.Array(ratio, { maxItems: 32 }),
  }),
} as const;

export type RecordType = keyof typeof RECORD_SCHEMAS;
export type RecordOf<Kind extends RecordType> = Static<(typeof RECORD_SCHEMAS)[Kind]>;
/** One record of events.md. */
export type LeewayRecord = { [Kind in RecordType]: RecordOf<Kind> }[RecordType];

export const RECORD_TYPES = Object.keys(RECORD_SCHEMAS) as readonly RecordType[];

/** The record types that the cost ledger reads. */
export const LEDGER_TYPES = [
  'asset',
  'price',
  'claim',
  'busy',
  'bucket',
  'served',
  'overhead',
  'transfer',
  'storage',
  'commitment',
  'correction',
  'budget',
] as const satisfies readonly RecordType[];
