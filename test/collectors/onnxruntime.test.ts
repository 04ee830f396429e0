import { expect, test } from 'vitest';
import { collector, type Described, type InstrumentOptions, instrumentSession } from '../../collectors/onnxruntime.ts';
import { ManualClock } from '../../src/core/clock.ts';
import { parseRecord } from '../../src/core/parse-record.ts';
import type { LeewayRecord, RecordOf } from '../../src/core/records.ts';
import { describeCollector } from '../contract/collector.ts';

type Feeds = { readonly x: number; readonly features?: Described['features'] };
type Options = Partial<InstrumentOptions<Feeds, number>>;

describeCollector({
  collector,
  absent: async () => ({
    settings: {},
    clock: new ManualClock(),
    feed: async () => undefined,
    isHeld: async () => false,
    [Symbol.asyncDispose]: async () => undefined,
  }),
});

/** A session that takes as long as `takes_ms` says and answers the double, and what its wrapper emits. */
function wrapped(options: Options & { takes_ms?: number } = {}) {
  const clock = new ManualClock();
  const records: LeewayRecord[] = [];
  const running = { now: 0, max: 0 };
  const never = new AbortController().signal;
  const session = instrumentSession<Feeds, number>({
    session: {
      run: async ({ x }) => {
        running.max = Math.max(running.max, ++running.now);
        if (options.takes_ms !== undefined) await clock.sleep(options.takes_ms, never);
        running.now--;
        if (x < 0) throw new RangeError('negative');
        return 2 * x;
      },
    },
    model: 'digits',
    version: '3',
    replica: 'a',
    provider: 'CPUExecutionProvider',
    clock,
    emit: (record) => void records.push(record),
    describe: ({ x, features }, prediction) => ({ features: features ?? { x }, prediction }),
    ...options,
  });
  const of = <Kind extends LeewayRecord['type']>(type: Kind): RecordOf<Kind>[] =>
    records.filter((record): record is RecordOf<Kind> & LeewayRecord => record.type === type);
  return { clock, records, running, session, of };
}

