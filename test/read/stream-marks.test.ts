import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import type { Store } from '../../src/core/ports.ts';
import { seededRandom } from '../../src/core/random.ts';
import type { LeewayRecord } from '../../src/core/records.ts';
import { JobWatch } from '../../src/pipeline/job-watch.ts';
import { ModelWatch } from '../../src/pipeline/model-watch.ts';
import { NOTHING_SEEN, seen, type StreamMarks, unseen, withSeen } from '../../src/read/stream-marks.ts';
import { openEmbeddedStore } from '../../src/store/embedded.ts';
import { createStragglerDetector } from '../../src/straggler/detector.ts';
import type { StragglerReport } from '../../src/straggler/report.ts';
import { Partitions } from '../contract/partitions.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { traffic } from '../pipeline/live-store.ts';
import { simulate } from '../straggler/simulator.ts';

const signal = new AbortController().signal;
const DAY_MS = 86_400_000;
const WATCHING = {
  window_ms: 60_000,
  rows_min: 50,
  reference_rows: 500,
  false_alarms_per_month: 1,
  hysteresis_windows: () => 4,
};

const resources = new AsyncDisposableStack();
let store: Store;
let topic: Partitions;
/** Each test has a day of its own, so that nothing of another test is recent to it. */
let start_ms = 1_767_225_600_000;
beforeAll(async () => {
  const { path } = resources.use(await scratchDirectory());
  store = resources.use(await openEmbeddedStore({ data_dir: path, clock: systemClock }));
  topic = new Partitions(store, path);
});
beforeEach(() => {
  start_ms += DAY_MS;
});
afterAll(() => resources.disposeAsync());

const lineage = (stream: number, place: number): bigint => (BigInt(stream) << 52n) | BigInt(place);

test.each([
  ['nothing', NOTHING_SEEN, [true, true, true, true, true]],
  ['one stream', withSeen(NOTHING_SEEN, [lineage(0, 7)]), [false, true, true, true, true]],
  ['another stream', withSeen(NOTHING_SEEN, [lineage(5, 3)]), [true, true, true, false, true]],
  ['both', withSeen(NOTHING_SEEN, [lineage(5, 4), lineage(0, 7), lineage(5, 3)]), [false, true, true, false, false]],
  [
    'streams by the thousand',
    withSeen(
      NOTHING_SEEN,
      Array.from({ length: 4096 }, (_, stream) => lineage(stream, 8)),
    ),
    [false, false, true, false, false],
  ],
] as const)(
  'with %s seen, what is unseen is above the mark of its own stream',
  async (_name, marks: StreamMarks, expected) => {
    const rows = [lineage(0, 7), lineage(0, 8), lineage(0, 9), lineage(5, 3), lineage(5, 4)];
    const given = rows.map((row) => `toUInt64(${0xffff_ffff_ffff_ffffn - row})`).join(', ');
    const found = await store.query<{ is_unseen: number; is_seen: number }>(
      `SELECT ${unseen(marks)} AS is_unseen, ${seen(marks)} AS is_seen FROM (SELECT arrayJoin([${given}]) AS precedence)`,
      {},
      signal,
    );
    expect(found.map(({ is_unseen }) => is_unseen === 1)).toEqual(expected);
    expect(found.map(({ is_seen }) => is_seen === 0)).toEqual(expected);
  },
);

