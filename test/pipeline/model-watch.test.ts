import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { seededRandom } from '../../src/core/random.ts';
import type { LeewayRecord } from '../../src/core/records.ts';
import type { VersionState } from '../../src/pipeline/model-state.ts';
import { ModelWatch, type WatchOptions } from '../../src/pipeline/model-watch.ts';
import { loadModelStates, saveModelStates } from '../../src/read/models.ts';
import { askedStore } from '../contract/asked-store.ts';
import { type LiveStore, openLiveStore, traffic } from './live-store.ts';

vi.setConfig({ testTimeout: 30_000 }); // a real store on a machine that others use too

const signal = new AbortController().signal;
const seed = Number(process.env['LEEWAY_SEED'] ?? Date.now() % 1_000_000);
/** Each test has a day of its own from 2026-01-01T00:00:00Z on, so that nothing of another test is recent to it. */
let start_ms = 1_767_225_600_000 - 86_400_000;
const WINDOW_MS = 10_000;
const OPTIONS: WatchOptions = {
  window_ms: WINDOW_MS,
  rows_min: 50,
  reference_rows: 500,
  false_alarms_per_month: 1,
  hysteresis_windows: () => 4,
};

let live: LiveStore;
beforeAll(async () => {
  live = await openLiveStore();
});
beforeEach(() => {
  start_ms += 86_400_000;
});
afterAll(() => live[Symbol.asyncDispose]());

function watch(options: Partial<WatchOptions> = {}): ModelWatch {
  return new ModelWatch(live.store, { ...OPTIONS, ...options });
}

async function look(watcher: ModelWatch, model: string, now_ms: number) {
  return (await watcher.analyse(now_ms, signal)).find(({ state }) => state.model === model);
}

async function versionOf(watcher: ModelWatch, model: string, now_ms: number, version = 'v1'): Promise<VersionState> {
  const found = (await look(watcher, model, now_ms))?.state.versions.find((known) => known.version === version);
  if (found === undefined) throw new Error(`${model} ${version} was not found`);
  return found;
}

/** Ten rows a second: 100 a window. The reference of 500 rows ends with its fifth window, of which nothing is left. */
function rows(model: string, of: Partial<Parameters<typeof traffic>[0]>): LeewayRecord[] {
  const common = { model, version: 'v1', from_ms: start_ms, every_ms: 100, rows: 1_500 };
  return traffic({ ...common, random: seededRandom(seed), ...of });
}

test('the reference is the first rows of a version, exactly as many as configured, in order of time', async () => {
  const all = rows('exact', { rows: 501 });
  await live.put(all.slice(250));
  const watcher = watch();
  expect((await versionOf(watcher, 'exact', start_ms + 60_000)).reference).toBeNull();
  await live.put(all.slice(0, 249));
  // 251 + 249 = 500 rows are there, the 250th is missing: the row after it takes its place
  const known = await versionOf(watcher, 'exact', start_ms + 61_000);
  expect(known.reference?.n).toBe(500);
  expect(known.reference_end).toEqual({ at_ms: start_ms + 50_000, request_id: `v1-${start_ms + 50_000}` });
  await live.put(all.slice(249, 250));
  expect((await versionOf(watcher, 'exact', start_ms + 62_000)).reference_end?.at_ms).toBe(start_ms + 50_000);
});

test('a reference that takes longer than the history looked back on is still frozen', async () => {
  const every_ms = 5_000; // 500 rows are 41 minutes
  const all = rows('slow', { every_ms, rows: 500 });
  const watcher = watch({ window_ms: 600_000 });
  for (const [from, to] of [
    [0, 150],
    [150, 300],
    [300, 500],
  ] as const) {
    await live.put(all.slice(from, to));
    await look(watcher, 'slow', start_ms + to * every_ms + 2_000);
  }
  const known = await versionOf(watcher, 'slow', start_ms + 500 * every_ms + 3_000);
  expect([known.predictions, known.reference?.n, known.first_ms]).toEqual([500, 500, start_ms]);
});

