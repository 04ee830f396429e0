import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { ok } from '../../src/core/outcome.ts';
import type { Delivery, Store } from '../../src/core/ports.ts';
import { type EmbeddedStoreOptions, openEmbeddedStore, type StoreEvent } from '../../src/store/embedded.ts';
import { lockDataDir } from '../../src/store/data-dir-lock.ts';
import { recordOf } from '../../src/formats/record-rows.ts';
import { openSpool } from '../../src/transport/spool.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { steps } from '../contract/records.ts';

const signal = new AbortController().signal;

/** A store whose child can be found and whose events can be waited for. */
class WatchedStore implements AsyncDisposable {
  readonly events: StoreEvent[] = [];
  #store: Store | null = null;
  #news: () => void = () => undefined;

  static async open(options: Omit<EmbeddedStoreOptions, 'clock'>): Promise<WatchedStore> {
    const watched = new WatchedStore();
    watched.#store = await openEmbeddedStore({
      clock: systemClock,
      ...options,
      onEvent: (event) => {
        watched.events.push(event);
        watched.#news();
      },
    });
    return watched;
  }

  get store(): Store {
    if (this.#store === null) throw new Error('the store did not open');
    return this.#store;
  }

  get pid(): number {
    return Number(
      /process (\d+)/.exec(this.events.findLast((event) => event.kind === 'store_child_started')?.reason ?? '')?.[1],
    );
  }

  async seen(kind: StoreEvent['kind'], count: number): Promise<void> {
    while (this.events.filter((event) => event.kind === kind).length < count)
      await new Promise<void>((resolve) => {
        this.#news = resolve;
      });
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.store[Symbol.asyncDispose]();
  }
}

test('a data directory is held by one store at a time, by name of its holder, and free when that is closed', async () => {
  await using directory = await scratchDirectory();
  const options = { data_dir: directory.path, clock: systemClock };
  {
    await using first = await openEmbeddedStore(options);
    await expect(openEmbeddedStore(options)).rejects.toMatchObject({
      code: 'LW-DATA-DIR-TAKEN',
      message: expect.stringContaining(`process ${process.pid}`),
    });
    expect(await first.lineageMax(signal)).toBe(0n);
  }
  await using second = await openEmbeddedStore(options);
  expect(await second.lineageMax(signal)).toBe(0n);
});

test('a lock left by a process that is gone, or whose id another process now has, is taken over', async () => {
  await using directory = await scratchDirectory();
  const file = path.join(directory.path, 'leeway.lock');
  for (const stale of ['4194304 1\n', `${process.pid} 1\n`, '', 'nonsense']) {
    await writeFile(file, stale);
    await using lock = await lockDataDir(directory.path);
    expect(lock).toBeDefined();
  }
});

test('a dead lock is cleared by one starter at a time, and a starter that died at it hinders nobody', async () => {
  await using directory = await scratchDirectory();
  const file = path.join(directory.path, 'leeway.lock');
  const living = `${process.ppid} \n`;
  await writeFile(file, '4194304 1\n');
  await writeFile(`${file}.claim`, living);
  await expect(lockDataDir(directory.path)).rejects.toMatchObject({
    code: 'LW-DATA-DIR-TAKEN',
    message: expect.stringContaining(`process ${process.ppid}`),
  });
  expect((await readdir(directory.path)).toSorted()).toEqual(['leeway.lock', 'leeway.lock.claim']);
  await writeFile(`${file}.claim`, '4194304 2\n');
  {
    await using lock = await lockDataDir(directory.path);
    expect(lock).toBeDefined();
    expect(await readdir(directory.path)).toEqual(['leeway.lock']);
  }
  expect(await readdir(directory.path)).toEqual([]);
});

