import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import type { Store } from '../../src/core/ports.ts';
import type { LeewayRecord } from '../../src/core/records.ts';
import { type ClickHouseEvent, type ClickHouseStoreOptions, openClickHouseStore } from '../../src/store/clickhouse.ts';
import { deliveryOf, lineage, type TestFrame } from '../contract/frames.ts';
import { START_MS, steps } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { ClickHouseDouble, type Fault } from './clickhouse-double.ts';

const { signal } = new AbortController();
const resources = new AsyncDisposableStack();
const events: ClickHouseEvent[] = [];
let double: ClickHouseDouble;
let store: Store;
let directory: string;
let place = 1;

function options(changed: Partial<ClickHouseStoreOptions> = {}): ClickHouseStoreOptions {
  return {
    url: double.url,
    database: 'leeway',
    cluster: null,
    writer: { username: 'writer', readPassword: async () => 'w' },
    reader: { username: 'reader', readPassword: async () => 'r' },
    clock: systemClock,
    request_timeout_ms: 2_000,
    onEvent: (event) => void events.push(event),
    ...changed,
  };
}

beforeAll(async () => {
  directory = resources.use(await scratchDirectory()).path;
  double = resources.use(await ClickHouseDouble.start(directory));
  store = resources.use(await openClickHouseStore(options()));
});

afterAll(() => resources.disposeAsync());

async function accountOf(source: string): Promise<object | undefined> {
  return (await store.account(signal)).find((account) => account.source === source);
}

function own(job: string, records: readonly LeewayRecord[]): LeewayRecord[] {
  return records.map((record) => ({ ...record, job }) as LeewayRecord);
}

/** `count` frames of 3 step records, each repeating one of the frame before. */
function frames(source: string, count: number): TestFrame[] {
  return Array.from({ length: count }, (_, index) => {
    const records = own(source, steps(index * 2, index * 2 + 3));
    return { lineage: lineage(1, place++), source, sequence: index + 1, records };
  });
}

/** The same of samples: series 1 … 3 at the frame's second, and series 1 at the second before. */
function sampleFrames(source: string, series: bigint, count: number): TestFrame[] {
  return Array.from({ length: count }, (_, index) => {
    const at = (id: bigint, second: number) => ({
      id: series + id,
      at_ms: START_MS + second * 1_000,
      value: 0.5 + second,
    });
    const samples = [at(1n, index), at(2n, index), at(3n, index), ...(index === 0 ? [] : [at(1n, index - 1)])];
    return { lineage: lineage(1, place++), source, sequence: index + 1, samples };
  });
}

/** Of `count` frames above, 3 rows each: 2 new ones and one of the frame before, none before the first. */
function expected(count: number): object {
  return { frame_rows: count * 3, duplicates_absorbed: count - 1, stored: count * 2 + 1, sequences: count };
}

const BROKEN: readonly Pick<Fault, 'kind' | 'code'>[] = [
  { kind: 'exception', code: 252 },
  { kind: 'exception', code: 242 },
  { kind: 'exception', code: 164 },
  { kind: 'exception', code: 497 },
  { kind: 'page' },
  { kind: 'reset_before' },
  { kind: 'reset_after' },
];

for (const fault of BROKEN)
  test(`${fault.kind} ${fault.code ?? ''} at any statement of an insert: retry, and then the account is exact`, async () => {
    for (let after = 0; ; after++) {
      const source = `broken-${fault.kind}-${fault.code}-${after}`;
      const delivery = await deliveryOf(directory, 'step', frames(source, 4));
      await double.plant({ ...fault, times: 1, after });
      const first = await store.insert(delivery, signal);
      await double.plant();
      if (first.kind === 'retry')
        expect(await store.insert(delivery, signal)).toEqual({ kind: 'ok', value: undefined });
      expect(await accountOf(source)).toMatchObject(expected(4));
      if (first.kind === 'ok') {
        expect(after).toBeGreaterThan(7); // two drops, create, load, known, count, insert, two drops, ledger
        break;
      }
    }
  });

test('an answer that never comes is a retry after the time-out, and the insert that happened counts once', async () => {
  for (const kind of ['hang', 'hang_after'] as const) {
    const delivery = await deliveryOf(directory, 'step', frames(kind, 3));
    await double.plant({ kind, times: 1, match: 'INSERT INTO leeway.`step`' });
    expect(await store.insert(delivery, signal)).toMatchObject({ kind: 'retry', code: 'LW-STORE-GONE' });
    expect(await store.insert(delivery, signal)).toMatchObject({ kind: 'ok' });
    expect(await accountOf(kind)).toMatchObject(expected(3));
  }
});

