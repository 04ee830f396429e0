import Type, { type Static, type TObject, type TProperties } from 'typebox';

// Contract: config.md. Every default of that file stands here and nowhere else; units are in the names.

const text = (fallback: string) => Type.String({ minLength: 1, maxLength: 4096, default: fallback });
const nullableText = Type.Union([Type.String({ minLength: 1, maxLength: 4096 }), Type.Null()], { default: null });
const webAddress = Type.String({
  pattern: '^https?://[^\\s]+$',
  maxLength: 2048,
  description: 'an address that starts with https:// or http://',
});
const milliseconds = (fallback: number) => Type.Integer({ minimum: 1, maximum: 3_155_760_000_000, default: fallback });
const days = (fallback: number) => Type.Integer({ minimum: 1, maximum: 36_500, default: fallback });
const usd = (fallback: string) =>
  Type.String({
    pattern: '^(0|[1-9][0-9]{0,12})(\\.[0-9]{1,9})?$',
    description: 'money as text, such as "100" or "4.50"',
    default: fallback,
  });
const name = Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$' });
const strings = (fallback: readonly string[]) =>
  Type.Array(Type.String({ minLength: 1, maxLength: 512 }), { maxItems: 1000, default: [...fallback] });

/** What a full spool does with a signal; absent: what the spool's own policy says. */
const dropPolicy = Type.Optional(Type.Enum(['block', 'drop_oldest', 'drop_newest']));

const server = Type.Object({
  host: Type.String({ minLength: 1, maxLength: 253, default: '127.0.0.1' }),
  port: Type.Integer({ minimum: 0, maximum: 65_535, default: 8787 }),
  public_url: Type.Union([webAddress, Type.Null()], { default: null }),
  tls: Type.Object({ cert_file: nullableText, key_file: nullableText }),
});

const bus = Type.Union([
  Type.Object({ kind: Type.Literal('embedded') }),
  Type.Object({
    kind: Type.Literal('kafka'),
    brokers: Type.Array(Type.String({ pattern: '^[^\\s:]+:[0-9]{1,5}$' }), { minItems: 1, maxItems: 1000 }),
    driver: Type.Enum(['kafkajs', 'platformatic'], { default: 'kafkajs' }),
    tls: Type.Union([Type.Boolean(), Type.Object({ ca_file: Type.String({ minLength: 1 }) })], { default: false }),
    sasl: Type.Union(
      [
        Type.Object({
          mechanism: Type.Union([Type.Literal('plain'), Type.Literal('scram-sha-256'), Type.Literal('scram-sha-512')]),
          username: Type.String({ minLength: 1 }),
          password_file: Type.String({ minLength: 1 }),
        }),
        Type.Null(),
      ],
      { default: null },
    ),
    topic_prefix: Type.String({ pattern: '^[A-Za-z0-9._-]{0,200}$', default: 'leeway.' }),
    /** Null: the topics must be there. */
    create_topics: Type.Union(
      [
        Type.Object({
          partitions: Type.Integer({ minimum: 1, maximum: 4096 }),
          replication: Type.Integer({ minimum: 1, maximum: 32 }),
        }),
        Type.Null(),
      ],
      { default: null },
    ),
    /** Stream of partition 0 in lineages; see transport/kafka-bus.ts. */
    stream_first: Type.Integer({ minimum: 0, maximum: 4095, default: 0 }),
  }),
]);

const store = Type.Union([
  Type.Object({ kind: Type.Literal('embedded') }),
  Type.Object({
    kind: Type.Literal('clickhouse'),
    url: webAddress,
    username: text('default'),
    password_file: Type.Optional(Type.String({ minLength: 1 })),
    cluster: nullableText,
    database: Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_]{0,62}$', default: 'leeway' }),
  }),
]);

const control = Type.Union([
  Type.Object({ kind: Type.Literal('sqlite') }),
  Type.Object({ kind: Type.Literal('postgres'), url_file: Type.String({ minLength: 1 }) }),
]);