test('a window is judged when its time is over and the rows in flight had 1.5 s, not before', async () => {
  await live.put(rows('grace', { rows: 800 }));
  const watcher = watch();
  const ends = async (now_ms: number) =>
    (await versionOf(watcher, 'grace', now_ms)).windows.slice(1).map(({ to_ms }) => to_ms);
  expect(await ends(start_ms + 61_499)).toEqual([]);
  expect(await ends(start_ms + 61_500)).toEqual([start_ms + 60_000]);
  expect(await ends(start_ms + 81_500)).toEqual([60_000, 70_000, 80_000].map((ms) => start_ms + ms));
});

test('rows that come late judge their window again, and labels that come late count', async () => {
  const all = rows('late', { rows: 800, accuracy: 1 });
  const predictions = all.filter(({ type }) => type === 'prediction');
  const labels = all.filter(({ type }) => type === 'label');
  await live.put([...predictions.slice(0, 640), ...predictions.slice(700)]);
  const watcher = watch();
  const before = await versionOf(watcher, 'late', start_ms + 90_000);
  // 40 of 100 rows are there: fewer than rows_min, so nothing is said
  expect(before.windows[2]).toMatchObject({ from_ms: start_ms + 60_000, n: 40, status: 'insufficient' });
  await live.put(predictions.slice(640, 700));
  await live.put(labels.slice(600, 650));
  const after = await versionOf(watcher, 'late', start_ms + 91_000);
  expect(after.windows[2]).toMatchObject({ from_ms: start_ms + 60_000, n: 100, rows: 100, status: 'stable' });
  const span = after.spans.find(({ from_ms }) => from_ms === start_ms + 60_000);
  expect(span).toEqual({ from_ms: start_ms + 60_000, predicted: 100, labelled: 50, correct: 50 });
  expect(after.reference_quality).toEqual({ labelled: 0, correct: 0 });
  await live.put(labels.slice(0, 500));
  const labelled = await versionOf(watcher, 'late', start_ms + 92_000);
  expect(labelled.reference_quality).toEqual({ labelled: 500, correct: 500 });
});

test(`a shifted feature is found in each of its windows and named; the drift starts with the first (seed ${seed})`, async () => {
  // two standard deviations move 68 % of a normal: five deviations less of 100 rows are still far below any alpha here
  const steady = rows('shift', { rows: 900 });
  const shifted = rows('shift', { from_ms: start_ms + 90_000, rows: 400, shift: 2, random: seededRandom(seed + 1) });
  await live.put([...steady, ...shifted]);
  const found = await look(watch(), 'shift', start_ms + 132_000);
  const known = found?.state.versions[0];
  expect(known?.windows.map(({ status }) => status)).toEqual([
    'insufficient',
    ...Array(4).fill('stable'),
    ...Array(4).fill('drift'),
  ]);
  expect(found?.finding).toMatchObject({
    name: 'drift.features',
    key: 'model:shift/drift',
    scope: { model: 'shift', version: 'v1' },
    value: 4,
    started_at_ms: start_ms + 90_000,
    coverage_ratio: 1,
  });
  expect(found?.finding.evidence).toMatchObject({
    features: [{ name: 'x', statistic: expect.any(String), p_value: expect.any(Number) }],
    reference: { version: 'v1', edges_id: 'v1:first-500' },
    samples_per_false_alarm: 100 * 259_200, // 100 rows a window, one alarm a month of 259,200 windows of ten seconds
  });
  expect(found?.situation).toMatchObject({ windows_assessed: 4, windows_drifted: 4, rows: 400, labelled_rows: 0 });
});

