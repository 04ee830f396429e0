import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import Type from 'typebox';
import { describe, expect, test } from 'vitest';
import { type ConfigSource, differences, effectiveValues, loadConfig } from '../../src/config.ts';
import { type AnyCollector, type AnySink, defineCollector, defineSink } from '../../src/core/define.ts';
import { LeewayError } from '../../src/core/errors.ts';
import { ok } from '../../src/core/outcome.ts';
import { temporaryDirectory } from '../server/fixture.ts';

const webhook: AnySink = defineSink({
  name: 'webhook',
  about: 'a destination of the test',
  config: Type.Object({ url: Type.String(), secret_file: Type.String({ minLength: 1 }) }),
  accepts: () => true,
  render: () => ({ url: '', headers: {}, body: '' }),
  classify: () => ok(undefined),
});

function collector(name: string, config: Parameters<typeof defineCollector>[0]['config']): AnyCollector {
  const open = () => Promise.reject(new Error('not opened in this test'));
  return defineCollector({ name, about: 'a source of the test', config, open });
}

const extensions = {
  collectors: [
    collector('host', Type.Object({})),
    collector(
      'nvidia',
      Type.Object({ enabled: Type.Union([Type.Boolean(), Type.Literal('auto')], { default: 'auto' }) }),
    ),
    collector('onnx-profile', Type.Object({ targets: Type.Array(Type.String(), { default: [] }) })),
  ],
  sinks: [webhook],
  targets: [webhook],
};

type Setting = { file?: unknown; text?: string; environment?: Record<string, string>; flags?: ConfigSource['flags'] };

async function load(setting: Setting = {}) {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, 'leeway.config.json');
  const text = setting.text ?? (setting.file === undefined ? null : JSON.stringify(setting.file));
  if (text !== null) await writeFile(path, text);
  return await loadConfig({
    cwd: directory.path,
    environment: setting.environment ?? {},
    extensions,
    ...(setting.flags === undefined ? {} : { flags: setting.flags }),
  });
}

async function errorsOf(setting: Setting): Promise<LeewayError> {
  const error: unknown = await load(setting).then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof LeewayError)) throw new Error(`expected a LeewayError, got ${String(error)}`);
  expect(error.code).toBe('LW-CONFIG');
  return error;
}

const SINK = { id: 'ops', kind: 'webhook', url: 'https://example.com/hook', secret_file: 'secret' };
const TARGET = { kind: 'webhook', url: 'https://example.com/run', secret_file: 'secret' };

