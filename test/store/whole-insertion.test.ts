import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import type { Delivery, Store } from '../../src/core/ports.ts';
import { NEWEST_OF_ALL } from '../../src/store/delivery-sql.ts';
import { openEmbeddedStore } from '../../src/store/embedded.ts';
import { type Engine, EngineError, type WritingSession } from '../../src/store/engine.ts';
import type { Ledger } from '../../src/store/insertion.ts';
import { WholeInsertion } from '../../src/store/whole-insertion.ts';
import { deliveryOf, lineage, type TestSample } from '../contract/frames.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

const signal = new AbortController().signal;
const START_MS = 1_800_000_000_000;
const SERIES = Array.from({ length: 12 }, (_, index) => BigInt(index + 1));

function at(seconds: number, ids: readonly bigint[] = SERIES): TestSample[] {
  return ids.map((id) => ({ id, at_ms: START_MS + seconds * 1_000, value: seconds }));
}

async function held(store: Store): Promise<unknown> {
  const [row] = await store.query('SELECT count() AS n, uniqExact(id, at) AS keys FROM leeway.samples', {}, signal);
  return row;
}

async function duplicates(store: Store): Promise<number | undefined> {
  return (await store.account(signal)).find(({ source }) => source === 's')?.duplicates_absorbed;
}

test('after a start, when every series is new to the process, nothing is stored twice and nothing new is left out', async () => {
  await using directory = await scratchDirectory();
  const data_dir = directory.path;
  let place = 0;
  const delivery = (samples: readonly TestSample[]): Promise<Delivery> => {
    place++;
    return deliveryOf(data_dir, 'samples', [{ lineage: lineage(0, place), source: 's', sequence: place, samples }]);
  };
  {
    await using store = await openEmbeddedStore({ data_dir, clock: systemClock });
    await store.insert(await delivery([...at(1), ...at(2)]), signal);
    expect(await held(store)).toEqual({ n: '24', keys: '24' });
  }
  {
    await using store = await openEmbeddedStore({ data_dir, clock: systemClock });
    // the first that a process sees may be what an earlier one stored
    await store.insert(await delivery(at(2)), signal);
    expect(await held(store)).toEqual({ n: '24', keys: '24' });
    expect(await duplicates(store)).toBe(12);
  }
  await using store = await openEmbeddedStore({ data_dir, clock: systemClock });
  // later than all that is stored: not looked up
  await store.insert(await delivery(at(3)), signal);
  expect(await held(store)).toEqual({ n: '36', keys: '36' });
  expect(await duplicates(store)).toBe(12);
  // new series among times that are stored: looked up, and none is there
  await store.insert(await delivery(at(2, [100n, 101n])), signal);
  expect(await held(store)).toEqual({ n: '38', keys: '38' });
  // what an earlier process stored, beside a sample that nobody has
  await store.insert(await delivery([...at(2), { id: 200n, at_ms: START_MS, value: 1 }]), signal);
  expect(await held(store)).toEqual({ n: '39', keys: '39' });
  expect(await duplicates(store)).toBe(24);
  // the same key twice in one file of new series, at times of which the store holds nothing
  await store.insert(await delivery([...at(9, [300n]), ...at(9, [300n])]), signal);
  expect(await held(store)).toEqual({ n: '40', keys: '40' });
  expect(await duplicates(store)).toBe(25);
});