const sinkKeys = {
  id: name,
  types: Type.Array(Type.String({ pattern: '^[a-z0-9_.*]{1,128}$' }), {
    maxItems: 100,
    default: ['leeway.incident.*'],
  }),
  min_severity: Type.Union([Type.Literal('warn'), Type.Literal('page')], { default: 'warn' }),
};

/** The host is always there; any other source counts as on where this machine has it. */
const collectorKeys = (collector: string) => ({
  enabled: Type.Union([Type.Boolean(), Type.Literal('auto')], { default: collector === 'host' ? true : 'auto' }),
  interval_ms: Type.Integer({ minimum: 100, maximum: 86_400_000, default: 1000 }),
});

const policyKeys = {
  id: name,
  model: Type.String({ minLength: 1, maxLength: 512, default: '*' }),
  mode: Type.Union([Type.Literal('off'), Type.Literal('suggest'), Type.Literal('approve'), Type.Literal('auto')], {
    default: 'suggest',
  }),
  hysteresis: Type.Object({
    windows: Type.Integer({ minimum: 1, maximum: 1000, default: 4 }),
    drifted_min: Type.Integer({ minimum: 1, maximum: 1000, default: 3 }),
  }),
  cooldown_ms: Type.Integer({ minimum: 0, maximum: 3_155_760_000_000, default: 86_400_000 }),
  runs_per_week_max: Type.Integer({ minimum: 0, maximum: 10_000, default: 3 }),
  budget_usd_per_month: usd('100'),
  estimated_run_usd: usd('5'),
  labels_min: Type.Integer({ minimum: 0, maximum: 1_000_000_000, default: 500 }),
  approval_above_usd: usd('50'),
  decision_ttl_ms: milliseconds(86_400_000),
  evidence: Type.Union([Type.Literal('performance'), Type.Literal('drift')], { default: 'performance' }),
};

const sections = {
  server,
  data_dir: text('./leeway-data'),
  bus,
  store,
  control,
  spool: Type.Object({
    bytes_max: Type.Integer({ minimum: 1_048_576, maximum: Number.MAX_SAFE_INTEGER, default: 1_073_741_824 }),
    policy: Type.Enum(['block', 'drop_oldest', 'drop_newest'], { default: 'block' }),
    policies: Type.Optional(Type.Object({ metrics: dropPolicy, predictions: dropPolicy, records: dropPolicy })),
    fsync: Type.Boolean({ default: true }),
  }),
  retention: Type.Object({ raw_days: days(14), rollup_1m_days: days(90), rollup_1h_days: days(730) }),
  auth: Type.Object({ tokens_file: nullableText }),
  egress: Type.Object({
    allow_hosts: strings([]),
    allow_cidrs: strings([]),
    allow_http: Type.Boolean({ default: false }),
  }),
  drift: Type.Object({
    false_alarms_per_month: Type.Number({ exclusiveMinimum: 0, maximum: 10_000, default: 1 }),
    window_ms: milliseconds(3_600_000),
    rows_min: Type.Integer({ minimum: 1, maximum: 1_000_000_000, default: 200 }),
    reference: Type.Object({
      kind: Type.Literal('first_rows', { default: 'first_rows' }),
      rows: Type.Integer({ minimum: 1, maximum: 100_000_000, default: 5000 }),
    }),
  }),
  stragglers: Type.Object({
    block_steps: Type.Integer({ minimum: 2, maximum: 1000, default: 10 }),
    theta_ratio: Type.Number({ exclusiveMinimum: 0, maximum: 10, default: 0.04 }),
    z_min: Type.Number({ exclusiveMinimum: 0, maximum: 1000, default: 6 }),
    scale_floor_ratio: Type.Number({ exclusiveMinimum: 0, maximum: 1, default: 0.004 }),
    warmup_steps: Type.Integer({ minimum: 0, maximum: 1_000_000, default: 50 }),
    min_duration_ms: Type.Integer({ minimum: 0, maximum: 86_400_000, default: 60_000 }),
    lateness_ms: Type.Integer({ minimum: 0, maximum: 600_000, default: 10_000 }),
    job_theta_ratio: Type.Union([Type.Number({ exclusiveMinimum: 0, maximum: 10 }), Type.Null()], { default: 0.045 }),
  }),
  /** Where a sidecar sends what it collects: the address of a gateway, or of a whole service. */
  gateway: Type.Object({ url: Type.Union([webAddress, Type.Null()], { default: null }), token_file: nullableText }),
  cost: Type.Object({
    assets_file: nullableText,
    prices_file: nullableText,
    currency: Type.Literal('USD', { default: 'USD' }),
  }),
  delivery: Type.Object({
    timeout_ms: milliseconds(10_000),
    retry_base_ms: milliseconds(5_000),
    retry_max_ms: milliseconds(3_600_000),
    retry_for_ms: milliseconds(259_200_000),
  }),
  rules_dir: text('alerts/rules'),
  log: Type.Object({
    level: Type.Union(
      [
        Type.Literal('trace'),
        Type.Literal('debug'),
        Type.Literal('info'),
        Type.Literal('warn'),
        Type.Literal('error'),
        Type.Literal('silent'),
      ],
      { default: 'info' },
    ),
    format: Type.Union([Type.Literal('auto'), Type.Literal('json'), Type.Literal('pretty')], { default: 'auto' }),
  }),
};