test('of many processes that start over a dead lock at once one gets it', async () => {
  await using directory = await scratchDirectory();
  const starters = Array.from({ length: 4 }, () =>
    fork(new URL('./lock-starter.ts', import.meta.url), [directory.path]),
  );
  try {
    await Promise.all(starters.map((starter) => once(starter, 'message'))); // ready
    for (let round = 0; round < 40; round++) {
      await writeFile(path.join(directory.path, 'leeway.lock'), '4194304 1\n');
      for (const command of ['lock', 'free']) {
        const told = Promise.all(starters.map((starter) => once(starter, 'message')));
        for (const starter of starters) starter.send(command);
        const answers = (await told).map(([answer]) => String(answer));
        const expected = command === 'lock' ? 1 : 0;
        expect(
          answers.filter((answer) => answer === 'locked'),
          `round ${round}`,
        ).toHaveLength(expected);
      }
      expect(await readdir(directory.path)).toEqual([]);
    }
  } finally {
    for (const starter of starters) starter.kill('SIGKILL');
  }
});

test('a data directory that cannot be made or written is LW-DATA-DIR with the way out', async () => {
  await using directory = await scratchDirectory();
  const file = path.join(directory.path, 'a-file');
  await writeFile(file, '');
  await expect(openEmbeddedStore({ data_dir: path.join(file, 'data'), clock: systemClock })).rejects.toMatchObject({
    code: 'LW-DATA-DIR',
    message: expect.stringContaining('data_dir'),
  });
});

test('when the child is killed, queries reject with LW-STORE-GONE until the next one serves the same rows', async () => {
  await using directory = await scratchDirectory();
  await using watched = await WatchedStore.open({ data_dir: directory.path });
  const { store } = watched;
  const slow = store.query('SELECT sleep(2)', {}, signal);
  process.kill(watched.pid, 'SIGKILL');
  await expect(slow).rejects.toMatchObject({ code: 'LW-STORE-GONE' });
  const missing: Delivery = { table: 'step', path: path.join(directory.path, 'none'), rows: 1, frames: [] };
  const frame = {
    lineage: 1n,
    source: 's',
    epoch: 1,
    sequence: 1,
    parts: 1,
    table: 'step',
    rows: 1,
    origin: 0,
  } as const;
  expect(await store.insert({ ...missing, frames: [frame] }, signal)).toMatchObject({
    kind: 'retry',
    code: 'LW-STORE-GONE',
  });
  await expect(store.account(signal)).rejects.toMatchObject({ code: 'LW-STORE-GONE' });
  await watched.seen('store_child_started', 2);
  expect(await store.account(signal)).toEqual([]);
});

test('an insert cut short by the death of the child is taken by its successor, once', async () => {
  await using directory = await scratchDirectory();
  const data_dir = directory.path;
  await using watched = await WatchedStore.open({ data_dir });
  const { store } = watched;
  const known = { sequences: [], lineage_max: 0n };
  await using bus = await openSpool({ data_dir, bytes_max: 1e9, fsync: true, clock: systemClock, known, close_ms: 0 });
  await bus.publish({ source: 'cut', epoch: 1, sequence: 1, records: steps(0, 5_000) }, signal);
  const stop = new AbortController();
  const outcomes: string[] = [];
  await bus.consume(async (delivery) => {
    const inserting = store.insert(delivery, signal);
    if (outcomes.length === 0) process.kill(watched.pid, 'SIGKILL');
    const outcome = await inserting;
    outcomes.push(outcome.kind);
    if (outcome.kind === 'ok') stop.abort();
    return outcome;
  }, stop.signal);
  expect(outcomes[0]).toBe('retry');
  expect(await store.account(signal)).toMatchObject([
    { source: 'cut', frame_rows: 5_000, duplicates_absorbed: 0, stored: 5_000 },
  ]);
});

test('a column that an older store lacks is added, and its rows still give their records back', async () => {
  await using directory = await scratchDirectory();
  const data_dir = directory.path;
  {
    await using store = await openEmbeddedStore({ data_dir, clock: systemClock });
    await store.query('ALTER TABLE leeway.step DROP COLUMN loss', {}, signal);
    // as a version without that column would have written it
    const row = `SELECT 7, fromUnixTimestamp64Milli(1767225600000), 'old', 0, 1, 1767225600000, 1, 1, 0, 'train', '{"loss":0.5}', 1`;
    const names = 'record_hash, at, job, rank, step, at_ms, duration_ms, compute_ms, data_ms, phase, rest, precedence';
    await store.query(`INSERT INTO leeway.step (${names}) ${row}`, {}, signal);
  }
  await using store = await openEmbeddedStore({ data_dir, clock: systemClock });
  const [row] = await store.query<Record<string, unknown>>('SELECT * FROM leeway.step FINAL', {}, signal);
  expect(row).toHaveProperty('loss', null);
  expect(recordOf('step', row ?? {})).toMatchObject({ type: 'step', job: 'old', loss: 0.5 });
});