test(`a stream that does not change raises nothing in 80 windows (seed ${seed})`, async () => {
  await live.put(rows('null', { rows: 8_500, random: seededRandom(seed + 2), accuracy: 0.9 }));
  const found = await look(watch(), 'null', start_ms + 852_000);
  const drifted = found?.state.versions[0]?.windows.filter(({ status }) => status === 'drift');
  // chance of one alarm in these 80 windows at one a month of 259,200: 3e-4
  expect([drifted, found?.finding.value, found?.quality?.value]).toEqual([[], 0, 0]);
  expect(found?.state.versions[0]?.windows.filter(({ status }) => status === 'stable')).toHaveLength(80);
});

test('accuracy is that of the labels, against the reference by exact counts', async () => {
  // 500 right answers, then 300 wrong ones of the same inputs: concept drift
  await live.put([
    ...rows('concept', { rows: 500, accuracy: 1 }),
    ...rows('concept', { from_ms: start_ms + 50_000, rows: 300, accuracy: 0, random: seededRandom(seed + 3) }),
  ]);
  const found = await look(watch(), 'concept', start_ms + 82_000);
  expect(found?.situation).toMatchObject({ reference_accuracy: 1, labelled_rows: 300, windows_drifted: 0 });
  expect(found?.situation.accuracy).toMatchObject({ accuracy: 0, worse: true, completeness_ratio: 1 });
  expect(found?.quality).toMatchObject({ name: 'quality.accuracy', cause: 'concept', value: 1 });
});

test('coverage is the share of served requests whose prediction came', async () => {
  const histogram = { bounds: [1], counts: [0, 0], sum: 0 };
  // the server counted 20 requests a second from the end of the reference on, every second one told
  const served: LeewayRecord[] = Array.from({ length: 30 }, (_, second) => ({
    type: 'inference',
    model: 'covered',
    version: 'v1',
    replica: 'r1',
    provider: 'CPUExecutionProvider',
    at_ms: start_ms + 50_000 + (second + 1) * 1_000,
    window_ms: 1_000,
    requests: 20,
    errors: 0,
    queue_ms: histogram,
    compute_ms: histogram,
    total_ms: histogram,
  }));
  await live.put([...rows('covered', { rows: 800 }), ...served]);
  const found = await look(watch(), 'covered', start_ms + 82_000);
  expect(found?.situation.coverage_ratio).toBe(300 / 600);
});

test('between the ends of long windows there are still rows, labels and coverage', async () => {
  // one window an hour, 30 minutes into it, after a reference that ended in the hour before
  const hour_ms = 3_600_000;
  const before = rows('hourly', { from_ms: start_ms, rows: 500, accuracy: 1, every_ms: 7_000 });
  const now = rows('hourly', { from_ms: start_ms + hour_ms, rows: 200, accuracy: 1, every_ms: 9_000 });
  const watcher = watch({ window_ms: hour_ms });
  for (let from = 0; from < before.length; from += 250) {
    await live.put(before.slice(from, from + 250));
    await look(watcher, 'hourly', start_ms + ((from + 250) / 2) * 7_000);
  }
  await live.put(now.slice(0, 200));
  await look(watcher, 'hourly', start_ms + hour_ms + 900_000);
  await live.put(now.slice(200));
  const found = await look(watcher, 'hourly', start_ms + hour_ms + 1_800_000);
  expect(found?.situation).toMatchObject({ rows: 200, labelled_rows: 200, coverage_ratio: 1 });
});

test('a new version gets a baseline of its own and becomes the active one when the other falls silent', async () => {
  const first = rows('next', { rows: 900 });
  // the second version serves other inputs from the start: no drift, they are its baseline
  const second = rows('next', { version: 'v2', from_ms: start_ms + 85_000, rows: 1_000, shift: 2 });
  await live.put([...first, ...second.slice(0, 100)]);
  const watcher = watch();
  const both = await look(watcher, 'next', start_ms + 95_000);
  expect(both?.state.active_version).toBe('v1');
  await live.put(second.slice(100));
  const found = await look(watcher, 'next', start_ms + 190_000);
  expect(found?.state.active_version).toBe('v2');
  const known = found?.state.versions.find(({ version }) => version === 'v2');
  expect(known?.reference?.edges_id).toBe('v2:first-500');
  expect(known?.reference?.features['x']?.n).toBe(500);
  expect(new Set(known?.windows.slice(1).map(({ status }) => status))).toEqual(new Set(['stable']));
  expect(found?.finding).toMatchObject({ scope: { version: 'v2' }, value: 0 });
});

