import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { integerBelow, seededRandom } from '../../src/core/random.ts';
import { openClickHouseStore } from '../../src/store/clickhouse.ts';
import { openEmbeddedStore } from '../../src/store/embedded.ts';
import type { RolledStore } from '../../src/store/sql-store.ts';
import { deliveryOf, lineage, type TestSample } from '../contract/frames.ts';
import { START_MS } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { ClickHouseDouble } from './clickhouse-double.ts';

const { signal } = new AbortController();
const seed = Number(process.env['LEEWAY_SEED'] ?? Date.now() % 1_000_000);
const LATER_MS = START_MS + 86_400_000;
/** The times of the tests are past: the engine itself drops what is older than configured. */
const KEPT = { raw_days: 2, rollup_1m_days: 36_500, rollup_1h_days: 36_500 };
const STALE = new Float64Array(new BigUint64Array([0x7ff0000000000002n]).buffer)[0] ?? Number.NaN;

type Bucket = {
  min: number;
  max: number;
  sum: number;
  last: number;
  last_ms: number;
  count: number;
  non_finite: number;
};

/** What a roll-up of `seconds` must hold, from the samples that are stored: `id t` → bucket. */
function rolled(
  samples: Iterable<TestSample & { readonly stale: boolean }>,
  seconds: number,
): Record<string, unknown>[] {
  const buckets = new Map<string, Bucket>();
  for (const { id, at_ms, value, stale } of samples) {
    if (stale) continue;
    const name = `${id} ${Math.floor(at_ms / 1000 / seconds) * seconds}`;
    const empty = { min: Infinity, max: -Infinity, sum: 0, last: 0, last_ms: -1, count: 0, non_finite: 0 };
    const bucket = buckets.get(name) ?? empty;
    buckets.set(name, bucket);
    if (!Number.isFinite(value)) bucket.non_finite++;
    else {
      bucket.min = Math.min(bucket.min, value);
      bucket.max = Math.max(bucket.max, value);
      bucket.sum += value; // quarters below 2^20: exact in any order
      bucket.count++;
      if (at_ms > bucket.last_ms) [bucket.last, bucket.last_ms] = [value, at_ms];
    }
  }
  return Array.from(buckets, ([name, { min, max, sum, last, count, non_finite }]) => {
    const bounds = count === 0 ? { min: 0, max: 0 } : { min, max };
    return { name, ...bounds, sum, last, count, non_finite };
  }).toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

async function held(store: RolledStore, table: string): Promise<Record<string, unknown>[]> {
  const rows = await store.query<{ name: string }>(
    `SELECT concat(toString(id), ' ', toString(toUnixTimestamp(t))) AS name, min, max, sum, last, count, non_finite FROM leeway.${table} FINAL`,
    {},
    signal,
  );
  return rows.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

type Engines = {
  readonly store: RolledStore;
  readonly directory: string;
  readonly broken: () => Promise<() => Promise<void>>;
};

/** Inserts random samples in random order, late and repeated, rolls up in between, and compares with a plain model. */
async function check({ store, directory, broken }: Engines, random_seed: number): Promise<void> {
  const random = seededRandom(random_seed);
  const stored = new Map<string, TestSample & { stale: boolean }>();
  const sent: (TestSample & { stale: boolean })[][] = [];
  for (let place = 1; place <= 14; place++) {
    const frame = new Map<string, TestSample & { stale: boolean }>();
    for (let index = 0; index < 40; index++) {
      const id = BigInt(1 + integerBelow(random, 3));
      const at_ms = START_MS + integerBelow(random, 400) * 15_000 + integerBelow(random, 3) * 7_499; // over 100 minutes, also at 59.998 s
      const kind = integerBelow(random, 12);
      const value =
        kind === 0 ? Number.NaN : kind === 1 ? -Infinity : kind === 2 ? STALE : integerBelow(random, 4_000) / 4;
      frame.set(`${id} ${at_ms}`, { id, at_ms, value, stale: kind === 2 });
    }
    const again = sent[integerBelow(random, sent.length + 3)] ?? [];
    for (const sample of again.slice(0, 20)) frame.set(`${sample.id} ${sample.at_ms}`, sample);
    const samples = [...frame.values()];
    sent.push(samples);
    for (const [name, sample] of frame) if (!stored.has(name)) stored.set(name, sample);
    const delivery = await deliveryOf(directory, 'samples', [
      { lineage: lineage(0, place), source: `s${place % 3}`, sequence: place, samples },
    ]);
    expect(await store.insert(delivery, signal)).toMatchObject({ kind: 'ok' });
    const step = integerBelow(random, 4);
    if (step === 0) expect(await store.insert(delivery, signal)).toMatchObject({ kind: 'ok' });
    if (step === 1) await store.rollUp(LATER_MS, signal);
    if (step === 2) {
      const mend = await broken();
      await store.rollUp(LATER_MS, signal).catch((error: unknown) => expect(error).toBeInstanceOf(Error));
      await mend();
    }
  }
  while ((await store.rollUp(LATER_MS, signal)).left > 0);
  expect(await held(store, 'samples_1m')).toEqual(rolled(stored.values(), 60));
  expect(await held(store, 'samples_1h')).toEqual(rolled(stored.values(), 3_600));
  expect(await store.rollUp(LATER_MS, signal)).toEqual({ minutes: 0, too_old: 0, left: 0 });
}

test(`roll-ups after late, repeated and rolled-up-between samples are those of all samples at once (seed ${seed})`, async () => {
  for (let round = 0; round < 2; round++) {
    await using directory = await scratchDirectory();
    await using store = await openEmbeddedStore({ data_dir: directory.path, clock: systemClock, retention: KEPT });
    const broken = async () => async (): Promise<void> => undefined;
    await check({ store, directory: directory.path, broken }, seed + round);
  }
}, 60_000);

test(`so they are where passes end at any statement (seed ${seed})`, async () => {
  await using directory = await scratchDirectory();
  await using double = await ClickHouseDouble.start(directory.path);
  const writer = { username: 'writer', readPassword: async () => 'w' };
  const common = { retention: KEPT, url: double.url, database: 'leeway', cluster: null, clock: systemClock } as const;
  await using store = await openClickHouseStore({ ...common, writer });
  let after = 0;
  const broken = async (): Promise<() => Promise<void>> => {
    await double.plant({ kind: 'reset_after', times: 1, after: after++ % 5 });
    return () => double.plant();
  };
  await check({ store, directory: directory.path, broken }, seed);
}, 60_000);

test('the running minute waits until it is over, and minutes whose samples are dropped keep their roll-ups', async () => {
  await using directory = await scratchDirectory();
  await using store = await openEmbeddedStore({ data_dir: directory.path, clock: systemClock, retention: KEPT });
  const insert = async (place: number, at_ms: number): Promise<void> => {
    const frame = {
      lineage: lineage(0, place),
      source: 's',
      sequence: place,
      samples: [{ id: 1n, at_ms, value: place }],
    };
    expect(await store.insert(await deliveryOf(directory.path, 'samples', [frame]), signal)).toMatchObject({
      kind: 'ok',
    });
  };
  await insert(1, START_MS + 59_999);
  expect(await store.rollUp(START_MS + 59_999, signal)).toEqual({ minutes: 0, too_old: 0, left: 0 });
  expect(await store.rollUp(START_MS + 60_000, signal)).toEqual({ minutes: 1, too_old: 0, left: 0 });
  const later_ms = START_MS + 3 * 86_400_000;
  expect(await store.expire(later_ms, signal)).toEqual({ partitions: 1, rows: 1 });
  await insert(2, START_MS + 30_000);
  await insert(3, START_MS - 86_400_000); // late too, but of that day nothing was dropped
  expect(await store.rollUp(later_ms, signal)).toEqual({ minutes: 1, too_old: 1, left: 0 });
  expect(await held(store, 'samples_1m')).toMatchObject([
    { sum: 3, count: 1 },
    { sum: 1, count: 1 },
  ]);
});

test('the sole writer marks a minute once between two roll-ups, and what comes after one is rolled up by the next', async () => {
  await using directory = await scratchDirectory();
  await using store = await openEmbeddedStore({ data_dir: directory.path, clock: systemClock, retention: KEPT });
  const insert = async (place: number): Promise<void> => {
    const samples = [{ id: 1n, at_ms: START_MS + place, value: place }];
    const frame = { lineage: lineage(0, place), source: 's', sequence: place, samples };
    await store.insert(await deliveryOf(directory.path, 'samples', [frame]), signal);
  };
  const marks = async (): Promise<unknown> =>
    (await store.query('SELECT sum(sign > 0) AS n FROM leeway.samples_dirty', {}, signal))[0];
  for (const place of [1, 2, 4]) await insert(place);
  expect(await marks()).toEqual({ n: '1' });
  expect(await store.rollUp(START_MS + 60_000, signal)).toMatchObject({ minutes: 1 });
  expect(await held(store, 'samples_1m')).toMatchObject([{ sum: 7, count: 3 }]);
  await insert(8);
  expect(await store.rollUp(START_MS + 60_000, signal)).toMatchObject({ minutes: 1 });
  expect(await held(store, 'samples_1m')).toMatchObject([{ sum: 15, count: 4 }]);
});

test('a late sample completes its hour also where minutes are gone and samples are kept longer', async () => {
  await using directory = await scratchDirectory();
  const retention = { raw_days: 36_500, rollup_1m_days: 30, rollup_1h_days: 36_500 };
  await using store = await openEmbeddedStore({ data_dir: directory.path, clock: systemClock, retention });
  const now_ms = systemClock.now_ms(); // the engine drops minutes by its own clock
  const today_ms = now_ms - (now_ms % 86_400_000);
  let place = 0;
  const insert = async (at_ms: number, values: readonly number[]): Promise<void> => {
    const samples = values.map((value, index) => ({ id: 1n, at_ms: at_ms + index * 60_000, value }));
    const frame = { lineage: lineage(0, ++place), source: 's', sequence: place, samples };
    const outcome = await store.insert(await deliveryOf(directory.path, 'samples', [frame]), signal);
    expect(outcome).toMatchObject({ kind: 'ok' });
  };
  const days = [50, 30, 29]; // ago: minutes of the first two are past their 30 days
  const start = (day: number): number => today_ms - day * 86_400_000;
  for (const day of days) await insert(start(day), [4, 1, Number.NaN, 8]);
  await store.rollUp(now_ms, signal);
  await store.query('OPTIMIZE TABLE leeway.samples_1m FINAL', {}, signal);
  expect(await held(store, 'samples_1m')).toHaveLength(4);
  for (const day of days) await insert(start(day) + 3_540_000, [2]);
  await store.rollUp(now_ms, signal);
  expect(await held(store, 'samples_1h')).toEqual(
    days.map((day) => ({
      name: `1 ${start(day) / 1_000}`,
      min: 1,
      max: 8,
      sum: 15,
      last: 2,
      count: 4,
      non_finite: 1,
    })),
  );
});