/** What the configuration needs to know of an extension file: its name and the schema of its own keys. */
export type Extension = { readonly name: string; readonly config: TObject };

/** The extensions of the three folders that bring keys of their own. */
export type ExtensionSchemas = {
  readonly collectors: readonly Extension[];
  readonly sinks: readonly Extension[];
  readonly targets: readonly Extension[];
};

/**
 * The schema of the whole file: the sections above, with the keys that each collector, sink kind and retraining
 * target declares for itself. An extension's own key wins over the shared one of the same name.
 */
export function configSchema(extensions: ExtensionSchemas): TObject {
  const kinds = (list: readonly Extension[], keys: TProperties) =>
    Type.Union(list.map((item) => Type.Object({ kind: Type.Literal(item.name), ...keys, ...item.config.properties })));
  const collectors = extensions.collectors.map((item) => [
    item.name,
    Type.Object({ ...collectorKeys(item.name), ...item.config.properties }),
  ]);
  const policy = Type.Object({ ...policyKeys, target: Type.Optional(kinds(extensions.targets, {})) });
  return Type.Object({
    ...sections,
    collectors: Type.Object(Object.fromEntries(collectors)),
    sinks: Type.Array(kinds(extensions.sinks, sinkKeys), { maxItems: 1000, default: [] }),
    retraining: Type.Object({ policies: Type.Array(policy, { maxItems: 10_000, default: [] }) }),
  });
}

type OwnKeys = Readonly<Record<string, unknown>>;
/** A sink's entry: the shared keys and those of its kind. */
export type SinkConfig = Static<TObject<typeof sinkKeys>> & { readonly kind: string } & OwnKeys;
/** A collector's entry: the shared keys and its own. */
export type CollectorConfig = Static<TObject<ReturnType<typeof collectorKeys>>> & OwnKeys;
/** A retraining policy; `target` absent = nothing is ever dispatched. */
export type PolicyConfig = Static<TObject<typeof policyKeys>> & {
  readonly target?: { readonly kind: string } & OwnKeys;
};
/** The checked configuration with every default filled in, as written: paths are not resolved, secrets not read. */
export type Config = Static<TObject<typeof sections>> & {
  readonly collectors: Readonly<Record<string, CollectorConfig>>;
  readonly sinks: readonly SinkConfig[];
  readonly retraining: { readonly policies: readonly PolicyConfig[] };
};