test('before there is a reference the finding rests on no data, and says why', async () => {
  await live.put(rows('young', { rows: 120 }));
  const found = await look(watch(), 'young', start_ms + 15_000);
  expect(found?.finding).toMatchObject({ value: null, reason: 'reference_not_complete', data_count: 0 });
});

test('history posted at once ends in the same verdicts as the same rows looked at live', async () => {
  const steady = (model: string) => rows(model, { rows: 900, random: seededRandom(seed), accuracy: 0.9 });
  const shifted = (model: string) =>
    rows(model, { from_ms: start_ms + 90_000, rows: 300, shift: 2, random: seededRandom(seed + 1), accuracy: 0.5 });
  const now_ms = start_ms + 122_000;
  const lived = [...steady('lived'), ...shifted('lived')];
  const live_watch = watch();
  for (let second = 0; second < 120; second += 20) {
    const due = ({ at_ms }: { at_ms?: number }) =>
      (at_ms ?? 0) >= start_ms + second * 1_000 && (at_ms ?? 0) < start_ms + (second + 20) * 1_000;
    await live.put(lived.filter((record) => due(record as { at_ms: number })));
    await look(live_watch, 'lived', start_ms + (second + 20) * 1_000);
  }
  await live.put([...steady('posted'), ...shifted('posted')]);
  // posted 15 minutes later: the oldest row is 15 minutes old, and was 5 s on its way to the analysis
  const posted = await look(watch(), 'posted', start_ms + 905_000);
  const lived_state = await look(live_watch, 'lived', now_ms);
  const essence = (analysis: typeof posted) => {
    const { spans, windows, reference, reference_quality, first_ms } = analysis?.state.versions[0] ?? {};
    return { spans, windows, features: reference?.features, reference_quality, first_ms };
  };
  expect(essence(posted)).toEqual(essence(lived_state));
  expect(posted?.finding.value).toBe(3);
});

test('state kept in the control store goes on where it was; nothing is judged twice', async () => {
  const all = [
    ...rows('kept', { rows: 900, accuracy: 0.9 }),
    ...rows('kept', { from_ms: start_ms + 90_000, rows: 300, shift: 2, accuracy: 0.5, random: seededRandom(seed + 1) }),
  ];
  await live.put(all.slice(0, 1_900));
  const first = watch();
  const before = await look(first, 'kept', start_ms + 97_000);
  if (before === undefined) throw new Error('the model was not found');
  await saveModelStates(live.control, [before.state], start_ms + 97_000);
  await live.put(all.slice(1_900));
  const restored = (await loadModelStates(live.control)).filter(({ model }) => model === 'kept');
  const now_ms = start_ms + 122_000;
  const after = await look(new ModelWatch(live.store, OPTIONS, restored), 'kept', now_ms);
  expect(after).toEqual(await look(first, 'kept', now_ms));
  // 20 minutes later nothing of it would be read any more: what is known was kept
  await saveModelStates(live.control, after === undefined ? [] : [after.state], now_ms);
  const later = (await loadModelStates(live.control)).find(({ model }) => model === 'kept');
  expect(later).toEqual(after?.state);
});

test('the same look twice changes nothing, and one without news reads no rows', async () => {
  await live.put(rows('idle', { rows: 900 }));
  const { store, asked } = askedStore(live.store);
  const watcher = new ModelWatch(store, OPTIONS);
  const first = structuredClone(await watcher.analyse(start_ms + 92_000, signal));
  asked.length = 0;
  expect(await watcher.analyse(start_ms + 92_000, signal)).toEqual(first);
  expect(asked.filter((sql) => /leeway\.(prediction|label)/.test(sql))).toEqual([]);
});