test('frames whose answer was lost may come again in other company, of typed tables and of samples', async () => {
  for (const [table, source, all] of [
    ['step', 'regrouped', frames('regrouped', 6)],
    ['samples', 'regrouped-samples', sampleFrames('regrouped-samples', 1_000n, 6)],
  ] as const) {
    await double.plant({ kind: 'reset_before', times: 1, match: 'INSERT INTO leeway.frames' });
    expect(await store.insert(await deliveryOf(directory, table, all.slice(0, 5)), signal)).toMatchObject({
      kind: 'retry',
    });
    for (const some of [all.slice(0, 2), all.slice(2, 4), all.slice(4)])
      expect(await store.insert(await deliveryOf(directory, table, some), signal)).toMatchObject({ kind: 'ok' });
    // samples: 6 frames of 3 rows and 5 repeats
    const samples = { frame_rows: 23, duplicates_absorbed: 5, stored: 18, sequences: 6 };
    expect(await accountOf(source)).toMatchObject(table === 'step' ? expected(6) : samples);
  }
});

test('a delivery that the server has no memory for is stored in halves', async () => {
  events.length = 0;
  const delivery = await deliveryOf(directory, 'step', frames('large', 8));
  // 8 frames fail, then 4 fail, then 2 are stored and the rest in its turn
  await double.plant({ kind: 'exception', code: 241, times: 2, match: 'INSERT INTO incoming' });
  expect(await store.insert(delivery, signal)).toEqual({ kind: 'ok', value: undefined });
  expect(events.map(({ kind }) => kind)).toEqual(['store_insert_split', 'store_insert_split']);
  expect(await accountOf('large')).toMatchObject(expected(8));
});

test('a single frame without memory waits, longer each time, and is never rejected', async () => {
  const delivery = await deliveryOf(directory, 'step', frames('heavy', 1));
  await double.plant({ kind: 'exception', code: 241, times: 3 });
  const waits: (number | null)[] = [];
  for (let time = 0; time < 3; time++) {
    const outcome = await store.insert(delivery, signal);
    expect(outcome).toMatchObject({ kind: 'retry', code: 'LW-STORE' });
    if (outcome.kind === 'retry') waits.push(outcome.after_ms);
  }
  expect(waits).toEqual([200, 400, 800]);
  expect(await store.insert(delivery, signal)).toMatchObject({ kind: 'ok' });
});

test('of frames that the engine cannot read each is rejected by itself, and every other is stored', async () => {
  const all = frames('poisoned', 9);
  // an unknown type of the same length as a known one
  const spoil = (bytes: Buffer): Buffer =>
    Buffer.from(bytes.toString('latin1').replace('Nullable(Int64)', 'Nullable(Int65)'), 'latin1');
  const bad = [all[2], all[7]].map((frame) => frame?.lineage);
  const planted = all.map((frame) => (bad.includes(frame.lineage) ? { ...frame, spoil } : frame));
  const delivery = await deliveryOf(directory, 'step', planted);
  expect(await store.insert(delivery, signal)).toMatchObject({ kind: 'reject', code: 'LW-STORE' });
  expect(await accountOf('poisoned')).toBeUndefined();
  await using isolating = await openClickHouseStore(options({ isolate: true }));
  for (const _ of [1, 2]) {
    const outcome = await isolating.insert(delivery, signal);
    expect(outcome).toMatchObject({ kind: 'ok', rejected: bad.map((lineage) => ({ lineage, code: 'LW-STORE' })) });
  }
  // 7 frames of 3 rows; a frame repeats a row of the one before: stored neighbours are (1,2) (4,5) (5,6) (6,7)
  expect(await accountOf('poisoned')).toMatchObject({
    frame_rows: 21,
    duplicates_absorbed: 4,
    stored: 17,
    sequences: 7,
  });
});