describe('defaults', () => {
  test('are those of the contract when there is no file', async () => {
    const { config, role, origins } = await load();
    const { stragglers, gateway, ...contract } = config;
    expect([typeof stragglers, typeof gateway]).toEqual(['object', 'object']); // beside the contract's own keys
    // Copied from config.md, not from the schema.
    expect(contract).toEqual({
      server: { host: '127.0.0.1', port: 8787, public_url: null, tls: { cert_file: null, key_file: null } },
      data_dir: './leeway-data',
      bus: { kind: 'embedded' },
      store: { kind: 'embedded' },
      control: { kind: 'sqlite' },
      spool: { bytes_max: 1_073_741_824, policy: 'block', fsync: true },
      retention: { raw_days: 14, rollup_1m_days: 90, rollup_1h_days: 730 },
      collectors: {
        host: { enabled: true, interval_ms: 1000 },
        nvidia: { enabled: 'auto', interval_ms: 1000 },
        'onnx-profile': { enabled: 'auto', interval_ms: 1000, targets: [] },
      },
      auth: { tokens_file: null },
      egress: { allow_hosts: [], allow_cidrs: [], allow_http: false },
      sinks: [],
      retraining: { policies: [] },
      drift: {
        false_alarms_per_month: 1,
        window_ms: 3_600_000,
        rows_min: 200,
        reference: { kind: 'first_rows', rows: 5000 },
      },
      cost: { assets_file: null, prices_file: null, currency: 'USD' },
      delivery: { timeout_ms: 10_000, retry_base_ms: 5000, retry_max_ms: 3_600_000, retry_for_ms: 259_200_000 },
      rules_dir: 'alerts/rules',
      log: { level: 'info', format: 'auto' },
    });
    expect(role).toBe('all');
    expect(origins.size).toBe(0);
  });

  test('of sinks and policies are those of the examples in the contract', async () => {
    const { config } = await load({
      file: { sinks: [SINK], retraining: { policies: [{ id: 'default', target: TARGET }] } },
    });
    expect(config.sinks).toEqual([{ ...SINK, types: ['leeway.incident.*'], min_severity: 'warn' }]);
    expect(config.retraining.policies).toEqual([
      {
        id: 'default',
        model: '*',
        mode: 'suggest',
        target: TARGET,
        hysteresis: { windows: 4, drifted_min: 3 },
        cooldown_ms: 86_400_000,
        runs_per_week_max: 3,
        budget_usd_per_month: '100',
        estimated_run_usd: '5',
        labels_min: 500,
        approval_above_usd: '50',
        decision_ttl_ms: 86_400_000,
        evidence: 'performance',
      },
    ]);
  });

  test('leave kafka, clickhouse and postgres to be chosen by kind, with their own defaults', async () => {
    const { config } = await load({
      file: {
        bus: { kind: 'kafka', brokers: ['k1:9092'] },
        store: { kind: 'clickhouse', url: 'https://ch:8443', username: 'leeway', password_file: 'p' },
        control: { kind: 'postgres', url_file: 'u' },
      },
    });
    expect(config.bus).toEqual({
      kind: 'kafka',
      brokers: ['k1:9092'],
      driver: 'kafkajs',
      tls: false,
      sasl: null,
      topic_prefix: 'leeway.',
      create_topics: null,
      stream_first: 0,
    });
    expect(config.store).toMatchObject({ kind: 'clickhouse', cluster: null, database: 'leeway' });
  });

  test('resolve the data directory from the working directory and the rules from the installation', async () => {
    const loaded = await load();
    expect(loaded.paths.data_dir).toBe(join(loaded.source.cwd, 'leeway-data'));
    expect(loaded.paths.rules_dir).toBe(join(import.meta.dirname, '../../alerts/rules'));
  });
});

describe('precedence', () => {
  test('is file, then environment, then flag, and each value says where it came from', async () => {
    const loaded = await load({
      file: { server: { port: 1001, host: '127.0.0.2' }, data_dir: 'here' },
      environment: { LEEWAY__SERVER__PORT: '1002', LEEWAY__DATA_DIR: 'there' },
      flags: { port: '1003' },
    });
    expect(loaded.config.server).toMatchObject({ host: '127.0.0.2', port: 1003 });
    expect(loaded.config.data_dir).toBe('there');
    const origins = new Map(effectiveValues(loaded).map((value) => [value.path, value.origin]));
    expect(origins.get('server.port')).toBe('flag --port');
    expect(origins.get('data_dir')).toBe('environment LEEWAY__DATA_DIR');
    expect(origins.get('server.host')).toBe('file leeway.config.json');
    expect(origins.get('log.level')).toBe('default');
  });
});

