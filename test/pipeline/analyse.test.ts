import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { OUTBOX, RETRAIN_DECISIONS } from '../../src/control/collections.ts';
import { parseUsd } from '../../src/core/money.ts';
import { seededRandom } from '../../src/core/random.ts';
import { type AnalysisOptions, analyseOnce } from '../../src/pipeline/analyse.ts';
import { JobWatch } from '../../src/pipeline/job-watch.ts';
import { ModelWatch } from '../../src/pipeline/model-watch.ts';
import { Retraining } from '../../src/pipeline/retrain.ts';
import { loadModelStates, saveModelStates } from '../../src/read/models.ts';
import type { RetrainPolicy } from '../../src/retrain/policy.ts';
import { ruleOf } from '../incident/fixtures.ts';
import { destinationOf, type House, openHouse } from './desk-house.ts';
import { type LiveStore, openLiveStore, traffic } from './live-store.ts';

vi.setConfig({ testTimeout: 30_000 }); // a real store on a machine that others use too

const signal = new AbortController().signal;
const seed = Number(process.env['LEEWAY_SEED'] ?? Date.now() % 1_000_000);
const WINDOW_MS = 10_000;
const POLICY: RetrainPolicy = {
  id: 'live',
  model: '*',
  mode: 'auto',
  hysteresis: { windows: 4, drifted_min: 3 },
  cooldown_ms: 0,
  runs_per_week_max: 10,
  budget_per_month_nano_usd: parseUsd('100') ?? 0n,
  estimated_run_nano_usd: parseUsd('5') ?? 0n,
  labels_min: 0,
  approval_above_nano_usd: parseUsd('50') ?? 0n,
  decision_ttl_ms: 86_400_000,
  evidence: 'drift',
};

let live: LiveStore;
beforeAll(async () => {
  live = await openLiveStore();
});
afterAll(() => live[Symbol.asyncDispose]());

/** A worker as after a start: the stores are all that it remembers. */
async function worker({ control, clock, desk }: House, holder: string): Promise<AnalysisOptions> {
  const windows = { window_ms: WINDOW_MS, rows_min: 50, reference_rows: 500, false_alarms_per_month: 1 };
  const restored = await loadModelStates(control);
  return {
    clock,
    control,
    desk,
    jobs: new JobWatch(live.store, { detector: {}, history_ms: 960_000 }),
    models: new ModelWatch(live.store, { ...windows, hysteresis_windows: () => 4 }, restored),
    retraining: new Retraining({
      control,
      clock,
      policies: [POLICY],
      installation: 'test',
      public_url: () => 'http://leeway.test',
      window_ms: WINDOW_MS,
      onDecision: () => undefined,
      tell: async (tx, { to: _to, policy, ...message }) => {
        await desk.enqueue(tx, { ...message, event: message.type, sinks: false, target: `target:${policy}` });
      },
    }),
    ownFindings: async () => [],
    externalFindings: async () => [],
    saveModels: (states, now_ms) => saveModelStates(control, states, now_ms),
    holder,
    onAnalysed: () => undefined,
    onFinding: () => undefined,
    onError: (error) => {
      throw error;
    },
  };
}

test(`drift becomes one incident and one request, whoever holds the lease and however often it restarts (seed ${seed})`, async () => {
  const drift = ruleOf({
    id: 'drift.features',
    finding: 'drift.features',
    fire: { above: 0.5 },
    clear: { below: 0.5 },
  });
  const destinations = [destinationOf('ops'), destinationOf('target:live', { types: [] })];
  await using house = await openHouse({ rules: [drift], destinations });
  const start_ms = house.clock.now_ms();
  const rows = { model: 'analysed', version: 'v1', every_ms: 100 };
  await live.put(traffic({ ...rows, from_ms: start_ms, rows: 900, random: seededRandom(seed) }));
  const moved = { from_ms: start_ms + 90_000, rows: 400, shift: 1, random: seededRandom(seed + 1) };
  await live.put(traffic({ ...rows, ...moved }));
  await house.clock.advance(132_000);
  const [first, second] = [await worker(house, 'first'), await worker(house, 'second')];
  await analyseOnce(first, signal);
  await analyseOnce(second, signal);
  expect(await loadModelStates(house.control)).toMatchObject([{ model: 'analysed', active_version: 'v1' }]);
  for (let restart = 0; restart < 3; restart++) {
    await house.clock.advance(16_000); // the lease of the one before is over
    await analyseOnce(await worker(house, `restarted-${restart}`), signal);
  }
  const incidents = await house.incidents();
  expect(incidents).toMatchObject([
    { kind: 'drift', state: 'firing', model: 'analysed', started_at_ms: start_ms + 90_000 },
  ]);
  const decisions = await house.control.transaction((tx) => tx.list(RETRAIN_DECISIONS, {}));
  expect(decisions.map(({ body }) => [body.state, body.incident_id])).toEqual([['dispatched', incidents[0]?.id]]);
  const told = await house.control.transaction((tx) =>
    tx.list(OUTBOX, { order: { field: 'sequence', descending: false } }),
  );
  expect(told.map(({ body }) => [body.type, body.sink])).toEqual([
    ['leeway.incident.opened', 'ops'],
    ['leeway.drift.detected', 'ops'],
    ['leeway.retrain.requested', 'target:live'],
  ]);
  // what the sink is told of the drift is what the contract names
  expect(told[1]?.body.data).toEqual({
    model: 'analysed',
    version: 'v1',
    incident_id: incidents[0]?.id,
    detected_at_ms: incidents[0]?.opened_at_ms,
    estimated_start_ms: start_ms + 90_000,
    features: [expect.objectContaining({ name: 'x', contribution: expect.any(Number) })],
    segments: [],
    e_value: expect.any(Number),
    samples_per_false_alarm: 100 * 259_200, // 100 rows a window, one alarm a month of 259,200 windows of ten seconds
    estimated_metrics: {},
    reference: { version: 'v1', edges_id: 'v1:first-500' },
    url: `http://leeway.test/incidents/${incidents[0]?.id}`,
  });
});

test('a worker without the lease does nothing until the lease is over', async () => {
  await using house = await openHouse();
  const [first, second] = [await worker(house, 'first'), await worker(house, 'second')];
  const looked: string[] = [];
  const of = (options: AnalysisOptions, name: string): AnalysisOptions => ({
    ...options,
    ownFindings: async () => {
      looked.push(name);
      return [];
    },
  });
  await analyseOnce(of(first, 'first'), signal);
  await analyseOnce(of(second, 'second'), signal);
  await house.clock.advance(14_999);
  await analyseOnce(of(second, 'second'), signal);
  await house.clock.advance(1);
  await analyseOnce(of(second, 'second'), signal);
  await analyseOnce(of(first, 'first'), signal);
  expect(looked).toEqual(['first', 'second']);
});