test('frames of several streams in one delivery are as exact as alone', async () => {
  const all = frames('several', 6).map((frame, index) => ({ ...frame, lineage: lineage(10 + (index % 3), place++) }));
  const whole = await deliveryOf(directory, 'step', all);
  await double.plant({ kind: 'reset_before', times: 1, match: 'INSERT INTO leeway.frames' });
  expect(await store.insert(whole, signal)).toMatchObject({ kind: 'retry' });
  for (const stream of [12, 10, 11]) {
    const some = all.filter((frame) => frame.lineage >> 52n === BigInt(stream));
    expect(await store.insert(await deliveryOf(directory, 'step', some), signal)).toMatchObject({ kind: 'ok' });
  }
  expect(await accountOf('several')).toMatchObject(expected(6));
});

test('a delivery whose bytes are not the frames it announces is rejected whole', async () => {
  const delivery = await deliveryOf(directory, 'step', frames('torn', 2));
  const outcome = await store.insert({ ...delivery, frames: delivery.frames.slice(1) }, signal);
  expect(outcome).toMatchObject({ kind: 'reject', code: 'LW-STORE' });
  expect(await accountOf('torn')).toBeUndefined();
});

test('a slow answer is waited for, and a query without an answer is LW-STORE-GONE', async () => {
  await double.plant({ kind: 'drip', times: 1 });
  expect(await store.query('SELECT 1 AS one', {}, signal)).toEqual([{ one: 1 }]);
  await double.plant({ kind: 'hang', times: 1 });
  await expect(store.query('SELECT 1', {}, signal)).rejects.toMatchObject({ code: 'LW-STORE-GONE' });
  await double.plant({ kind: 'exception', code: 159, times: 1 });
  await expect(store.query('SELECT 1', {}, signal)).rejects.toMatchObject({ code: 'LW-TIMEOUT' });
});

test('a rotated password is read again; a wrong one is LW-STORE-AUTH', async () => {
  let password = 'w';
  await using rotated = await openClickHouseStore(
    options({ writer: { username: 'writer', readPassword: async () => password } }),
  );
  try {
    await double.setPasswords({ writer: 'new', reader: 'r' });
    const delivery = await deliveryOf(directory, 'step', frames('rotated', 2));
    expect(await rotated.insert(delivery, signal)).toMatchObject({ kind: 'retry', code: 'LW-STORE-AUTH' });
    password = 'new';
    expect(await rotated.insert(delivery, signal)).toMatchObject({ kind: 'ok' });
    await expect(openClickHouseStore(options())).rejects.toMatchObject({ code: 'LW-STORE-AUTH' });
  } finally {
    await double.setPasswords({ writer: 'w', reader: 'r' });
  }
});

test('a server that is not there is LW-STORE-GONE; another database than leeway is LW-CONFIG', async () => {
  await expect(openClickHouseStore(options({ url: 'http://127.0.0.1:1' }))).rejects.toMatchObject({
    code: 'LW-STORE-GONE',
  });
  await expect(openClickHouseStore(options({ database: 'other' }))).rejects.toMatchObject({ code: 'LW-CONFIG' });
});

test('inserts of several workers at once are each exact', async () => {
  await using other = await openClickHouseStore(options());
  const batches = Array.from({ length: 6 }, (_, index) => `worker-${index}`);
  await Promise.all(
    batches.map(async (source, index) => {
      const delivery = await deliveryOf(directory, 'step', frames(source, 5));
      expect(await (index % 2 === 0 ? store : other).insert(delivery, signal)).toMatchObject({ kind: 'ok' });
    }),
  );
  for (const source of batches) expect(await accountOf(source)).toMatchObject(expected(5));
});

test('the account of one process has what another writes behind what was read already', async () => {
  await using other = await openClickHouseStore(options());
  const samples = (id: bigint) => [{ id, at_ms: START_MS, value: 1 }];
  const frame = (index: number) => ({ lineage: lineage(20, index), source: 'behind', sequence: index });
  const records = own('behind', steps(0, 2));
  let rows = 0;
  for (const index of [100, 98, 99, 30, 101]) {
    const delivery =
      index === 100
        ? await deliveryOf(directory, 'step', [{ ...frame(index), records }])
        : await deliveryOf(directory, 'samples', [{ ...frame(index), samples: samples(BigInt(index)) }]);
    expect(await other.insert(delivery, signal)).toMatchObject({ kind: 'ok' });
    rows += delivery.rows;
    expect(await accountOf('behind')).toMatchObject({ frame_rows: rows, duplicates_absorbed: 0, stored: rows });
  }
});