describe('the environment', () => {
  test('is read as JSON, else as text, and as text where JSON would not fit', async () => {
    const { config } = await load({
      file: { retraining: { policies: [{ id: 'default' }] } },
      environment: {
        LEEWAY__SPOOL__FSYNC: 'false',
        LEEWAY__EGRESS__ALLOW_HOSTS: '["a.example","b.example"]',
        LEEWAY__LOG__LEVEL: 'debug',
        LEEWAY__RETRAINING__POLICIES__0__BUDGET_USD_PER_MONTH: '250',
      },
    });
    expect(config.spool.fsync).toBe(false);
    expect(config.egress.allow_hosts).toEqual(['a.example', 'b.example']);
    expect(config.log.level).toBe('debug');
    expect(config.retraining.policies[0]?.budget_usd_per_month).toBe('250');
  });

  test('reaches a name with a hyphen by an underscore, and adds list entries', async () => {
    const { config } = await load({
      environment: {
        LEEWAY__COLLECTORS__ONNX_PROFILE__INTERVAL_MS: '2000',
        LEEWAY__SINKS__0__KIND: 'webhook',
        LEEWAY__SINKS__0__ID: 'ops',
        LEEWAY__SINKS__0__URL: 'https://example.com',
        LEEWAY__SINKS__0__SECRET: 'whsec_c2VjcmV0',
      },
    });
    expect(config.collectors['onnx-profile']?.interval_ms).toBe(2000);
    expect(config.sinks[0]).toMatchObject({ id: 'ops', url: 'https://example.com' });
  });

  test('gives a secret by reference, so that it is never part of the configuration', async () => {
    const loaded = await load({ file: { sinks: [SINK] }, environment: { LEEWAY__SINKS__0__SECRET: 'whsec_c2VjcmV0' } });
    const reference = String(loaded.config.sinks[0]?.['secret_file']);
    expect(reference).toBe('env:LEEWAY__SINKS__0__SECRET');
    expect(await loaded.readSecret(reference)).toEqual(['whsec_c2VjcmV0']);
    expect(JSON.stringify(effectiveValues(loaded))).not.toContain('c2VjcmV0');
  });

  test('chooses the kind before its keys, whatever the order of the names', async () => {
    const { config } = await load({
      environment: { LEEWAY__BUS__BROKERS: '["k1:9092"]', LEEWAY__BUS__KIND: 'kafka' },
    });
    expect(config.bus).toMatchObject({ kind: 'kafka', brokers: ['k1:9092'] });
  });

  test('with a name that fits nowhere stops the start', async () => {
    const error = await errorsOf({ environment: { LEEWAY__SERVER__PROT: '1', LEEWAY__NOTHING__AT__ALL: '1' } });
    expect(error.errors.map((item) => item.path)).toEqual(['LEEWAY__NOTHING__AT__ALL', 'LEEWAY__SERVER__PROT']);
    expect(error.errors[1]?.expected).toContain('port');
  });
});

describe('a wrong configuration', () => {
  test('stops with all errors at once: path, value and what was expected', async () => {
    const error = await errorsOf({
      file: {
        server: { port: 70_000, hots: 'x' },
        spool: { fsync: 'yes' },
        bus: { kind: 'rabbit' },
        sinks: [
          { id: 'a', kind: 'pigeon' },
          { id: 'b', kind: 'webhook', url: 5 },
        ],
        nonsense: 1,
        log: { level: 'loud' },
      },
      flags: { role: 'captain' },
    });
    const found = Object.fromEntries(error.errors.map((item) => [item.path, [item.got, item.expected]]));
    expect(found).toMatchObject({
      'server.port': ['70000', 'an integer 0 to 65535'],
      'spool.fsync': ['"yes"', 'true or false'],
      'bus.kind': ['"rabbit"', '"embedded" or "kafka"'],
      'sinks[0].kind': ['"pigeon"', '"webhook"'],
      'sinks[1].secret_file': ['nothing', expect.any(String)],
      '--role': ['"captain"', 'all, sidecar, gateway, worker, console'],
    });
    expect(Object.keys(found)).toEqual(
      expect.arrayContaining(['server.hots', 'nonsense', 'log.level', 'sinks[1].url']),
    );
    expect(error.errors.length).toBe(10);
  });

  test('takes a drop policy for the spool and for each signal of it, and no other', async () => {
    const { config } = await load({
      file: { spool: { policy: 'drop_newest', policies: { metrics: 'drop_oldest' } } },
      environment: { LEEWAY__SPOOL__POLICIES__RECORDS: 'block' },
    });
    expect(config.spool).toMatchObject({
      policy: 'drop_newest',
      policies: { metrics: 'drop_oldest', records: 'block' },
    });
    const error = await errorsOf({ file: { spool: { policy: 'drop', policies: { alerts: 'block' } } } });
    expect(error.errors.map(({ path, expected }) => [path, expected])).toEqual([
      ['spool.policy', '"block" or "drop_oldest" or "drop_newest"'],
      ['spool.policies.alerts', 'one of metrics, predictions, records'],
    ]);
  });

  test('never repeats the value of an unknown key, which may be a secret in the wrong place', async () => {
    const error = await errorsOf({ file: { sinks: [{ ...SINK, secret: 'whsec_dG9wc2VjcmV0' }] } });
    expect(error.errors.map((item) => item.path)).toEqual(['sinks[0].secret']);
    expect(JSON.stringify([error.message, error.errors])).not.toContain('dG9wc2VjcmV0');
  });

  test('that is not JSON is told by its place and not quoted', async () => {
    const error = await errorsOf({ text: '{"auth": {"tokens_file": "hunter2" "x"}}' });
    expect(error.message).toContain('is not JSON');
    expect(error.message).not.toContain('hunter2');
  });

  test.each([
    ['a half TLS pair', { server: { tls: { cert_file: 'c' } } }, 'server.tls'],
    ['a base delay above the longest', { delivery: { retry_base_ms: 10, retry_max_ms: 5 } }, 'delivery.retry_base_ms'],
    ['a range that is none', { egress: { allow_cidrs: ['10.0.0.0/33'] } }, 'egress.allow_cidrs[0]'],
    ['an id used twice', { sinks: [SINK, SINK] }, 'sinks[1].id'],
    [
      'more drifted windows than windows',
      { retraining: { policies: [{ id: 'a', hysteresis: { windows: 2 } }] } },
      'retraining.policies[0].hysteresis.drifted_min',
    ],
    [
      'automatic runs without a target',
      { retraining: { policies: [{ id: 'a', mode: 'auto' }] } },
      'retraining.policies[0].target',
    ],
    [
      'money as a number',
      { retraining: { policies: [{ id: 'a', estimated_run_usd: 5 }] } },
      'retraining.policies[0].estimated_run_usd',
    ],
    ['a prototype key', JSON.parse('{"__proto__": {"port": 1}}'), '__proto__'],
    ['a list for an object', { server: [] }, 'server'],
  ])('with %s is refused', async (_what, file, path) => {
    const error = await errorsOf({ file });
    expect(error.errors.map((item) => item.path)).toEqual([path]);
  });

  test('named by --config must exist', async () => {
    const source = { cwd: '/', path: '/nowhere/leeway.json', environment: {}, extensions };
    await expect(loadConfig(source)).rejects.toMatchObject({ code: 'LW-CONFIG' });
  });
});

