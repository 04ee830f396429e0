import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { LeewayRecord } from '../../src/core/records.ts';
import { JobWatch } from '../../src/pipeline/job-watch.ts';
import { createStragglerDetector } from '../../src/straggler/detector.ts';
import { STRAGGLER_LIVE_DEMO } from '../../src/straggler/options.ts';
import type { StragglerReport } from '../../src/straggler/report.ts';
import { askedStore } from '../contract/asked-store.ts';
import type { Plan } from '../straggler/plan.ts';
import { simulate } from '../straggler/simulator.ts';
import { type LiveStore, openLiveStore } from './live-store.ts';

const signal = new AbortController().signal;
const HISTORY_MS = 16 * 60_000;
const DAY_MS = 86_400_000;

let live: LiveStore;
/** Each test has a day of its own, so that nothing of another test is recent to it. */
let day = 0;
beforeAll(async () => {
  live = await openLiveStore();
});
beforeEach(() => {
  day++;
});
afterAll(() => live[Symbol.asyncDispose]());

type Timed = LeewayRecord & { readonly at_ms: number };

/** A simulated job of 8 ranks and 400 steps of 1.56 s: ten and a half minutes. */
function job(plan: Partial<Plan> & Pick<Plan, 'seed' | 'faults'>): Timed[] {
  const { records } = simulate({ dp: 8, steps: 400, ranks_per_node: 4, ...plan });
  return records.map((record) => ({ ...record, at_ms: (record as Timed).at_ms + day * DAY_MS }) as Timed);
}

function watch(): JobWatch {
  return new JobWatch(live.store, { detector: {}, history_ms: HISTORY_MS });
}

function endOf(records: readonly Timed[]): number {
  return records.reduce((latest, { at_ms }) => Math.max(latest, at_ms), 0);
}

/** What the detector alone says of the same records at the same time. */
function alone(records: readonly LeewayRecord[], now_ms: number): StragglerReport {
  const detector = createStragglerDetector();
  for (const record of records) detector.observe(record);
  detector.advance(now_ms, { arrivals_stopped_ms: endOf(records as Timed[]) });
  return detector.report();
}

/** Two looks: the first one finds history and lets it settle. */
async function settled(watcher: JobWatch, now_ms: number) {
  await watcher.analyse(now_ms, signal);
  return watcher.analyse(now_ms + 1, signal);
}

const SLOW = {
  seed: 11,
  faults: [{ kind: 'gpu_slow', rank: 3, ratio: 0.25, from: 150, echo: 'thermal' }],
  gpus: true,
} as const;

test('records that came through the store end in the incidents that the detector finds alone', async () => {
  const records = job(SLOW);
  const now_ms = endOf(records) + 11_000;
  await live.put(records);
  const watcher = watch();
  const findings = await settled(watcher, now_ms);
  const expected = alone(records, now_ms);
  expect(expected.incidents).toMatchObject([
    { kind: 'slow_rank', subjects: [{ type: 'rank', id: '3' }], cause: 'thermal' },
  ]);
  expect(watcher.report()).toEqual(expected);
  expect(findings).toMatchObject([{ name: 'straggler.slow_rank', scope: { job: 'sim-11' } }]);
  expect(findings[0]?.value).toBeGreaterThan(0);
});

test('looked at while they come, the same records end in the same incidents', async () => {
  const records = job(SLOW).toSorted((a, b) => a.at_ms - b.at_ms);
  const start_ms = records[0]?.at_ms ?? 0;
  const end_ms = endOf(records);
  const watcher = watch();
  for (let from_ms = start_ms; from_ms <= end_ms; from_ms += 200_000) {
    const to_ms = from_ms + 200_000;
    await live.put(records.filter(({ at_ms }) => at_ms >= from_ms && at_ms < to_ms));
    await settled(watcher, to_ms);
  }
  await settled(watcher, end_ms + 11_000);
  const essence = ({ incidents }: StragglerReport) =>
    incidents.map(({ id, kind, subjects, cause, started_step, raised_step, gpu_seconds_lost }) => ({
      id,
      kind,
      subjects,
      cause,
      started_step,
      raised_step,
      gpu_seconds_lost,
    }));
  expect(essence(watcher.report())).toEqual(essence(alone(records, end_ms + 11_000)));
});

test.each([
  [25, 0],
  [80, 1],
])(
  'a rank that is slow for the last %i steps of 95 ms is found %i times: a job that ended shows nothing more',
  async (slow_steps, times) => {
    const fault = { kind: 'gpu_slow', rank: 2, ratio: 0.9, from: 250 } as const;
    const shape = { dp: 4, ranks_per_node: 4, steps: 250 + slow_steps, compute_ms: 12, noise: 0.05 };
    const records = job({ seed: 40 + slow_steps, faults: [fault], ...shape });
    const now_ms = endOf(records) + 60_000;
    await live.put(records);
    const watcher = new JobWatch(live.store, { detector: STRAGGLER_LIVE_DEMO, history_ms: HISTORY_MS });
    const findings = await settled(watcher, now_ms);
    expect(watcher.report().incidents.map(({ kind }) => kind)).toEqual(['slow_rank']); // the report tells it either way
    expect(findings.filter(({ value }) => (value ?? 0) > 0)).toHaveLength(times);
  },
);