test('after a start a late sample of a series does not make one pass for new that an earlier process stored', async () => {
  await using directory = await scratchDirectory();
  const data_dir = directory.path;
  let place = 0;
  const put = async (store: Store, samples: readonly TestSample[]): Promise<void> => {
    place++;
    const frame = { lineage: lineage(0, place), source: 's', sequence: place, samples };
    expect(await store.insert(await deliveryOf(data_dir, 'samples', [frame]), signal)).toMatchObject({ kind: 'ok' });
  };
  {
    await using store = await openEmbeddedStore({ data_dir, clock: systemClock });
    await put(store, at(150));
    await put(store, at(80_000, [99n])); // of a sender whose clock is a day ahead
  }
  await using store = await openEmbeddedStore({ data_dir, clock: systemClock });
  await put(store, at(50)); // before all that is stored of its series, which are learned with it
  await put(store, at(150));
  expect(await held(store)).toEqual({ n: '25', keys: '25' });
  expect(await duplicates(store)).toBe(12);
  await put(store, at(151)); // later than all that is stored of its series
  await put(store, at(150));
  expect(await held(store)).toEqual({ n: '37', keys: '37' });
  expect(await duplicates(store)).toBe(24);
});

test('series that were looked up once are learned: their next samples are inserted unasked, below the horizon too', async () => {
  await using directory = await scratchDirectory();
  const asked: string[] = [];
  const rows = async <Row>(sql: string): Promise<Row[]> => {
    asked.push(sql);
    const answer = sql.includes('GROUP BY id')
      ? [{ id: '1', newest_ms: String(START_MS + 1_000) }]
      : sql === NEWEST_OF_ALL
        ? [{ rows: '1', newest_ms: String(START_MS + 80_000_000) }]
        : [];
    return answer as Row[]; // as the statement's author expects them
  };
  const write = async (sql: string): Promise<void> => void asked.push(sql);
  const session: WritingSession = {
    rows,
    command: write,
    read: (_, __, sql) => write(sql('source')),
    insert: (table) => write(table),
  };
  const engine: Pick<Engine, 'write'> = { write: (work) => work(session) };
  const ledger: Pick<Ledger, 'mark' | 'note'> = { mark: async () => {}, note: async () => {} };
  const insertion = new WholeInsertion(engine, ledger);
  const statements: number[] = [];
  for (const seconds of [1, 2, 3, 3]) {
    asked.length = 0;
    const frame = { lineage: lineage(0, seconds), source: 's', sequence: seconds, samples: at(seconds, [1n]) };
    await insertion.insert(await deliveryOf(directory.path, 'samples', [frame]), signal);
    statements.push(asked.length);
  }
  // the horizon and what is stored of a series that was not seen; nothing; nothing; what is stored of a late sample
  expect(statements).toEqual([11, 1, 1, 9]);
});

test('history that comes after a start is inserted without reading all that came later', async () => {
  const refused = new EngineError(158, 'Limit for rows exceeded');
  const session: WritingSession = {
    rows: async (sql) => {
      if (sql.includes('GROUP BY id')) throw refused;
      return (sql === NEWEST_OF_ALL ? [{ rows: '1', newest_ms: String(START_MS + 80_000_000) }] : []) as never[];
    },
    command: async () => {},
    read: async () => {},
    insert: async () => {},
  };
  const insertion = new WholeInsertion(
    { write: (work) => work(session) },
    { mark: async () => {}, note: async () => {} },
  );
  await using directory = await scratchDirectory();
  const frame = { lineage: lineage(0, 1), source: 's', sequence: 1, samples: at(1, [1n]) };
  expect(await insertion.insert(await deliveryOf(directory.path, 'samples', [frame]), signal)).toMatchObject({
    kind: 'ok',
  });
});

test('marks change with every insert into their table and with nothing else', async () => {
  await using directory = await scratchDirectory();
  await using store = await openEmbeddedStore({ data_dir: directory.path, clock: systemClock });
  expect((await store.marks(signal)).has('samples')).toBe(false);
  const seen = new Set<string | undefined>();
  for (const place of [1, 2, 3]) {
    const frame = { lineage: lineage(0, place), source: 's', sequence: place, samples: at(place) };
    await store.insert(await deliveryOf(directory.path, 'samples', [frame]), signal);
    seen.add((await store.marks(signal)).get('samples'));
    seen.add((await store.marks(signal)).get('samples'));
  }
  expect(seen.size).toBe(3);
  expect(seen.has(undefined)).toBe(false);
});
