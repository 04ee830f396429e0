import { createServer } from 'node:net';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Webhook } from 'standardwebhooks';
import type { TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
import { expect, test } from 'vitest';
import { seededRandom } from '../../src/core/random.ts';
import { listOf } from '../../src/server/shapes/base.ts';
import { DECISION, DECISION_DETAIL, RETRAIN_RUN } from '../../src/server/shapes/decision.ts';
import { INCIDENT, INCIDENT_DETAIL } from '../../src/server/shapes/incident.ts';
import { AUDIT_ENTRY, COSTS, OVERVIEW, RULE, SINK } from '../../src/server/shapes/operation.ts';
import {
  DELIVERY,
  JOB,
  MODEL,
  MODEL_DETAIL,
  MODEL_DRIFT,
  MODEL_QUALITY,
  SOURCE,
} from '../../src/server/shapes/telemetry.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { traffic, type Traffic } from '../pipeline/live-store.ts';
import {
  childrenOf,
  eventually,
  get,
  pause,
  post,
  postRecords,
  type Receiver,
  refusedService,
  type Service,
  startReceiver,
  startService,
  stateOf,
} from './running-service.ts';

const seed = Number(process.env['LEEWAY_SEED'] ?? Date.now() % 1_000_000);
const SECRET = `whsec_${Buffer.from('a secret of thirty-two bytes: 32').toString('base64')}`;

type Item = Record<string, unknown> & { id: string; state: string };
type List = { items: Item[] };

/** Quiet, on a free port, without collectors: what a test of the service itself needs. */
function quiet(changes: object = {}): object {
  return { server: { port: 0 }, collectors: { host: { enabled: false }, nvidia: { enabled: false } }, ...changes };
}

function live(receiver: Receiver, secret_file: string): object {
  return quiet({
    drift: { window_ms: 1_000, rows_min: 30, reference: { kind: 'first_rows', rows: 100 } },
    egress: { allow_hosts: ['127.0.0.1'], allow_http: true },
    sinks: [{ id: 'ops', kind: 'webhook', url: `${receiver.url}/ops`, secret_file, types: ['leeway.*'] }],
    retraining: {
      policies: [
        {
          id: 'live',
          mode: 'auto',
          evidence: 'performance',
          labels_min: 100,
          cooldown_ms: 1_000,
          target: { kind: 'webhook', url: `${receiver.url}/target`, secret_file },
        },
      ],
    },
  });
}

/** 60 rows a second, on the grid of the windows. */
function served(of: Partial<Traffic> & Pick<Traffic, 'from_ms' | 'version'>, seconds: number) {
  const every_ms = 1_000 / 60;
  return traffic({ model: 'digits', every_ms, rows: 60 * seconds, random: seededRandom(seed), ...of });
}

/** Bodies of one type that came to one path; each one is verified by the reference implementation of the standard. */
function told(receiver: Receiver, at: string, type: string): { type: string; data: Record<string, unknown> }[] {
  const hook = new Webhook(SECRET);
  return receiver.requests
    .filter((request) => request.path === at && request.headers['ce-type'] === type)
    .map(({ body, headers }) => {
      hook.verify(body, headers as Record<string, string>);
      expect(headers['ce-id']).toBe(headers['webhook-id']);
      return JSON.parse(body) as { type: string; data: Record<string, unknown> };
    });
}

function expectShape(shape: TSchema, value: unknown): void {
  expect([...Compile(shape).Errors(value)]).toEqual([]);
}

/** Every answer that a reader of the API meets, against its own schema. */
async function expectAnswersFit(service: Service): Promise<void> {
  const lists: [string, TSchema][] = [
    ['sources', SOURCE],
    ['jobs', JOB],
    ['models', MODEL],
    ['incidents', INCIDENT],
    ['decisions', DECISION],
    ['retrain-runs', RETRAIN_RUN],
    ['delivery', DELIVERY],
    ['rules', RULE],
    ['sinks', SINK],
    ['audit', AUDIT_ENTRY],
  ];
  for (const [name, shape] of lists) expectShape(listOf(shape), await get(service, `/api/v1/${name}`));
  expectShape(OVERVIEW, await get(service, '/api/v1/overview'));
  expectShape(COSTS, await get(service, '/api/v1/costs?group_by=team,model&period=hour'));
  expectShape(MODEL_DETAIL, await get(service, '/api/v1/models/digits'));
  expectShape(MODEL_DRIFT, await get(service, '/api/v1/models/digits/drift'));
  expectShape(MODEL_QUALITY, await get(service, '/api/v1/models/digits/quality'));
  const [incident] = (await get<List>(service, '/api/v1/incidents')).items;
  expectShape(INCIDENT_DETAIL, await get(service, `/api/v1/incidents/${incident?.id}`));
  const [decision] = (await get<List>(service, '/api/v1/decisions')).items;
  expectShape(DECISION_DETAIL, await get(service, `/api/v1/decisions/${decision?.id}`));
}

test(`drift is found, retrained once, confirmed and closed, over HTTP alone and across a restart (seed ${seed})`, async () => {
  await using directory = await scratchDirectory();
  await using receiver = await startReceiver();
  const secret_file = path.join(directory.path, 'secret');
  await writeFile(secret_file, `${SECRET}\n`, { mode: 0o600 });
  const config = live(receiver, secret_file);
  await using service = await startService(directory.path, config);

  // 12 s of good answers, then 6 s of moved inputs with bad ones: history, posted at once
  const start_ms = Math.floor(Date.now() / 1_000) * 1_000 - 22_000;
  await postRecords(service, served({ version: 'v1', from_ms: start_ms, accuracy: 0.98 }, 12));
  const bad = { version: 'v1', from_ms: start_ms + 12_000, shift: 2, accuracy: 0.4, random: seededRandom(seed + 1) };
  await postRecords(service, served(bad, 6));

  const incident = await eventually('an open drift incident', async () => {
    const { items } = await get<List>(service, '/api/v1/incidents?status=open&kind=drift');
    return items[0];
  });
  expect(incident).toMatchObject({
    model: 'digits',
    version: 'v1',
    rule: 'drift.features',
    started_at_ms: start_ms + 12_000,
  });
  const [requested] = await eventually('the request at the target', async () => {
    const bodies = told(receiver, '/target', 'leeway.retrain.requested');
    return bodies.length > 0 && bodies;
  });
  const [decision] = (await get<List>(service, '/api/v1/decisions')).items;
  const gates = decision?.['gates'] as { gate: string; result: string }[];
  expect(decision).toMatchObject({ state: 'dispatched', incident_id: incident.id, model: 'digits', version: 'v1' });
  expect(gates.map(({ gate, result }) => [gate, result])).toEqual(
    [
      'mode',
      'data_quality',
      'hysteresis',
      'performance_evidence',
      'single_flight',
      'cooldown',
      'rate',
      'budget',
      'expiry',
      'approval',
    ].map((gate) => [gate, 'pass']),
  );
  const run_id = String(decision?.['run_id']);
  expect(requested?.data).toEqual({
    decision_id: decision?.id,
    dispatch_key: decision?.['dispatch_key'],
    model: 'digits',
    lineage: 'v1',
    episode_id: decision?.['episode_id'],
    attempt: 1,
    reason: 'drift',
    drift: expect.objectContaining({
      model: 'digits',
      version: 'v1',
      incident_id: incident.id,
      detected_at_ms: incident['opened_at_ms'],
      estimated_start_ms: start_ms + 12_000,
      features: [expect.objectContaining({ name: 'x', statistic: expect.any(String), p_value: expect.any(Number) })],
      segments: [],
      e_value: expect.any(Number),
      samples_per_false_alarm: expect.any(Number),
      estimated_metrics: {
        accuracy: { estimate: expect.any(Number), low: expect.any(Number), high: expect.any(Number) },
      },
      reference: { version: 'v1', edges_id: 'v1:first-100' },
      url: `${service.url}/incidents/${incident.id}`,
    }),
    data: { from_ms: start_ms + 12_000, to_ms: expect.any(Number), rows: 360, labelled_rows: 360 },
    gates: expect.arrayContaining([expect.objectContaining({ gate: 'cooldown', result: 'pass' })]),
    budget: { reserved_usd: '5.000000000' },
    expires_at_ms: decision?.['expires_at_ms'],
    status_url: `${service.url}/api/v1/retrain-runs/${run_id}/status`,
    cancel_url: `${service.url}/api/v1/decisions/${decision?.id}/cancel`,
  });
  await eventually('the sinks', async () => told(receiver, '/ops', 'leeway.drift.detected').length === 1);
  expect(told(receiver, '/ops', 'leeway.incident.opened')).toHaveLength(1);
  expect(told(receiver, '/ops', 'leeway.retrain.requested')).toEqual([]);

  // the pipeline signs its reports with the target's secret; a wrong signature is 401 though auth is off
  const report = async (body: object, secret = SECRET) => {
    const text = JSON.stringify({ at_ms: Date.now(), ...body });
    const signed = new Webhook(secret).sign('msg_1', new Date(), text);
    const headers = {
      'webhook-id': 'msg_1',
      'webhook-timestamp': String(Math.floor(Date.now() / 1000)),
      'webhook-signature': signed,
    };
    return post(service, `/api/v1/retrain-runs/${run_id}/status`, text, headers);
  };
  const wrong = `whsec_${Buffer.from('another secret of thirty-two b: 2').toString('base64')}`;
  expect(await report({ state: 'running' }, wrong)).toMatchObject({ status: 401 });
  expect(await report({ state: 'running' })).toMatchObject({ status: 200, body: { state: 'running' } });
  const succeeded = { state: 'succeeded', version: 'v2', metrics: { accuracy: 0.98 } };
  expect(await report(succeeded)).toMatchObject({ status: 200, body: { state: 'succeeded', version: 'v2' } });
  expect(await report({ state: 'running' })).toMatchObject({ status: 200, body: { state: 'succeeded' } });

  // v2: two seconds are its baseline, four windows confirm; the inputs are as moved as before
  const promoted_ms = start_ms + 20_000;
  await pause(Math.max(0, promoted_ms + 8_000 - Date.now()));
  const good = { version: 'v2', from_ms: promoted_ms, shift: 2, accuracy: 0.98, random: seededRandom(seed + 2) };
  await postRecords(service, served(good, 8));
  const confirmed = await eventually('a confirmed decision', async () => {
    const found = await get<Item>(service, `/api/v1/decisions/${decision?.id}`);
    return found.state === 'confirmed' && found;
  });
  expect(confirmed['confirmation']).toMatchObject({
    result: 'confirmed',
    windows: Array(4).fill({
      drifted: false,
      accuracy_worse: false,
      from_ms: expect.any(Number),
      to_ms: expect.any(Number),
    }),
  });
  await eventually('the outcome at target and sink', async () => {
    const both = ['/ops', '/target'].map((at) => told(receiver, at, 'leeway.retrain.confirmed').length);
    return both.every((count) => count === 1);
  });
  expect(told(receiver, '/ops', 'leeway.retrain.confirmed')[0]?.data).toMatchObject({
    decision_id: decision?.id,
    model: 'digits',
    version: 'v2',
    previous_version: 'v1',
  });
  await eventually('a resolved incident', async () => {
    const { items } = await get<List>(service, '/api/v1/incidents?status=resolved');
    return items.some(({ id }) => id === incident.id);
  });
  await eventually('its webhook', async () => told(receiver, '/ops', 'leeway.incident.resolved').length === 1);
  await eventually('the verdict on the last window', async () => {
    const { items } = await get<{ items: { window: { to_ms: number } | null }[] }>(service, '/api/v1/models');
    return items[0]?.window?.to_ms === promoted_ms + 8_000;
  });
  await expectAnswersFit(service);

  const addresses = ['incidents', 'decisions', 'retrain-runs', 'delivery', 'models', 'models/digits/quality'];
  const before = await Promise.all(addresses.map((name) => get(service, `/api/v1/${name}`)));
  const stopping_ms = Date.now();
  service.kill('SIGTERM');
  expect((await service.ended).code).toBe(0);
  expect(Date.now() - stopping_ms).toBeLessThan(10_000);

  const told_before = receiver.requests.length;
  await using again = await startService(directory.path, config);
  await eventually('two looks of the analysis', async () => {
    const text = await (await fetch(`${again.url}/metrics`)).text();
    return /leeway_analysis_lag_seconds\{engine="delivery"\}/.test(text);
  });
  await pause(2_500);
  const after = await Promise.all(addresses.map((name) => get(again, `/api/v1/${name}`)));
  const kept = (lists: unknown[]) =>
    JSON.parse(
      JSON.stringify(lists, (key, value: unknown) =>
        key.endsWith('updated_at_ms') || key === 'runbook_url' ? undefined : value,
      ),
    ) as unknown;
  expect(kept(after)).toEqual(kept(before));
  const told_again = receiver.requests.slice(told_before).map(({ headers }) => headers['ce-type']);
  expect(told_again.filter((type) => type !== 'leeway.watchdog')).toEqual([]);
}, 90_000);

test('a second process on a data directory ends with one line that says who holds it', async () => {
  await using directory = await scratchDirectory();
  await using service = await startService(directory.path, quiet());
  // the same process began again with the flags of a service, and its caller knows its id
  expect((await readFile(`/proc/${service.pid}/cmdline`, 'utf8')).split('\0')).toContain('--max-semi-space-size=8');
  const { code, err } = await refusedService(directory.path, quiet());
  expect(code).toBe(1);
  expect(err.trim().split('\n')).toEqual([
    expect.stringMatching(new RegExp(`^error\\[LW-DATA-DIR-TAKEN\\].*process ${service.pid}\\b`)),
  ]);
});

test('a port in use ends the start with LW-PORT-IN-USE and leaves the data directory free', async () => {
  await using directory = await scratchDirectory();
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  const address = taken.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const { code, err } = await refusedService(directory.path, quiet({ server: { port } }));
  taken.close();
  expect(code).toBe(1);
  expect(err.trim().split('\n')).toEqual([expect.stringMatching(/^error\[LW-PORT-IN-USE\]/)]);
  await using service = await startService(directory.path, quiet());
  expect((await fetch(`${service.url}/healthz`)).status).toBe(200);
});

test('a public address without a token is refused with exit 2', async () => {
  await using directory = await scratchDirectory();
  const { code, err } = await refusedService(directory.path, quiet(), ['--host', '0.0.0.0']);
  expect(code).toBe(2);
  expect(err).toMatch(/^error\[LW-PUBLIC-ADDRESS\]/);
});

test('a killed service frees its data directory within 2 s: its store child dies with it', async () => {
  await using directory = await scratchDirectory();
  await using killed = await startService(directory.path, quiet());
  await postRecords(killed, served({ version: 'v1', from_ms: Date.now() - 5_000 }, 1));
  const children = await childrenOf(killed.pid);
  expect(children.length).toBeGreaterThan(0);
  killed.kill('SIGKILL');
  await killed.ended;
  await eventually(
    'the death of the children',
    async () => (await Promise.all(children.map(stateOf))).every((state) => state === '' || state === 'Z'),
    2_000,
  );
  await using service = await startService(directory.path, quiet());
  // what was acknowledged before the kill is stored once
  await eventually('the rows', async () => {
    const { items } = await get<{ items: { stored: number; in_flight: number }[] }>(service, '/api/v1/delivery');
    return items[0]?.stored === 60 && items[0].in_flight === 0;
  });
});
