import { expect, test } from 'vitest';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { LeewayError } from '../../src/core/errors.ts';
import { ok } from '../../src/core/outcome.ts';
import { integerBelow, seededRandom } from '../../src/core/random.ts';
import type { Bus, QueryParameters, Store } from '../../src/core/ports.ts';
import { ingest } from '../../src/pipeline/ingest.ts';
import { AccountReader } from '../../src/store/account.ts';
import { openEmbeddedStore } from '../../src/store/embedded.ts';
import type { WritingSession } from '../../src/store/engine.ts';
import { Ledger } from '../../src/store/insertion.ts';
import { openSpool } from '../../src/transport/spool.ts';
import { deliveryOf, lineage } from '../contract/frames.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { steps } from '../contract/records.ts';

const signal = new AbortController().signal;

type Place = AsyncDisposable & { readonly store: Store; readonly bus: Bus };

async function open(clock: Clock = systemClock): Promise<Place> {
  const resources = new AsyncDisposableStack();
  const data_dir = resources.use(await scratchDirectory()).path;
  const store = resources.use(await openEmbeddedStore({ data_dir, clock }));
  const known = { sequences: [], lineage_max: 0n };
  const options = { data_dir, bytes_max: 1e9, fsync: false, clock: systemClock, known, close_ms: 0 };
  const bus = resources.use(await openSpool(options));
  return { store, bus, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

/** Publishes steps [from, to) as batch `sequence` and stores them. */
async function store(place: Place, sequence: number, from: number, to: number): Promise<void> {
  await place.bus.publish({ source: 'node-1', epoch: 1, sequence, records: steps(from, to) }, signal);
  const stop = new AbortController();
  await place.bus.consume(async (delivery) => {
    expect(await place.store.insert(delivery, signal)).toEqual(ok(undefined));
    stop.abort();
    return ok(undefined);
  }, stop.signal);
}

test('read at any moment of a busy ingest, rows less duplicates is what is stored', async () => {
  await using place = await open();
  const stop = new AbortController();
  const running = ingest({ ...place, clock: systemClock, onEvent: () => undefined }, stop.signal);
  let readings = 0;
  let publishing = true;
  const reading = (async () => {
    while (publishing) {
      for (const account of await place.store.account(signal)) {
        readings++;
        expect(account.frame_rows - account.duplicates_absorbed).toBe(account.stored);
        expect(account.sequence_max - account.sequence_min + 1).toBe(account.sequences);
      }
    }
  })();
  // every batch repeats ten records of the one before
  for (let sequence = 1; sequence <= 60; sequence++) {
    const records = steps(sequence * 20, sequence * 20 + 30);
    await place.bus.publish({ source: 'node-1', epoch: 1, sequence, records }, signal);
    if (sequence % 10 === 0) await systemClock.sleep(60, signal); // lets segments close at several moments
  }
  while (place.bus.backlog().frames > 0) await systemClock.sleep(5, signal);
  publishing = false;
  await reading;
  stop.abort();
  await running;
  expect(readings).toBeGreaterThan(3);
  // 60 batches of 30 rows cover steps 20 … 1,229
  const expected = { frame_rows: 1_800, stored: 1_210, duplicates_absorbed: 590, sequences: 60 };
  expect(await place.store.account(signal)).toMatchObject([expected]);
}, 20_000);

test('where counting is slow, new frames enter by the word of the ledger and vanished rows show at the next count', async () => {
  let elapsed_ms = 0;
  let slow_ms = 0;
  const clock: Clock = { ...systemClock, elapsed_ms: () => (elapsed_ms += slow_ms) };
  await using place = await open(clock);
  await store(place, 1, 0, 5);
  slow_ms = 1_000; // a count now takes one second or more by this clock, so the next is due twenty later
  expect(await place.store.account(signal)).toMatchObject([{ frame_rows: 5, stored: 5 }]);
  slow_ms = 0;
  await store(place, 2, 4, 8);
  const sql = 'ALTER TABLE leeway.step DELETE WHERE step = 0 SETTINGS mutations_sync = 2';
  await place.store.query(sql, {}, signal);
  const byLedger = { frame_rows: 9, duplicates_absorbed: 1, stored: 8, sequences: 2 };
  expect(await place.store.account(signal)).toMatchObject([byLedger]);
  elapsed_ms += 60_000;
  expect(await place.store.account(signal)).toMatchObject([{ ...byLedger, stored: 7 }]);
});

test('a store opened again gives the same account', async () => {
  await using directory = await scratchDirectory();
  const data_dir = directory.path;
  const accounts: unknown[] = [];
  for (const _ of [1, 2]) {
    await using reopened = await openEmbeddedStore({ data_dir, clock: systemClock });
    const known = { sequences: await reopened.sequences(signal), lineage_max: await reopened.lineageMax(signal) };
    await using bus = await openSpool({
      data_dir,
      bytes_max: 1e9,
      fsync: false,
      clock: systemClock,
      known,
      close_ms: 0,
    });
    const batch = { source: 'node-1', epoch: 1, sequence: 1, records: [...steps(0, 3), ...steps(0, 1)] };
    const { repeated } = await bus.publish(batch, signal);
    const stop = new AbortController();
    if (!repeated)
      await bus.consume(async (delivery) => {
        stop.abort();
        return reopened.insert(delivery, signal);
      }, stop.signal);
    accounts.push(await reopened.account(signal));
  }
  expect(accounts[0]).toMatchObject([{ frame_rows: 4, duplicates_absorbed: 1, stored: 3, sequences: 1 }]);
  expect(accounts[1]).toEqual(accounts[0]);
});

test('the ledger read in chunks, or again after any statement failed, gives the same account', async () => {
  await using place = await open();
  for (const sequence of [1, 2, 3, 5, 4, 7]) await store(place, sequence, sequence * 10, sequence * 10 + 12);
  // six batches of 12 rows; 2 and 3 repeat two rows of the one before, 4 two of each of its neighbours, the others none;
  // 4 came behind 5 and brought 8 rows that were new; 6 never came
  const totals = { frame_rows: 72, duplicates_absorbed: 8, stored: 64, late: 8 };
  const expected = [{ ...totals, sequence_min: 1, sequence_max: 7, sequences: 6, gaps: [[6, 6]] }];
  expect(await place.store.account(signal)).toMatchObject(expected);
  for (const frames of [2, 100]) {
    const statements: string[] = [];
    const reader = new AccountReader(
      (sql, parameters) => {
        statements.push(sql);
        return place.store.query(sql, parameters, signal);
      },
      systemClock,
      { chunk_frames: frames },
    );
    expect(await reader.read()).toMatchObject(expected);
    for (let failing = 1; failing <= statements.length; failing++) {
      let count = 0;
      const flaky = new AccountReader(
        async (sql, parameters) => {
          if (++count === failing) throw new LeewayError('LW-STORE-GONE', 'restarting');
          return place.store.query(sql, parameters, signal);
        },
        systemClock,
        { chunk_frames: frames },
      );
      await expect(flaky.read()).rejects.toMatchObject({ code: 'LW-STORE-GONE' });
      expect(await flaky.read()).toMatchObject(expected);
    }
  }
}, 20_000);

test('whatever order frames come in, reading on in small chunks counts what reading them one by one counts', async () => {
  const seed = Date.now() % 1_000_000;
  const random = seededRandom(seed);
  await using place = await open();
  const reader = new AccountReader((sql, parameters) => place.store.query(sql, parameters, signal), systemClock, {
    chunk_frames: 7,
  });
  type Model = { frame_rows: number; late: number; sequences: Set<number>; newest: Map<string, number> };
  const model = new Map<string, Model>();
  const places = [0, 0];
  for (let round = 0; round < 4; round++) {
    const values = Array.from({ length: 40 }, () => {
      const stream = integerBelow(random, 2);
      const source = `it's \\ ${integerBelow(random, 2)}`;
      const table = ['step', 'gpu'][integerBelow(random, 2)] ?? 'step';
      const place = (places[stream] = (places[stream] ?? 0) + 1);
      // mostly rising, sometimes far behind
      const sequence = Math.max(1, 5 * round + integerBelow(random, 12) - (integerBelow(random, 8) === 0 ? 15 : 0));
      const rows = 1 + integerBelow(random, 9);
      const duplicates = integerBelow(random, rows + 1);
      const own = model.get(source) ?? { frame_rows: 0, late: 0, sequences: new Set(), newest: new Map() };
      model.set(source, own);
      const group = `${stream} ${table}`;
      own.frame_rows += rows;
      own.sequences.add(sequence);
      if (sequence < (own.newest.get(group) ?? 0)) own.late += rows - duplicates;
      own.newest.set(group, Math.max(own.newest.get(group) ?? 0, sequence));
      const lineage = (BigInt(stream) << 52n) + BigInt(place);
      const name = source.replaceAll('\\', '\\\\').replaceAll("'", "\\'");
      return `(${lineage}, '${name}', 1, ${sequence}, 1, '${table}', ${rows}, ${duplicates}, now64(3))`;
    });
    await place.store.query(
      `INSERT INTO leeway.frames (lineage, source, epoch, sequence, parts, \`table\`, rows, duplicates, stored_at)
SETTINGS async_insert = 0 VALUES ${values.join(', ')}`,
      {},
      signal,
    );
    const accounts = await reader.read();
    expect(accounts).toHaveLength(model.size);
    for (const { source, frame_rows, late, gaps, sequence_min, sequence_max } of accounts) {
      const own = model.get(source);
      const missing: number[] = [];
      for (let sequence = sequence_min; sequence <= sequence_max; sequence++)
        if (own?.sequences.has(sequence) === false) missing.push(sequence);
      const listed = gaps.flatMap(([from, to]) => Array.from({ length: to - from + 1 }, (_, index) => from + index));
      expect({ seed, source, frame_rows, late, missing: listed }).toEqual({
        seed,
        source,
        frame_rows: own?.frame_rows,
        late: own?.late,
        missing,
      });
    }
  }
  expect([...model.values()].reduce((sum, { late }) => sum + late, 0)).toBeGreaterThan(0);
}, 20_000);

test('a frame that comes behind a reading under way, before any of its statements, is not missed', async () => {
  await using place = await open();
  const session = {
    insert: (table: string, rows: readonly object[]) =>
      place.store.query(
        `INSERT INTO ${table} FORMAT JSONEachRow ${rows.map((row) => JSON.stringify(row)).join(' ')}`,
        {},
        signal,
      ),
  } as unknown as WritingSession; // all that a ledger uses of one
  let statement = 0;
  let meet = (): Promise<void> => Promise.resolve();
  const select = async <Row>(sql: string, parameters: QueryParameters): Promise<Row[]> => {
    statement++;
    await meet();
    return place.store.query<Row>(sql, parameters, signal);
  };
  const reader = new AccountReader(select, systemClock);
  const ledger = new Ledger(reader, systemClock, false);
  const note = (place_in_stream: number, sequence: number): Promise<void> => {
    const frame = { lineage: lineage(1, place_in_stream), source: 'node-1', epoch: 1, sequence, parts: 1, origin: 0 };
    return ledger.note(session, [{ ...frame, table: 'step', rows: 10 }], new Map());
  };
  // as Kafka's worker stores them, a table at a time: 100 before 99, 200 before 199 …
  for (let round = 1; round <= 8; round++) {
    await note(100 * round, 2 * round);
    statement = 0;
    meet = async () => {
      if (statement === round) await note(100 * round - 1, 2 * round + 1);
    };
    await reader.read();
    if (statement < round) await note(100 * round - 1, 2 * round + 1);
    meet = () => Promise.resolve();
    expect(await reader.read(), `before statement ${round}`).toMatchObject([
      { frame_rows: 20 * round, sequences: 2 * round },
    ]);
  }
});

test('a count that others wrote beside is made again, however slow counting is', async () => {
  await using directory = await scratchDirectory();
  await using place = await open();
  let elapsed_ms = 0;
  const clock: Clock = { ...systemClock, elapsed_ms: () => (elapsed_ms += 1_000) }; // the next count is due twenty later
  const stored = async (
    place_in_stream: number,
    sequence: number,
    records: ReturnType<typeof steps>,
  ): Promise<void> => {
    const frame = { lineage: lineage(1, place_in_stream), source: 'node-1', sequence, records };
    expect(await place.store.insert(await deliveryOf(directory.path, 'step', [frame]), signal)).toEqual(ok(undefined));
  };
  await stored(10, 2, steps(10, 13));
  let wrote = false;
  const select = async <Row>(sql: string, parameters: QueryParameters): Promise<Row[]> => {
    // another worker's frame, behind what was read of the ledger a moment ago and before the rows are counted
    if (sql.includes('AS held') && !wrote) {
      wrote = true;
      await stored(5, 1, steps(0, 2));
    }
    return place.store.query<Row>(sql, parameters, signal);
  };
  const reader = new AccountReader(select, clock, { tail_ms: 60_000 });
  const account = { frame_rows: 5, duplicates_absorbed: 0, stored: 5, sequences: 2 };
  expect(await reader.read()).toMatchObject([account]);
  expect(wrote).toBe(true);
  expect(await reader.read()).toMatchObject([account]);
});

test('where others write beside every count, stored is what the ledger says, and never more', async () => {
  await using directory = await scratchDirectory();
  await using place = await open();
  let frames = 0;
  const storeOne = async (): Promise<void> => {
    const records = steps(10 * frames, 10 * frames + 10);
    const frame = { lineage: lineage(1, 1_000 - ++frames), source: 'node-1', sequence: frames, records };
    expect(await place.store.insert(await deliveryOf(directory.path, 'step', [frame]), signal)).toEqual(ok(undefined));
  };
  await storeOne();
  let beside = true;
  const select = async <Row>(sql: string, parameters: QueryParameters): Promise<Row[]> => {
    if (beside && sql.includes('AS held')) await storeOne();
    return place.store.query<Row>(sql, parameters, signal);
  };
  const reader = new AccountReader(select, systemClock, { tail_ms: 60_000 });
  for (let look = 0; look < 2; look++) {
    const [item] = await reader.read();
    expect(item?.stored).toBe(item?.frame_rows);
  }
  expect(frames).toBeGreaterThan(5);
  beside = false;
  expect(await reader.read()).toMatchObject([{ frame_rows: 10 * frames, stored: 10 * frames }]);
});

test('a frame that was written behind what was read is found by a reader that looks seldom', async () => {
  await using place = await open();
  let elapsed_ms = 0;
  const clock: Clock = { ...systemClock, elapsed_ms: () => elapsed_ms };
  const select = <Row>(sql: string, parameters: QueryParameters): Promise<Row[]> =>
    place.store.query<Row>(sql, parameters, signal);
  const noted = (place_in_stream: number, sequence: number, rows: number, age_s: number): Promise<unknown> =>
    select(
      `INSERT INTO leeway.frames (lineage, source, epoch, sequence, parts, \`table\`, rows, duplicates, stored_at)
SETTINGS async_insert = 0 VALUES (${lineage(1, place_in_stream)}, 'node-1', 1, ${sequence}, 1, 'step', ${rows}, 0, now64(3) - ${age_s})`,
      {},
    );
  const reader = new AccountReader(select, clock, { tail_ms: 60_000 });
  await noted(10, 2, 3, 700);
  expect(await reader.read()).toMatchObject([{ frame_rows: 3, sequences: 1 }]);
  await noted(5, 1, 2, 300); // by another worker, five minutes ago; the last look was ten minutes ago
  elapsed_ms += 600_000;
  expect(await reader.read()).toMatchObject([{ frame_rows: 5, sequences: 2 }]);
});

test('a day that retention drops while rows are counted counts once, whenever in a reading it goes', async () => {
  await using directory = await scratchDirectory();
  const retention = { raw_days: 2, rollup_1m_days: 36_500, rollup_1h_days: 36_500 };
  await using store = await openEmbeddedStore({ data_dir: directory.path, clock: systemClock, retention });
  const day_ms = 86_400_000;
  let place = 0;
  const put = async (at_ms: number, rows: number): Promise<void> => {
    const samples = Array.from({ length: rows }, (_, row) => ({ id: 5n, at_ms: at_ms + row, value: row }));
    const frame = { lineage: lineage(0, ++place), source: 's', sequence: place, samples };
    expect(await store.insert(await deliveryOf(directory.path, 'samples', [frame]), signal)).toEqual(ok(undefined));
    await store.rollUp(at_ms + day_ms, signal);
  };
  let meet: (sql: string) => Promise<unknown> = () => Promise.resolve();
  const select = async <Row>(sql: string, parameters: QueryParameters): Promise<Row[]> => {
    await meet(sql);
    return store.query<Row>(sql, parameters, signal);
  };
  const reader = new AccountReader(select, { ...systemClock, elapsed_ms: () => 0 });
  let at_ms = Date.UTC(2026, 0, 1);
  /** As a pass that ends after it dropped the day: what it writes before, and the drop. */
  const written = (partition: string): Promise<unknown> =>
    store.query(
      `INSERT INTO leeway.expired SETTINGS async_insert = 0 VALUES ('samples', '${partition}', 1, 's', 1, 10, ${place}, 0)`,
      {},
      signal,
    );
  const drop = (partition: string): Promise<unknown> =>
    store.query(`ALTER TABLE leeway.samples DROP PARTITION ID '${partition}'`, {}, signal);

  let rows = 0;
  for (const moment of ['system.parts', 'AS last', 'AS held', 'leeway.expired'])
    for (const counted of ['never', 'before', 'before, less one row'])
      for (const pass of ['whole', 'cut short']) {
        const partition = new Date(at_ms).toISOString().slice(0, 10).replaceAll('-', '');
        await put(at_ms, 9);
        if (counted !== 'before, less one row') await put(at_ms + 1_000, 1);
        if (pass === 'cut short') await written(partition);
        if (counted !== 'never') await reader.read();
        if (counted === 'before, less one row') await put(at_ms + 1_000, 1);
        await put(at_ms + 5 * day_ms, 4);
        rows += 14;
        const now_ms = at_ms + 5 * day_ms;
        let met = false;
        meet = async (sql) => {
          if (met || !sql.includes(moment)) return;
          met = true;
          await (pass === 'whole' ? store.expire(now_ms, signal) : drop(partition));
        };
        const name = `${partition}, counted ${counted}; a ${pass} pass at ${moment}`;
        for (const _ of ['at once', 'the next time'])
          expect(await reader.read(), name).toMatchObject([{ frame_rows: rows, stored: rows }]);
        expect(met, name).toBe(true);
        await store.expire(now_ms, signal);
        expect(await reader.read(), name).toMatchObject([{ frame_rows: rows, stored: rows }]);
        at_ms += 10 * day_ms;
      }
}, 60_000);