test('predictions and labels of every partition are counted, also of one that is new and of one below the others', async () => {
  const sent = (model: string, from: number) => {
    const of = { model, version: 'v1', from_ms: start_ms + from * 1_000, every_ms: 1_000, rows: 100, accuracy: 0.9 };
    const records = traffic({ ...of, random: seededRandom(from + 1) });
    return (type: LeewayRecord['type']) => records.filter((record) => record.type === type);
  };
  const models = new ModelWatch(store, WATCHING);
  let found: Awaited<ReturnType<ModelWatch['analyse']>> = [];
  for (let round = 0; round < 6; round++) {
    const [upper, lower, late] = ['upper', 'lower', 'late'].map((model) => sent(model, round * 100));
    if (upper === undefined || lower === undefined || late === undefined) throw new Error('three models');
    await topic.deliver([
      { partition: 5, source: 'host-upper', records: upper('prediction') },
      { partition: 1, source: 'host-lower', records: lower('prediction') },
      { partition: 3, source: 'host-late', records: round < 3 ? [] : late('prediction') },
    ]);
    await models.analyse(start_ms + round * 100_000 + 100_500, signal);
    await topic.deliver([
      { partition: 0, source: 'labels', records: upper('label') },
      { partition: 5, source: 'labels-lower', records: lower('label') },
    ]);
    found = await models.analyse(start_ms + round * 100_000 + 101_000, signal);
  }
  const counts = found.map(({ state }) => {
    const known = state.versions[0];
    return [state.model, known?.predictions, known?.spans.reduce((sum, { labelled }) => sum + labelled, 0)];
  });
  expect(counts.toSorted(([one], [other]) => String(one).localeCompare(String(other)))).toEqual([
    ['late', 300, 0],
    ['lower', 600, 600],
    ['upper', 600, 600],
  ]);
});

type Timed = LeewayRecord & { readonly at_ms: number; readonly rank?: number };

/** A job of 8 ranks on two nodes, ten and a half minutes; the ranks of each node send through a partition of their own. */
function job(seed: number): { records: Timed[]; start_ms: number; end_ms: number } {
  const faults = [{ kind: 'gpu_slow', rank: 3, ratio: 0.25, from: 150, echo: 'thermal' }] as const;
  const { records } = simulate({ seed, dp: 8, steps: 400, ranks_per_node: 4, faults, gpus: true });
  const first_ms = Math.min(...records.map((record) => (record as Timed).at_ms));
  const moved = records.map((record) => ({ ...record, at_ms: (record as Timed).at_ms - first_ms + start_ms }) as Timed);
  moved.sort((a, b) => a.at_ms - b.at_ms);
  return { records: moved, start_ms, end_ms: moved.at(-1)?.at_ms ?? 0 };
}

function send(records: readonly Timed[]): Promise<void> {
  const isUpper = ({ rank }: Timed): boolean => (rank ?? 0) >= 4;
  return topic.deliver([
    { partition: 7, source: 'node-1', records: records.filter(isUpper) },
    { partition: 2, source: 'node-0', records: records.filter((record) => !isUpper(record)) },
  ]);
}

/** What the detector alone says of all records. */
function alone(records: readonly Timed[], end_ms: number): StragglerReport {
  const detector = createStragglerDetector();
  for (const record of records) detector.observe(record);
  detector.advance(end_ms + 11_000, { arrivals_stopped_ms: end_ms });
  return detector.report();
}

test('a slow rank is found in a job whose nodes send through different partitions', async () => {
  const { records, end_ms } = job(11);
  const watcher = new JobWatch(store, { detector: {}, history_ms: 960_000 });
  for (let from_ms = start_ms; from_ms <= end_ms; from_ms += 100_000) {
    await send(records.filter(({ at_ms }) => at_ms >= from_ms && at_ms < from_ms + 100_000));
    await watcher.analyse(from_ms + 100_000, signal);
    await watcher.analyse(from_ms + 100_001, signal);
  }
  await watcher.analyse(end_ms + 11_000, signal);
  const expected = alone(records, end_ms);
  const essence = ({ jobs, incidents }: StragglerReport) => [
    jobs.map(({ ranks, steps, coverage_ratio, verdict }) => ({ ranks, steps, coverage_ratio, verdict })),
    incidents.map(({ kind, subjects, cause, started_step, raised_step }) => ({
      kind,
      subjects,
      cause,
      started_step,
      raised_step,
    })),
  ];
  expect(expected.incidents).toMatchObject([{ kind: 'slow_rank', subjects: [{ id: '3' }], cause: 'thermal' }]);
  expect(essence(watcher.report())).toEqual(essence(expected));
});

test('more history than one reading takes is read in order of time, whatever partition it came by', async () => {
  const { records, end_ms } = job(12);
  await send(records); // all of one node lies behind all of the other by lineage
  const watcher = new JobWatch(store, { detector: {}, history_ms: 960_000, rows_max: 500 });
  for (let look = 0; look < 30; look++) await watcher.analyse(end_ms + 11_000 + look * 1_000, signal);
  expect(watcher.report()).toEqual(alone(records, end_ms));
});
