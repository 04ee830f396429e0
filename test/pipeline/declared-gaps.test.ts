import { expect, test } from 'vitest';
import { ENGINE_STATE } from '../../src/control/collections.ts';
import { openSqliteControl } from '../../src/control/sqlite.ts';
import { ManualClock } from '../../src/core/clock.ts';
import type { Backlog, Bus } from '../../src/core/ports.ts';
import type { LinkGap } from '../../src/formats/link-batch.ts';
import { DeclaredGaps } from '../../src/pipeline/declared-gaps.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

const gap = (over: Partial<LinkGap>): LinkGap => ({
  source: 'nvidia@n1',
  epoch: 7,
  run: '',
  reason: 'spool_full_oldest',
  records: 0,
  ranges: [],
  ...over,
});

const EMPTY: Backlog = {
  bytes: 0,
  frames: 0,
  oldest_ms: 0,
  in_flight: [],
  torn_frames: 0,
  damaged_frames: 0,
  quarantined: [],
};

function busWith(backlog: Partial<Backlog>): Bus {
  return {
    publish: () => Promise.resolve({ repeated: false }),
    consume: () => Promise.resolve(),
    backlog: () => ({ ...EMPTY, ...backlog }),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

test('totals told again change nothing, totals that have grown replace what was known, those of other runs add up', async () => {
  await using place = await scratchDirectory();
  const clock = new ManualClock();
  await using control = await openSqliteControl({ data_dir: place.path, clock });
  const gaps = new DeclaredGaps(control, clock);
  await gaps.take([gap({ records: 5, ranges: [[1, 2]] })]);
  await gaps.take([gap({ records: 5, ranges: [[1, 2]] })]);
  await gaps.take([gap({ records: 9, ranges: [[1, 3]] })]);
  await gaps.take([gap({ records: 4, ranges: [] })]); // an older message that came late
  await gaps.take([
    gap({ run: 'r1', reason: 'buffer_full', records: 2 }),
    gap({ run: 'r2', reason: 'buffer_full', records: 3 }),
    gap({ source: 'host@n2', epoch: 8, records: 1, ranges: [[4, 4]] }),
  ]);
  const { dropped = [], dropped_batches } = gaps.over(busWith({})).backlog();
  const sum = (source: string, reason: string): number =>
    dropped.filter((one) => one.source === source && one.reason === reason).reduce((all, one) => all + one.records, 0);
  expect(sum('nvidia@n1', 'spool_full_oldest')).toBe(9);
  expect(sum('nvidia@n1', 'buffer_full')).toBe(5);
  expect(sum('host@n2', 'spool_full_oldest')).toBe(1);
  expect(dropped_batches).toEqual([
    { source: 'nvidia@n1', epoch: 7, ranges: [[1, 3]] },
    { source: 'host@n2', epoch: 8, ranges: [[4, 4]] },
  ]);
});

test('another process on the same control store knows them once it has looked', async () => {
  await using place = await scratchDirectory();
  const clock = new ManualClock();
  await using control = await openSqliteControl({ data_dir: place.path, clock });
  const other = new DeclaredGaps(control, clock);
  const bus = other.over(busWith({}));
  await new DeclaredGaps(control, clock).take([gap({ records: 5, ranges: [[1, 2]] })]);
  expect(bus.backlog()).toEqual(EMPTY);
  await other.refresh();
  expect(bus.backlog()).toMatchObject({
    dropped: [{ source: 'nvidia@n1', epoch: 7, reason: 'spool_full_oldest', records: 5 }],
    dropped_batches: [{ source: 'nvidia@n1', epoch: 7, ranges: [[1, 2]] }],
  });
});

test('what the bus itself dropped of the same source is joined, not hidden', async () => {
  await using place = await scratchDirectory();
  const clock = new ManualClock();
  await using control = await openSqliteControl({ data_dir: place.path, clock });
  const gaps = new DeclaredGaps(control, clock);
  await gaps.take([gap({ records: 5, ranges: [[1, 2]] })]);
  const own = { source: 'nvidia@n1', epoch: 7 };
  const bus = busWith({
    dropped: [{ ...own, reason: 'spool_full_newest', records: 3 }],
    dropped_batches: [
      {
        ...own,
        ranges: [
          [3, 4],
          [9, 9],
        ],
      },
    ],
  });
  const backlog = gaps.over(bus).backlog();
  expect(backlog.dropped?.map(({ reason, records }) => [reason, records])).toEqual([
    ['spool_full_newest', 3],
    ['spool_full_oldest', 5],
  ]);
  expect(backlog.dropped_batches).toEqual([
    {
      ...own,
      ranges: [
        [1, 4],
        [9, 9],
      ],
    },
  ]);
});

test('a sender cannot fill the control store: reasons of one source and names of any length are bounded', async () => {
  await using place = await scratchDirectory();
  const clock = new ManualClock();
  await using control = await openSqliteControl({ data_dir: place.path, clock });
  const gaps = new DeclaredGaps(control, clock);
  const many = Array.from({ length: 3_000 }, (_, index) => gap({ reason: `${index} ${'x'.repeat(500)}`, records: 1 }));
  await gaps.take(many);
  const { dropped = [] } = gaps.over(busWith({})).backlog();
  expect(dropped.length).toBe(1_000);
  expect(Math.max(...dropped.map(({ reason }) => reason.length))).toBeLessThanOrEqual(64);
});

test('10,000 senders that lost something are kept: more find no room until one was not heard of for 30 days', async () => {
  await using place = await scratchDirectory();
  const clock = new ManualClock();
  await using control = await openSqliteControl({ data_dir: place.path, clock });
  const gaps = new DeclaredGaps(control, clock);
  const other = new DeclaredGaps(control, clock);
  const from = (first: number, count: number, records = 1): LinkGap[] =>
    Array.from({ length: count }, (_, index) => gap({ source: `n${first + index}`, records }));
  for (let first = 0; first < 10_000; first += 1_000) expect(await gaps.take(from(first, 1_000))).toBe(0);
  const sources = (one: DeclaredGaps): Set<string> =>
    new Set((one.over(busWith({})).backlog().dropped ?? []).map(({ source }) => source));
  expect(await gaps.take([...from(10_000, 2), ...from(0, 1, 5)])).toBe(2); // what grows of a known one is taken beside them
  expect([sources(gaps).size, sources(gaps).has('n10000')]).toEqual([10_000, false]);
  await other.refresh();
  await clock.advance(30 * 86_400_000 + 1);
  await gaps.take(from(0, 1, 9)); // heard of again
  expect(await gaps.take([...from(10_000, 2), ...from(1, 1)])).toBe(0);
  expect(await control.transaction((tx) => tx.count(ENGINE_STATE, []))).toBe(10_000);
  await other.refresh();
  for (const known of [gaps, other].map(sources)) {
    expect(known.size).toBe(10_000);
    for (const kept of ['n0', 'n1', 'n10000', 'n10001']) expect(known.has(kept), kept).toBe(true);
  }
});
