import { copyFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import type { LeewayError } from '../../src/core/errors.ts';
import type { Bus, Delivery, Store } from '../../src/core/ports.ts';
import type { LeewayRecord } from '../../src/core/records.ts';
import { recordOf } from '../../src/formats/record-rows.ts';
import { deliveryOf, lineage } from './frames.ts';
import { heartbeat, stepRecord, steps } from './records.ts';

/** A store under test, shared by the tests of one file: every test uses its own source, job and times. */
export type StoreSubject = AsyncDisposable & {
  readonly store: Store;
  readonly bus: Bus;
  readonly directory: string;
  /** Runs a statement that the store itself never would. */
  readonly alter: (sql: string) => Promise<void>;
};

const signal = new AbortController().signal;
const EPOCH = 3;

/** Publishes `batches` of `source` as sequences 1, 2 … into one delivery a table, kept under a name of its own. */
async function deliveries(
  subject: StoreSubject,
  source: string,
  batches: readonly LeewayRecord[][],
): Promise<Delivery[]> {
  const rows = batches.flat().length;
  for (const [index, records] of batches.entries())
    await subject.bus.publish({ source, epoch: EPOCH, sequence: index + 1, records }, signal);
  const kept: Delivery[] = [];
  const stop = new AbortController();
  let seen = 0;
  await subject.bus.consume(async (delivery) => {
    const file = path.join(subject.directory, `${source}-${kept.length}.native`);
    await copyFile(delivery.path, file);
    kept.push({ ...delivery, path: file });
    seen += delivery.rows;
    if (seen >= rows) stop.abort();
    return { kind: 'ok', value: undefined };
  }, stop.signal);
  return kept;
}

async function accountOf(store: Store, source: string): Promise<object | undefined> {
  return (await store.account(signal)).find((account) => account.source === source);
}

/** What every driver of Store must do. */
export function storeContract(driver: string, subject: () => StoreSubject): void {
  const own = (job: string, records: readonly LeewayRecord[]): LeewayRecord[] =>
    records.map((record) => ({ ...record, job }) as LeewayRecord);

  test(`${driver}: a delivery is stored, accounted by source and epoch, and harmless when it comes again`, async () => {
    const { store } = subject();
    const [delivery] = await deliveries(subject(), 'replayed', [
      own('replayed', steps(0, 5)),
      own('replayed', steps(5, 8)),
    ]);
    expect(delivery).toBeDefined();
    if (delivery === undefined) return;
    const expected = {
      source: 'replayed',
      epoch: EPOCH,
      frame_rows: 8,
      duplicates_absorbed: 0,
      stored: 8,
      sequence_min: 1,
      sequence_max: 2,
      sequences: 2,
      gaps: [],
      late: 0,
    };
    for (let time = 0; time < 3; time++) {
      expect(await store.insert(delivery, signal)).toEqual({ kind: 'ok', value: undefined });
      expect(await accountOf(store, 'replayed')).toEqual(expected);
    }
    expect(await store.sequences(signal)).toContainEqual({ source: 'replayed', epoch: EPOCH, from: 1, to: 2 });
    expect(await store.lineageMax(signal)).toBeGreaterThanOrEqual(delivery.frames[1]?.lineage ?? 0n);
  });

  test(`${driver}: equal records count once; rows less duplicates is what is stored`, async () => {
    const { store } = subject();
    // frame 1: 4 rows, one twice. frame 2: 3 rows, two of frame 1. A second source repeats 2 of those 4 and adds 1.
    const first = own('doubled', [...steps(0, 3), stepRecord(2)]);
    const second = own('doubled', steps(1, 4));
    const third = own('doubled', [...steps(0, 2), stepRecord(9)]);
    for (const delivery of await deliveries(subject(), 'doubled', [first, second]))
      await store.insert(delivery, signal);
    const late = await deliveries(subject(), 'doubled-late', [third]);
    for (const delivery of [...late, ...late]) await store.insert(delivery, signal);
    expect(await accountOf(store, 'doubled')).toMatchObject({ frame_rows: 7, duplicates_absorbed: 3, stored: 4 });
    expect(await accountOf(store, 'doubled-late')).toMatchObject({ frame_rows: 3, duplicates_absorbed: 2, stored: 1 });
    const held = await store.query<{ n: string }>(
      "SELECT count() AS n FROM leeway.step FINAL WHERE job = 'doubled'",
      {},
      signal,
    );
    expect(held).toEqual([{ n: '5' }]);
  });

  test(`${driver}: a record that two sources sent into one delivery is stored for the first and a duplicate of the second`, async () => {
    const { bus, store } = subject();
    const shared = own('shared', steps(0, 3));
    const first = bus.publish({ source: 'shared-1', epoch: EPOCH, sequence: 1, records: shared }, signal);
    const more = [...shared, ...own('shared', [stepRecord(3)])];
    for (const delivery of await deliveries(subject(), 'shared-2', [more]))
      expect(await store.insert(delivery, signal)).toMatchObject({ kind: 'ok' });
    expect(await first).toEqual({ repeated: false });
    expect(await accountOf(store, 'shared-1')).toMatchObject({ frame_rows: 3, duplicates_absorbed: 0, stored: 3 });
    expect(await accountOf(store, 'shared-2')).toMatchObject({ frame_rows: 4, duplicates_absorbed: 3, stored: 1 });
  });

  test(`${driver}: the same key and time with another content is another row`, async () => {
    const { store } = subject();
    const records = own('revised', [stepRecord(1), { ...stepRecord(1), loss: 9 }]);
    for (const delivery of await deliveries(subject(), 'revised', [records])) await store.insert(delivery, signal);
    expect(await accountOf(store, 'revised')).toMatchObject({ frame_rows: 2, duplicates_absorbed: 0, stored: 2 });
  });

  test(`${driver}: a batch of two tables is complete when both parts are stored`, async () => {
    const { store } = subject();
    const parts = await deliveries(subject(), 'two-parts', [own('two-parts', [stepRecord(1), heartbeat(1)])]);
    expect(parts).toHaveLength(2);
    const complete = async (): Promise<number> =>
      (await store.sequences(signal)).filter((range) => range.source === 'two-parts').length;
    const counts: number[] = [];
    for (const part of parts) {
      await store.insert(part, signal);
      counts.push(await complete());
    }
    expect(counts).toEqual([0, 1]);
  });

  test(`${driver}: the account shows rows that are gone from the table`, async () => {
    const { store, alter } = subject();
    for (const delivery of await deliveries(subject(), 'vanished', [own('vanished', steps(0, 4))]))
      await store.insert(delivery, signal);
    expect(await accountOf(store, 'vanished')).toMatchObject({ frame_rows: 4, stored: 4 });
    await alter("ALTER TABLE leeway.step DELETE WHERE job = 'vanished' AND step = 2 SETTINGS mutations_sync = 2");
    // rows are counted again at once where that is quick, else a while later
    const account = (): Promise<object | undefined> => accountOf(store, 'vanished');
    const expected = { frame_rows: 4, duplicates_absorbed: 0, stored: 3 };
    await expect.poll(account, { timeout: 30_000 }).toMatchObject(expected);
  });

  test(`${driver}: what comes behind a higher sequence is late, what comes again is not, and what never came is a gap`, async () => {
    const { store, directory } = subject();
    const source = 'unordered';
    const batch = (sequence: number, stream: number, place: number) => {
      const records = own(source, steps(10 * sequence, 10 * sequence + 2));
      return { lineage: lineage(stream, place), source, sequence, records };
    };
    const insert = async (frames: Parameters<typeof deliveryOf>[2]): Promise<object | undefined> => {
      expect(await store.insert(await deliveryOf(directory, 'step', frames), signal)).toMatchObject({ kind: 'ok' });
      return accountOf(store, source);
    };
    const first = [batch(1, 20, 10), batch(2, 20, 11), batch(7, 20, 12), batch(5, 20, 13)];
    // 5 came behind 7; of 1 … 7 neither 3 nor 4 nor 6 came
    const gaps = [
      [3, 4],
      [6, 6],
    ];
    expect(await insert(first)).toMatchObject({ stored: 8, late: 2, gaps, sequences: 4 });
    expect(await insert(first)).toMatchObject({ stored: 8, late: 2, gaps, sequences: 4 }); // replayed
    // 4 comes late, 2 once more; then 8 in the order of things
    const late = { stored: 12, late: 4, gaps: [[3, 3], [6, 6]], duplicates_absorbed: 2 }; // biome-ignore format: ranges
    expect(await insert([batch(4, 20, 20), batch(2, 20, 21), batch(8, 20, 22)])).toMatchObject(late);
    // in another stream order is another: nothing is behind there
    expect(await insert([batch(6, 21, 1)])).toMatchObject({ stored: 14, late: 4, gaps: [[3, 3]] });
    const beats = { lineage: lineage(20, 30), source, sequence: 3, records: own(source, [heartbeat(1)]) };
    const delivery = await deliveryOf(directory, 'heartbeat', [beats]);
    expect(await store.insert(delivery, signal)).toMatchObject({ kind: 'ok' });
    // and so it is in another table
    expect(await accountOf(store, source)).toMatchObject({ stored: 15, late: 4, gaps: [], sequences: 8 });
  });

  test(`${driver}: parameters travel beside the text and are never read as SQL`, async () => {
    const { store } = subject();
    const text = 'it\'s \\ "quoted" `--;\n\t漢字 🚀';
    const rows = await store.query(
      'SELECT {text:String} AS text, {list:Array(String)} AS list, {n:UInt64} AS n, {x:Float64} AS x',
      { text, list: [text, ''], n: 18_446_744_073_709_551_615n, x: 0.1 },
      signal,
    );
    expect(rows).toEqual([{ text, list: [text, ''], n: '18446744073709551615', x: 0.1 }]);
  });

  test(`${driver}: a query that is wrong rejects with LW-STORE, one that is aborted with the signal's reason`, async () => {
    const { store } = subject();
    await expect(store.query('SELECT nothing_of_the_kind', {}, signal)).rejects.toMatchObject({
      code: 'LW-STORE',
    } satisfies Partial<LeewayError>);
    const stop = new AbortController();
    const slow = store.query('SELECT sleep(1)', {}, stop.signal);
    stop.abort(new Error('enough'));
    await expect(slow).rejects.toThrow('enough');
  });

  test(`${driver}: a record comes back from its row as it was sent`, async () => {
    const { store } = subject();
    const record = { ...stepRecord(1), job: 'returned', zone: 'b', nested: { deep: [1, null, 'x'] }, note: null };
    for (const delivery of await deliveries(subject(), 'returned', [[record]])) await store.insert(delivery, signal);
    const [row] = await store.query<Record<string, unknown>>(
      "SELECT * FROM leeway.step FINAL WHERE job = 'returned'",
      {},
      signal,
    );
    expect(row).toBeDefined();
    expect(recordOf('step', row ?? {})).toEqual(record);
  });

  test(`${driver}: what comes through two streams is stored once, whichever of their lineages is the smaller`, async () => {
    const { store, directory } = subject();
    const records = own('two-streams', steps(0, 4));
    const samples = [0, 1, 2].map((second) => ({ id: 77n, at_ms: 1_767_225_600_000 + second * 1_000, value: second }));
    const insert = async (stream: number, source: string, sequence: number): Promise<void> => {
      const frame = { lineage: lineage(stream, 1_000 + sequence), source, sequence };
      for (const delivery of [
        await deliveryOf(directory, 'step', [{ ...frame, records }]),
        await deliveryOf(directory, 'samples', [{ ...frame, lineage: frame.lineage + 500n, samples }]),
      ])
        for (const _ of [1, 2]) expect(await store.insert(delivery, signal)).toMatchObject({ kind: 'ok' });
    };
    await insert(7, 'stream-7', 1);
    expect(await accountOf(store, 'stream-7')).toMatchObject({ frame_rows: 7, duplicates_absorbed: 0, stored: 7 });
    await insert(3, 'stream-3', 1);
    await insert(9, 'stream-9', 1);
    await insert(7, 'stream-7', 2);
    // the first that came keeps its rows, also against the smaller lineage of stream 3
    expect(await accountOf(store, 'stream-7')).toMatchObject({ frame_rows: 14, duplicates_absorbed: 7, stored: 7 });
    for (const source of ['stream-3', 'stream-9'])
      expect(await accountOf(store, source)).toMatchObject({ frame_rows: 7, duplicates_absorbed: 7, stored: 0 });
    const held = await store.query('SELECT count() AS n FROM leeway.samples FINAL WHERE id = 77', {}, signal);
    expect(held).toEqual([{ n: '3' }]);
  });
}