test('history whose tables come one after the other is judged when it is complete', async () => {
  const records = job({ ...SLOW, seed: 12 });
  const now_ms = endOf(records) + 60_000;
  const watcher = watch();
  await live.put(records.filter(({ type }) => type !== 'gpu'));
  expect(await watcher.analyse(now_ms, signal)).toEqual([]);
  await live.put(records.filter(({ type }) => type === 'gpu'));
  await watcher.analyse(now_ms + 1_000, signal);
  const findings = await watcher.analyse(now_ms + 2_000, signal);
  expect(findings).toMatchObject([{ name: 'straggler.slow_rank', cause: 'thermal' }]);
});

test('a sender whose history never ends is judged all the same, within 2.5 s', async () => {
  const records = job({ ...SLOW, seed: 13 });
  const now_ms = endOf(records) + 60_000;
  const watcher = watch();
  const [first, second, third] = [0, 1, 2].map((part) => records.filter((_, index) => index % 3 === part));
  await live.put(first ?? []);
  expect(await watcher.analyse(now_ms, signal)).toEqual([]);
  await live.put(second ?? []);
  expect(await watcher.analyse(now_ms + 1_250, signal)).toEqual([]);
  await live.put(third ?? []);
  expect(await watcher.analyse(now_ms + 2_500, signal)).toMatchObject([{ name: 'straggler.slow_rank' }]);
});

test('a restarted watch builds the same state from the stored rows', async () => {
  const records = job({ ...SLOW, seed: 14 });
  const now_ms = endOf(records) + 11_000;
  await live.put(records);
  const [before, after] = [watch(), watch()];
  const findings = await settled(before, now_ms);
  expect(await settled(after, now_ms)).toEqual(findings);
  expect(after.report()).toEqual(before.report());
});

test('a look without news asks the store for no rows and repeats what stands', async () => {
  const records = job({ ...SLOW, seed: 15 });
  const now_ms = endOf(records) + 11_000;
  await live.put(records);
  const { store, asked } = askedStore(live.store);
  const watcher = new JobWatch(store, { detector: {}, history_ms: HISTORY_MS });
  const standing = await settled(watcher, now_ms);
  asked.length = 0;
  const again = await watcher.analyse(now_ms + 1, signal);
  expect(again).toEqual(standing);
  expect(asked).toEqual([]);
});

test('a job that stands still while its ranks beat is a hang after 60 s without a step, not before', async () => {
  const records = job({ seed: 16, steps: 120, beats: true, faults: [{ kind: 'hang', rank: 2, from: 100 }] });
  const steps_end_ms = endOf(records.filter(({ type }) => type === 'step'));
  const watcher = watch();
  const hangs = async (now_ms: number) =>
    (await watcher.analyse(now_ms, signal)).filter(({ name }) => name === 'straggler.hang');
  await live.put(records.filter(({ at_ms }) => at_ms <= steps_end_ms));
  expect(await hangs(steps_end_ms + 1_000)).toEqual([]);
  await live.put(records.filter(({ at_ms }) => at_ms > steps_end_ms && at_ms <= steps_end_ms + 75_000));
  expect(await hangs(steps_end_ms + 60_999)).toEqual([]);
  const raised = await hangs(steps_end_ms + 76_000);
  expect(raised).toMatchObject([{ value: 1, scope: { job: 'sim-16' }, subjects: [{ type: 'rank', id: '2' }] }]);
});

test('history that holds a standstill is no hang until 60 s passed without a step', async () => {
  const records = job({ seed: 17, steps: 120, beats: true, faults: [{ kind: 'hang', rank: 2, from: 100 }] });
  const now_ms = endOf(records) + 5_000;
  const watcher = watch();
  await live.put(records);
  const hangs = async (at_ms: number) =>
    (await watcher.analyse(at_ms, signal)).filter(({ name }) => name === 'straggler.hang');
  expect(await hangs(now_ms)).toEqual([]);
  expect(await hangs(now_ms + 59_999)).toEqual([]);
  expect(await hangs(now_ms + 60_000)).toHaveLength(1);
});

test('a job whose history just ends is no hang, however long ago', async () => {
  const records = job({ seed: 18, steps: 120, beats: true, faults: [] });
  await live.put(records);
  const watcher = watch();
  for (const later_ms of [5_000, 30_000, 120_000, 600_000])
    expect(await watcher.analyse(endOf(records) + later_ms, signal)).toEqual([]);
});