/** Lets runs that were called reach the clock. */
function started(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Index of the bucket that holds `value`: the first bound not below it. */
function bucket(histogram: { bounds: readonly number[] }, value: number): number {
  const index = histogram.bounds.findIndex((bound) => value <= bound);
  return index < 0 ? histogram.bounds.length : index;
}

test('queue, compute and total of runs in one lane add up', async () => {
  const { clock, session, of } = wrapped({ takes_ms: 40 });
  const answers = [1, 2, 3].map((x) => session.run({ x }, { request_id: `r${x}` }));
  await started();
  await clock.advance(120);
  expect(await Promise.all(answers)).toEqual([2, 4, 6]);
  session.flush();
  const [record] = of('inference');
  // three come at once; each takes 40 ms, so they wait 0, 40 and 80 ms
  expect(record).toMatchObject({ requests: 3, errors: 0, window_ms: 120, model: 'digits', version: '3', replica: 'a' });
  expect(record?.queue_ms.sum).toBe(0 + 40 + 80);
  expect(record?.compute_ms.sum).toBe(3 * 40);
  expect(record?.total_ms.sum).toBe(40 + 80 + 120);
  const total = record?.total_ms ?? { bounds: [], counts: [], sum: 0 };
  const expected = total.counts.map(() => 0);
  for (const value of [40, 80, 120]) expected[bucket(total, value)] = (expected[bucket(total, value)] ?? 0) + 1;
  expect(total.counts).toEqual(expected);
  expect(total.counts).toHaveLength(total.bounds.length + 1);
});

test.each([1, 2, 5])('never more than %i runs are under way', async (concurrency) => {
  const { clock, session, running } = wrapped({ takes_ms: 10, concurrency });
  const answers = Array.from({ length: 12 }, (_, x) => session.run({ x }, { request_id: String(x) }));
  await started();
  await clock.advance(10 * 12);
  await Promise.all(answers);
  expect(running.max).toBe(concurrency);
});

test('a failed run is counted, passes through and frees its lane', async () => {
  const { session, of } = wrapped();
  await expect(session.run({ x: -1 }, { request_id: 'bad' })).rejects.toThrow('negative');
  expect(await session.run({ x: 1 }, { request_id: 'good' })).toBe(2);
  session.flush();
  expect(of('inference')[0]).toMatchObject({ requests: 2, errors: 1 });
  expect(of('inference')[0]?.compute_ms.counts.reduce((sum, count) => sum + count, 0)).toBe(1);
  expect(of('prediction').map(({ request_id }) => request_id)).toEqual(['good']);
});

test('what watching throws never reaches the caller and costs no request its count', async () => {
  const errors: unknown[] = [];
  const { session, of } = wrapped({
    describe: () => {
      throw new TypeError('describe');
    },
    onError: (error) => void errors.push(error),
  });
  expect(await session.run({ x: 1 }, { request_id: 'a' })).toBe(2);
  session.flush();
  expect(errors).toEqual([new TypeError('describe')]);
  expect(of('inference')[0]).toMatchObject({ requests: 1, errors: 0 });
});

test('a window without a request says nothing, and each request is in one window only', async () => {
  const { clock, session, of } = wrapped();
  session.flush();
  await session.run({ x: 1 }, { request_id: 'a' });
  await clock.advance(1_000);
  session.flush();
  session.flush();
  expect(of('inference').map(({ requests, window_ms }) => [requests, window_ms])).toEqual([[1, 1_000]]);
});

test('a request that is not observed is measured and not told', async () => {
  const { session, of } = wrapped();
  await session.run({ x: 1 }, { request_id: 'a', observed: false });
  session.flush();
  expect(of('prediction')).toEqual([]);
  expect(of('inference')[0]).toMatchObject({ requests: 1 });
});

test('edges are the deciles of the first rows, freeze, and count what comes after', async () => {
  const { clock, session, of } = wrapped({ edges_rows: 100 });
  for (let x = 0; x < 100; x++) await session.run({ x }, { request_id: `l${x}` });
  session.flush();
  expect(of('counts')).toEqual([]);
  await clock.advance(1_000);
  const from_ms = clock.now_ms() - 1_000;
  // deciles of 0…99: 10, 20, …, 90; a value on an edge belongs to the bin above it
  for (const x of [0, 9.99, 10, 55, 90, 1e9]) await session.run({ x }, { request_id: `c${x}` });
  session.flush();
  const [counts] = of('counts');
  expect(counts).toMatchObject({
    feature: 'x',
    edges: [10, 20, 30, 40, 50, 60, 70, 80, 90],
    from_ms,
    to_ms: from_ms + 1_000,
  });
  expect(counts?.counts).toEqual([2, 1, 0, 0, 0, 1, 0, 0, 0, 2]);
  await session.run({ x: 1e6 }, { request_id: 'later' });
  session.flush();
  expect(of('counts')[1]).toMatchObject({
    edges_id: counts?.edges_id,
    edges: Reflect.get(counts ?? {}, 'edges'),
    n: 1,
  });
});

test('of each feature n is the counts and the missing ones together, whatever arrives', async () => {
  const { session, of } = wrapped({ edges_rows: 4 });
  const run = (features: Described['features']) => session.run({ x: 1, features }, { request_id: 'r' });
  for (const a of [1, 2, 3, 4]) await run({ a, b: a * 10, ['__proto__']: a });
  for (const a of [1, Number.NaN, Number.POSITIVE_INFINITY, 'text', null, true]) await run({ a, late: 1 });
  session.flush();
  const counts = of('counts');
  expect(new Map(counts.map(({ feature, n, missing }) => [feature, [n, missing]]))).toEqual(
    new Map([
      ['__proto__', [6, 6]], // a name like any other
      ['a', [6, 5]], // NaN, infinity, text, null and true are no numbers
      ['b', [6, 6]], // never there
    ]),
  );
  for (const { counts: bins, missing, n } of counts)
    expect(bins.reduce((sum, count) => sum + count, 0) + missing).toBe(n);
});

test('equal edges have equal ids on every replica, others have another', async () => {
  const ids = [];
  for (const scale of [1, 1, 2]) {
    const { session, of } = wrapped({ edges_rows: 10 });
    for (let x = 0; x < 11; x++) await session.run({ x: x * scale }, { request_id: String(x) });
    session.flush();
    ids.push(of('counts')[0]?.edges_id);
  }
  expect(ids[0]).toBe(ids[1]);
  expect(ids[2]).not.toBe(ids[0]);
});

test('everything that is emitted is a valid record', async () => {
  const { session, records } = wrapped({ edges_rows: 2, batchOf: () => 8, node: 'n' });
  for (const x of [1, 2, 3])
    await session.run({ x, features: { x, kind: 'a', gone: null } }, { request_id: String(x) });
  session.flush();
  expect(new Set(records.map(({ type }) => type))).toEqual(new Set(['prediction', 'inference', 'counts']));
  for (const record of records) expect(parseRecord(JSON.stringify(record))).toMatchObject({ kind: 'ok' });
});
