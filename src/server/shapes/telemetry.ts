import Type, { type Static } from 'typebox';
import {
  bound,
  count,
  evidence,
  filter,
  filterOf,
  listQuery,
  nullableMoney,
  nullableReal,
  nullableText,
  nullableTime,
  ratio,
  real,
  tally,
  text,
  time,
  words,
} from './base.ts';

// What the fields say and their filters take.
const JOB_STATES = ['running', 'slowed', 'hung', 'ended'] as const;
const MODEL_STATUSES = ['stable', 'drifting', 'insufficient', 'no_reference'] as const;
const SOURCE_KINDS = ['collector', 'sender'] as const;
const SOURCE_STATES = ['live', 'silent', 'absent'] as const;

export const JOB = Type.Object({
  job: text,
  attempt: count,
  team: nullableText,
  model: nullableText,
  world_size: Type.Union([count, Type.Null()]),
  state: words(JOB_STATES),
  last_step: nullableReal,
  last_at_ms: nullableTime,
  median_step_ms: nullableReal,
  gpu_seconds: nullableReal,
  gpu_seconds_lost: nullableReal,
  usd_lost: nullableMoney,
  coverage_ratio: ratio,
  incidents_open: count,
});

const rank = Type.Object({
  rank: count,
  node: nullableText,
  gpu: Type.Union([text, real, Type.Null()]),
  compute_ms_median: nullableReal,
  cohort_ratio: nullableReal,
  last_step: nullableReal,
});

export const JOB_DETAIL = Type.Object({ ...JOB.properties, ranks: Type.Array(rank) });

/** A step record of events.md, as stored. */
export const STEP = Type.Object({
  type: Type.Optional(text),
  rank: count,
  step: count,
  at_ms: time,
  duration_ms: real,
  compute_ms: real,
  data_ms: real,
});

const accuracy = Type.Union([
  Type.Object({ value: nullableReal, low: nullableReal, high: nullableReal, completeness_ratio: ratio }),
  Type.Null(),
]);

const window = Type.Object({ from_ms: time, to_ms: time });

export const MODEL = Type.Object({
  model: text,
  version: nullableText,
  status: words(MODEL_STATUSES),
  accuracy,
  reference_accuracy: nullableReal,
  predictions: count,
  last_at_ms: nullableTime,
  features_drifted: Type.Union([count, Type.Null()]),
  window: Type.Union([window, Type.Null()]),
});

const inference = Type.Object({
  requests_per_s: nullableReal,
  errors: nullableReal,
  queue_ms_p50: nullableReal,
  compute_ms_p50: nullableReal,
  total_ms_p50: nullableReal,
  total_ms_p99: nullableReal,
  batch_mean: nullableReal,
  provider: nullableText,
});

export const MODEL_DETAIL = Type.Object({
  ...MODEL.properties,
  versions: Type.Array(
    Type.Object({ version: text, deployed_at_ms: nullableTime, action: nullableText, accuracy: evidence }),
  ),
  inference: Type.Union([inference, Type.Null()]),
});

export const MODEL_DRIFT = Type.Object({
  model: text,
  version: nullableText,
  reference: Type.Union([
    Type.Object({ version: nullableText, edges_id: nullableText, rows: count, accuracy: nullableReal }),
    Type.Null(),
  ]),
  alpha: nullableReal,
  windows: Type.Array(
    Type.Object({
      from_ms: time,
      to_ms: time,
      n: count,
      status: text,
      min_p: nullableReal,
      e_value: nullableReal,
      features_drifted: Type.Union([count, Type.Null()]),
    }),
  ),
  features: Type.Array(
    Type.Object({
      name: text,
      statistic: text,
      value: nullableReal,
      p_value: nullableReal,
      drifted: Type.Boolean(),
      contribution: nullableReal,
      edges: Type.Array(evidence),
      reference_ratios: Type.Array(real),
      current_ratios: Type.Array(real),
    }),
  ),
});

export const MODEL_QUALITY = Type.Object({
  model: text,
  version: nullableText,
  reference: Type.Union([Type.Object({ accuracy: nullableReal, labelled: count }), Type.Null()]),
  items: Type.Array(
    Type.Object({
      from_ms: time,
      to_ms: time,
      version: nullableText,
      predicted: count,
      labelled: count,
      accuracy: nullableReal,
      low: nullableReal,
      high: nullableReal,
      completeness_ratio: ratio,
    }),
  ),
});

export const SOURCE = Type.Object({
  source: text,
  kind: words(SOURCE_KINDS),
  state: words(SOURCE_STATES),
  detail: nullableText,
  last_seen_ms: nullableTime,
  accepted: count,
  rejected: tally,
  quality: tally,
});

const gap = Type.Object({
  from_sequence: count,
  to_sequence: count,
  /** `in_flight`: a batch that waits may still fill it. */
  state: words(['declared', 'in_flight', 'missing']),
});

export const DELIVERY = Type.Object({
  source: text,
  epoch: Type.Union([text, count]),
  emitted: count,
  stored: count,
  in_flight: count,
  declared_loss: tally,
  duplicates_absorbed: count,
  sequence_min: nullableReal,
  sequence_max: nullableReal,
  sequences_missing: count,
  /** Ranges of sequences that the store lacks; at most 100, the rest is counted. */
  gaps: Type.Array(gap),
  gaps_omitted: count,
  /** Of `sequences_missing`: those that nobody waits for. */
  sequences_lost: count,
  /** Of `stored`: records that were accepted behind a higher sequence. */
  late: count,
  /** Age of the oldest record that is acknowledged and not stored; null where there is none, or nobody knows. */
  oldest_in_flight_ms: nullableReal,
  /** False where `in_flight` may lack some: then `emitted` does too. */
  in_flight_known: Type.Boolean(),
});

export const JOBS_QUERY = listQuery({
  job: filter,
  state: filterOf(JOB_STATES),
  team: filter,
  model: filter,
  from: bound,
  to: bound,
});
export const STEPS_QUERY = listQuery({
  from_step: Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
  to_step: Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
  /** Comma list. */
  ranks: Type.Optional(Type.String({ pattern: '^[0-9]{1,9}(,[0-9]{1,9})*$', maxLength: 65_536 })),
  attempt: Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
});
export const MODELS_QUERY = listQuery({ model: filter, status: filterOf(MODEL_STATUSES) });
export const MODEL_WINDOW_QUERY = Type.Object({
  version: filter,
  from: bound,
  to: bound,
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 500 })),
});
export const SOURCES_QUERY = listQuery({
  source: filter,
  kind: filterOf(SOURCE_KINDS),
  state: filterOf(SOURCE_STATES),
});
export const DELIVERY_QUERY = listQuery({ source: filter });

export type JobItem = Static<typeof JOB>;
export type JobDetail = Static<typeof JOB_DETAIL>;
export type StepItem = Static<typeof STEP>;
export type ModelItem = Static<typeof MODEL>;
export type ModelDetail = Static<typeof MODEL_DETAIL>;
export type ModelDrift = Static<typeof MODEL_DRIFT>;
export type ModelQuality = Static<typeof MODEL_QUALITY>;
export type SourceItem = Static<typeof SOURCE>;
export type DeliveryGap = Static<typeof gap>;
export type DeliveryItem = Static<typeof DELIVERY>;