test('a segment that the engine cannot read is rejected, not retried for ever', async () => {
  await using directory = await scratchDirectory();
  await using store = await openEmbeddedStore({ data_dir: directory.path, clock: systemClock });
  const file = path.join(directory.path, 'poison.native');
  await writeFile(file, Buffer.from('\u0001\u0001\u0003lin\u0006String\u0001x', 'latin1'));
  const frame = {
    lineage: 1n,
    source: 's',
    epoch: 1,
    sequence: 1,
    parts: 1,
    table: 'step',
    rows: 1,
    origin: 0,
  } as const;
  const delivery: Delivery = { table: 'step', path: file, rows: 1, frames: [frame] };
  expect(await store.insert(delivery, signal)).toMatchObject({ kind: 'reject', code: 'LW-STORE' });
});

test('a query above its time limit is LW-TIMEOUT', async () => {
  await using directory = await scratchDirectory();
  await using store = await openEmbeddedStore({ data_dir: directory.path, clock: systemClock, query_timeout_ms: 200 });
  const endless = store.query('SELECT sum(number) FROM numbers(100000000000)', {}, signal);
  await expect(endless).rejects.toMatchObject({ code: 'LW-TIMEOUT' });
});

test('a data directory that the engine would take for a pattern is refused before anything is lost in it', async () => {
  await using directory = await scratchDirectory();
  for (const name of ['a*b', 'what?', 'x{1,2}', 'archive::member']) {
    const data_dir = path.join(directory.path, name);
    await expect(openEmbeddedStore({ data_dir, clock: systemClock })).rejects.toMatchObject({ code: 'LW-DATA-DIR' });
  }
});

test('a segment of which the engine sees fewer rows than were acknowledged is rejected, not trimmed', async () => {
  await using directory = await scratchDirectory();
  const data_dir = directory.path;
  await using store = await openEmbeddedStore({ data_dir, clock: systemClock });
  const known = { sequences: [], lineage_max: 0n };
  await using bus = await openSpool({ data_dir, bytes_max: 1e9, fsync: true, clock: systemClock, known, close_ms: 0 });
  await bus.publish({ source: 'short', epoch: 1, sequence: 1, records: steps(0, 3) }, signal);
  const stop = new AbortController();
  await bus.consume(async (delivery) => {
    stop.abort();
    expect(await store.insert({ ...delivery, rows: 4 }, signal)).toMatchObject({ kind: 'reject', code: 'LW-STORE' });
    return ok(undefined);
  }, stop.signal);
  expect(await store.account(signal)).toEqual([]);
});

test('a data directory with quotes, blanks and letters of any script in its name works', async () => {
  await using directory = await scratchDirectory();
  const data_dir = path.join(directory.path, "it's a \\ 'dir' 漢");
  await mkdir(data_dir);
  await using store = await openEmbeddedStore({ data_dir, clock: systemClock });
  const known = { sequences: [], lineage_max: 0n };
  await using bus = await openSpool({ data_dir, bytes_max: 1e9, fsync: true, clock: systemClock, known, close_ms: 0 });
  await bus.publish({ source: 'odd', epoch: 1, sequence: 1, records: steps(0, 2) }, signal);
  const stop = new AbortController();
  await bus.consume(async (delivery) => {
    expect(await store.insert(delivery, signal)).toEqual(ok(undefined));
    stop.abort();
    return ok(undefined);
  }, stop.signal);
  expect(await store.account(signal)).toMatchObject([{ source: 'odd', stored: 2 }]);
});