test('times may be as short as a test needs: nothing has a floor above one second', async () => {
  const { config } = await load({
    file: {
      drift: { window_ms: 1000 },
      delivery: { timeout_ms: 100, retry_base_ms: 10, retry_max_ms: 50, retry_for_ms: 1000 },
      retraining: { policies: [{ id: 'a', cooldown_ms: 0, decision_ttl_ms: 1000 }] },
      collectors: { host: { interval_ms: 100 } },
    },
  });
  expect(config.drift.window_ms).toBe(1000);
});

test('printing masks credentials in addresses, their queries and signing secrets', async () => {
  const loaded = await load({
    file: { sinks: [{ ...SINK, url: 'https://user:pass@example.com/hook?key=abc', secret_file: 'whsec_cGFzdGVk' }] },
  });
  const printed = JSON.stringify(effectiveValues(loaded));
  expect(printed).toContain('https://***@example.com/hook?***');
  for (const secret of ['pass', 'abc', 'cGFzdGVk']) expect(printed).not.toContain(secret);
});

test('the difference of two configurations names each path that changed, also those that came or went', async () => {
  const before = await load({ file: { log: { level: 'info' }, sinks: [] } });
  const after = await load({ file: { log: { level: 'debug' }, sinks: [SINK] } });
  const changes = differences(before.config, after.config);
  expect(changes).toContainEqual({ path: 'log.level', from: 'info', to: 'debug' });
  expect(changes).toContainEqual({ path: 'sinks[0].id', from: null, to: 'ops' });
  expect(differences(before.config, before.config)).toEqual([]);
});

describe('a secret file', () => {
  test('has one secret a line, without blanks', async () => {
    await using directory = await temporaryDirectory();
    await writeFile(join(directory.path, 'secret'), 'whsec_bmV3\n  whsec_b2xk \n\n');
    const loaded = await loadConfig({ cwd: directory.path, environment: {}, extensions });
    expect(await loaded.readSecret('secret')).toEqual(['whsec_bmV3', 'whsec_b2xk']);
  });

  test('that is missing or empty is a configuration error that names the file', async () => {
    await using directory = await temporaryDirectory();
    await writeFile(join(directory.path, 'empty'), '\n');
    const loaded = await loadConfig({ cwd: directory.path, environment: {}, extensions });
    await expect(loaded.readSecret('empty')).rejects.toMatchObject({ code: 'LW-CONFIG' });
    await expect(loaded.readSecret('missing')).rejects.toThrow('missing');
    await expect(loaded.readSecret('env:NOT_SET')).rejects.toMatchObject({ code: 'LW-CONFIG' });
  });
});
