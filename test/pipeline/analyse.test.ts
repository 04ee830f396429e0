import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { OUTBOX, RETRAIN_DECISIONS } from '../../src/control/collections.ts';
import type { Clock } from '../../src/core/clock.ts';
import { parseUsd } from '../../src/core/money.ts';
import { seededRandom } from '../../src/core/random.ts';
import type { LeewayRecord } from '../../src/core/records.ts';
import { Analysis, type AnalysisOptions, type Watches } from '../../src/pipeline/analyse.ts';
import { loadJobMemory, saveJobMemory } from '../../src/pipeline/job-memory.ts';
import { JobWatch } from '../../src/pipeline/job-watch.ts';
import { ModelWatch } from '../../src/pipeline/model-watch.ts';
import { Retraining } from '../../src/pipeline/retrain.ts';
import { loadModelStates, saveModelStates } from '../../src/read/models.ts';
import type { RetrainPolicy } from '../../src/retrain/policy.ts';
import { ruleOf } from '../incident/fixtures.ts';
import { simulate } from '../straggler/simulator.ts';
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
function worker(house: House, holder: string, changes: Partial<AnalysisOptions> = {}): Analysis {
  return new Analysis({ ...optionsOf(house, holder), ...changes });
}

/** Watches as a worker begins with. */
async function watchesOf({ control, clock }: House, history_ms = 960_000): Promise<Watches> {
  const windows = { window_ms: WINDOW_MS, rows_min: 50, reference_rows: 500, false_alarms_per_month: 1 };
  const restored = await loadModelStates(control);
  return {
    jobs: new JobWatch(live.store, { detector: {}, history_ms }, await loadJobMemory(control, clock.now_ms())),
    models: new ModelWatch(live.store, { ...windows, hysteresis_windows: () => 4 }, restored),
  };
}

function optionsOf(house: House, holder: string): AnalysisOptions {
  const { control, clock, desk } = house;
  return {
    clock,
    control,
    desk,
    begin: () => watchesOf(house),
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
    saveJobs: (memory, now_ms) => saveJobMemory(control, memory, now_ms),
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
  const moved = { from_ms: start_ms + 90_000, rows: 400, shift: 2, random: seededRandom(seed + 1) };
  await live.put(traffic({ ...rows, ...moved }));
  await house.clock.advance(132_000);
  await worker(house, 'first').once(signal);
  await worker(house, 'second').once(signal);
  expect(await loadModelStates(house.control)).toMatchObject([{ model: 'analysed', active_version: 'v1' }]);
  for (let restart = 0; restart < 3; restart++) {
    await house.clock.advance(16_000); // the lease of the one before is over
    await worker(house, `restarted-${restart}`).once(signal);
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

/** A worker that notes each look by its name. */
function noted(house: House, holder: string, looked: string[], changes: Partial<AnalysisOptions> = {}): Analysis {
  const ownFindings = async () => {
    looked.push(holder);
    return [];
  };
  return worker(house, holder, { ownFindings, ...changes });
}

test('a worker without the lease does nothing until the lease is over', async () => {
  await using house = await openHouse();
  const looked: string[] = [];
  const [first, second] = [noted(house, 'first', looked), noted(house, 'second', looked)];
  await first.once(signal);
  await second.once(signal);
  await house.clock.advance(14_999);
  await second.once(signal);
  await house.clock.advance(1);
  await second.once(signal);
  await first.once(signal);
  expect(looked).toEqual(['first', 'second']);
});

test(`drift that goes on stays one incident when a worker takes over that last analysed before it (seed ${seed})`, async () => {
  const drift = ruleOf({
    id: 'drift.features',
    finding: 'drift.features',
    fire: { above: 0.5 },
    clear: { below: 0.5 },
  });
  await using house = await openHouse({ rules: [drift] });
  const [first, standby] = [worker(house, 'first'), worker(house, 'standby')];
  await house.clock.advance(86_400_000); // nothing of other tests is recent to it
  await standby.once(signal); // it has the lease and finds nothing
  await house.clock.advance(20_000);
  const start_ms = house.clock.now_ms();
  const rows = { model: 'taken-over', version: 'v1', every_ms: 100 };
  const steady = traffic({ ...rows, from_ms: start_ms, rows: 900, random: seededRandom(seed) });
  const moved = traffic({
    ...rows,
    from_ms: start_ms + 90_000,
    rows: 10_500,
    shift: 2,
    random: seededRandom(seed + 1),
  });
  await live.put(steady);
  await live.put(moved);
  // the drift goes on for longer than the 16 minutes that are read back, so the reference cannot be made again from the rows
  for (let minute = 0; minute < 19; minute++) {
    await house.clock.advance(60_000);
    await first.once(signal);
    await standby.once(signal);
  }
  const reference = async () => (await loadModelStates(house.control))[0]?.versions[0]?.reference_end?.at_ms;
  const before = { reference: await reference(), incidents: await house.incidents() };
  expect(before).toMatchObject({ reference: start_ms + 49_900, incidents: [{ state: 'firing' }] });
  await house.clock.advance(16_000); // the first one is gone
  for (let look = 0; look < 6; look++) {
    await standby.once(signal);
    await house.clock.advance(1_000);
  }
  expect(await reference()).toBe(before.reference);
  expect(await house.incidents()).toMatchObject([{ id: before.incidents[0]?.id, state: 'firing' }]);
});

test('a slow rank stays one incident when a worker takes over long after it became slow', async () => {
  const slow = ruleOf(JSON.parse(await readFile('alerts/rules/straggler.slow_rank.json', 'utf8')));
  await using house = await openHouse({ rules: [slow] });
  await house.clock.advance(5 * 86_400_000); // nothing of other tests is recent to it
  const faults = [{ kind: 'gpu_slow', rank: 3, ratio: 0.25, from: 150 }] as const;
  const { records } = simulate({ seed: 31, dp: 8, steps: 400, faults });
  const first_ms = Math.min(...records.map((record) => ('at_ms' in record ? record.at_ms : Infinity)));
  const start_ms = house.clock.now_ms();
  const job = records.map(
    (record) =>
      ({ ...record, at_ms: (record as { at_ms: number }).at_ms - first_ms + start_ms }) as LeewayRecord & {
        at_ms: number;
      },
  );
  const begin = () => watchesOf(house, 120_000); // less than it took the incident
  const first = worker(house, 'first', { begin });
  for (let minute = 0; minute < 11; minute++) {
    const from_ms = house.clock.now_ms();
    await live.put(job.filter(({ at_ms }) => at_ms >= from_ms && at_ms < from_ms + 60_000));
    await house.clock.advance(57_000); // longer than the lease: each time as after a break
    await first.once(signal);
    await house.clock.advance(3_000); // what it found may have been history that is still coming
    await first.once(signal);
  }
  const [opened] = await house.incidents();
  expect(opened).toMatchObject({ state: 'firing', job: 'sim-31' });
  const second = worker(house, 'second', { begin });
  for (let look = 0; look < 20; look++) {
    await house.clock.advance(look % 2 === 0 ? 597_000 : 3_000);
    await second.once(signal);
  }
  expect(await house.incidents()).toMatchObject([{ id: opened?.id, state: 'firing' }]);
});

test('a worker that was away for as long as a lease begins with what is kept, one that held it goes on', async () => {
  await using house = await openHouse();
  let begun = 0;
  const begin = () => {
    begun++;
    return watchesOf(house);
  };
  const one = worker(house, 'one', { begin });
  for (const wait_ms of [0, 1_000, 14_998]) {
    await house.clock.advance(wait_ms);
    await one.once(signal);
  }
  expect(begun).toBe(1);
  await house.clock.advance(15_000); // another one may have had the lease, and given it back
  await one.once(signal);
  expect(begun).toBe(2);
});

test('a pass that takes longer than the lease keeps it', async () => {
  await using house = await openHouse();
  const looked: string[] = [];
  const slow = async () => {
    looked.push('slow begins');
    await house.clock.sleep(40_000, signal);
    looked.push('slow ends');
    return [];
  };
  const [first, second] = [worker(house, 'first', { ownFindings: slow }), noted(house, 'second', looked)];
  const running = first.once(signal);
  await expect.poll(() => looked).toEqual(['slow begins']);
  for (let second_of = 0; second_of < 41; second_of++) {
    await house.clock.advance(1_000);
    await second.once(signal);
  }
  await running;
  expect(looked).toEqual(['slow begins', 'slow ends']);
});

test('a pass during which another worker took over judges and keeps nothing', async () => {
  const rule = ruleOf({ id: 'drift.features', finding: 'drift.features', fire: { above: 0.5 }, clear: { below: 0.5 } });
  await using house = await openHouse({ rules: [rule] });
  const looked: string[] = [];
  const { promise: stands, resolve: goOn } = Promise.withResolvers<void>();
  const { clock } = house;
  // a process that is frozen: time goes on, its timers do not
  const frozen: Clock = {
    now_ms: () => clock.now_ms(),
    elapsed_ms: () => clock.elapsed_ms(),
    sleep: (_ms, aborted) =>
      new Promise((_resolve, reject) =>
        aborted.addEventListener('abort', () => reject(aborted.reason), { once: true }),
      ),
  };
  const ownFindings = async () => {
    looked.push('frozen');
    await stands;
    return [];
  };
  let kept = 0;
  const saveModels = async () => void kept++;
  const onFinding = () => looked.push('judged');
  const first = worker(house, 'first', { clock: frozen, ownFindings, saveModels, onFinding });
  await live.put(
    traffic({
      model: 'frozen',
      version: 'v1',
      from_ms: clock.now_ms(),
      every_ms: 100,
      rows: 10,
      random: seededRandom(seed),
    }),
  );
  await clock.advance(2_000);
  const running = first.once(signal);
  await expect.poll(() => looked).toEqual(['frozen']);
  await clock.advance(16_000);
  await noted(house, 'second', looked).once(signal);
  goOn();
  await expect(running).rejects.toMatchObject({ code: 'LW-CONFLICT' });
  expect([looked, kept]).toEqual([['frozen', 'second'], 0]);
});
