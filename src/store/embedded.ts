import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Clock } from '../core/clock.ts';
import { LeewayError } from '../core/errors.ts';
import { ok, type Outcome, reject, retry } from '../core/outcome.ts';
import type { Delivery, QueryParameters, Store, StoredAccount } from '../core/ports.ts';
import { SAMPLES, TYPED_TABLES } from '../core/tables.ts';
import { AccountReader } from './account.ts';
import { lockDataDir } from './data-dir-lock.ts';
import { EmbeddedEngine, EngineError, type StoreEvent } from './embedded-engine.ts';
import { SampleOrder } from './sample-order.ts';
import {
  COMPLETE_SEQUENCES,
  createStatements,
  countDelivery,
  DROP_INCOMING,
  FRAMES,
  freshRows,
  insertDelivery,
  insertIncoming,
  LINEAGE_MAX,
  loadDelivery,
  tableName,
  typedColumns,
} from './schema.ts';

export type { StoreEvent } from './embedded-engine.ts';

export type EmbeddedStoreOptions = {
  readonly data_dir: string;
  readonly clock: Clock;
  readonly onEvent?: (event: StoreEvent) => void;
  /** Time after which the engine ends a query (LW-TIMEOUT). Default 20 s. */
  readonly query_timeout_ms?: number;
  /** Memory after which the engine ends a query. Default 2 GiB. */
  readonly query_memory_bytes_max?: number;
};

/**
 * The embedded telemetry store: chdb in a child process that owns `data_dir/store`. Takes the lock of the whole data
 * directory and creates the tables. Failures: LW-DATA-DIR-TAKEN, LW-DATA-DIR.
 */
export async function openEmbeddedStore(options: EmbeddedStoreOptions): Promise<Store> {
  assertReadable(path.resolve(options.data_dir));
  await using opening = new AsyncDisposableStack();
  opening.use(await lockDataDir(options.data_dir));
  const engine = opening.use(
    await EmbeddedEngine.start({
      data_dir: options.data_dir,
      clock: options.clock,
      query_timeout_ms: options.query_timeout_ms ?? 20_000,
      query_memory_bytes_max: options.query_memory_bytes_max ?? 2 * 1_073_741_824,
      onEvent: options.onEvent ?? (() => undefined),
    }),
  );
  const store = new EmbeddedStore(engine, options.clock);
  await store.migrate(new AbortController().signal);
  store.own(opening.move());
  return store;
}

/** The engine's file() expands wildcards and reads `::` as a way into an archive; there is no way to escape them. */
function assertReadable(data_dir: string): void {
  if (!/[*?{}]|::/.test(data_dir)) return;
  throw new LeewayError(
    'LW-DATA-DIR',
    `data directory ${data_dir} has one of * ? { } :: in its path, which the store cannot read from; set another data_dir`,
  );
}

/**
 * Engine codes that pass by themselves: memory, disk space, too many parts or queries, time, files and locks.
 * Everything else is about the data, and the same data would fail again.
 */
const PASSING_CODES: ReadonlySet<number> = new Set([
  0, 74, 75, 76, 107, 159, 160, 173, 202, 210, 236, 241, 242, 243, 252, 290, 394, 439, 473, 719, 1000, 1001, 1002,
]);
const TIMEOUT_CODES: ReadonlySet<number> = new Set([159, 160]);

type FreshRow = { lineage: string; found: string; fresh: string };
type SequenceRow = { source: string; epoch: string; from: string; to: string };

/** What an insert saw: rows of the file, and by lineage those that were stored already. */
type Inserted = { readonly found: number; readonly duplicates: ReadonlyMap<string, number> };

/** Series named one by one in a statement: 100 KB of text. Beyond them all of the file is looked up. */
const UNSURE_SERIES_MAX = 5_000;

class EmbeddedStore implements Store {
  readonly #engine: EmbeddedEngine;
  readonly #clock: Clock;
  readonly #account: AccountReader;
  readonly #order = new SampleOrder();
  #resources: AsyncDisposable | null = null;
  #inserting: Promise<unknown> = Promise.resolve();

  constructor(engine: EmbeddedEngine, clock: Clock) {
    this.#engine = engine;
    this.#clock = clock;
    this.#account = new AccountReader((sql, parameters) => this.#select(sql, parameters), clock);
  }

  own(resources: AsyncDisposable): void {
    this.#resources = resources;
  }

  async migrate(signal: AbortSignal): Promise<void> {
    const held = await this.#engine.select<{ table: string; name: string }>(
      "SELECT table, name FROM system.columns WHERE database = 'leeway'",
    );
    const columns = Map.groupBy(held, (column) => column.table);
    for (const { table, sql } of createStatements()) {
      signal.throwIfAborted();
      if (!columns.has(table)) await this.#engine.command(sql);
    }
    for (const type of TYPED_TABLES) {
      const names = columns.get(type)?.map((column) => column.name);
      for (const [name, definition] of typedColumns(type))
        if (names !== undefined && !names.includes(name))
          await this.#engine.command(`ALTER TABLE ${tableName(type)} ADD COLUMN IF NOT EXISTS ${definition}`);
    }
  }

  insert(delivery: Delivery, signal: AbortSignal): Promise<Outcome> {
    // one after another: they share the session and its table of incoming rows
    const inserted = this.#inserting.then(() => this.#insert(delivery, signal));
    this.#inserting = inserted.catch(() => undefined);
    return inserted;
  }

  async #insert(delivery: Delivery, signal: AbortSignal): Promise<Outcome> {
    signal.throwIfAborted();
    const first = delivery.frames[0];
    if (first === undefined) return ok(undefined);
    const file = path.resolve(delivery.path);
    try {
      await this.#engine.command(DROP_INCOMING);
      const insert = delivery.table === SAMPLES ? this.#insertSamples : this.#insertRecords;
      const { found, duplicates } = await insert.call(this, delivery, file);
      // what the engine does not see it would not store, and say nothing
      if (found !== delivery.rows)
        return reject('LW-STORE', `the engine read ${found} rows of ${delivery.rows} from ${file}`);
      await this.#engine.command(DROP_INCOMING);
      await this.#note(delivery, first.lineage, duplicates);
      return ok(undefined);
    } catch (error) {
      return insertOutcome(error);
    }
  }

  async #insertRecords(delivery: Delivery, file: string): Promise<Inserted> {
    await this.#engine.command(loadDelivery(delivery, file));
    const { found, duplicates } = await this.#incoming(delivery);
    if (found === delivery.rows) await this.#engine.command(insertIncoming(delivery.table));
    return { found, duplicates };
  }

  /** Nearly all samples are later than any of their series; only where they are not the store is asked what it holds. */
  async #insertSamples(delivery: Delivery, file: string): Promise<Inserted> {
    const [count] = await this.#engine.commandRows<{ found: string }>(countDelivery(delivery, file));
    const found = Number(count?.found);
    if (found !== delivery.rows) return { found, duplicates: new Map() };
    const ids = this.#order.unsure(await readFile(file));
    let duplicates: Inserted['duplicates'] = new Map();
    if (ids === null || ids.length > 0) {
      const some = ids === null || ids.length > UNSURE_SERIES_MAX ? null : ids;
      await this.#engine.command(loadDelivery(delivery, file, some));
      duplicates = (await this.#incoming(delivery)).duplicates;
    }
    await this.#engine.command(insertDelivery(delivery, file));
    return { found, duplicates };
  }

  /** Rows of the table `incoming` and how many of them a smaller lineage holds already, by lineage. */
  async #incoming({ table, frames }: Delivery): Promise<Inserted> {
    const rows = await this.#engine.commandRows<FreshRow>(freshRows(table, frames[0]?.lineage ?? 0n));
    const found = rows.reduce((sum, row) => sum + Number(row.found), 0);
    return { found, duplicates: new Map(rows.map((row) => [row.lineage, Number(row.found) - Number(row.fresh)])) };
  }

  /** Writes the ledger: a row a frame. What frames share in one lineage stands with the first of them. */
  async #note({ frames }: Delivery, base: bigint, duplicates: Inserted['duplicates']): Promise<void> {
    const stored_at = new Date(this.#clock.now_ms()).toISOString().slice(0, 23).replace('T', ' ');
    const ledger = frames.map(({ source, epoch, sequence, parts, table, rows, lineage }) => {
      const own = { source, epoch, sequence, parts, table, rows };
      return { ...own, lineage: String(lineage), duplicates: duplicates.get(String(lineage)) ?? 0, stored_at };
    });
    const past = this.#account.isPast(base);
    await this.#engine.insertRows(FRAMES, ledger);
    if (past) this.#account.forget();
  }

  query<Row>(sql: string, parameters: QueryParameters, signal: AbortSignal): Promise<Row[]> {
    return untilAborted(this.#select<Row>(sql, parameters), signal);
  }

  async #select<Row>(sql: string, parameters: QueryParameters): Promise<Row[]> {
    try {
      return await this.#engine.select<Row>(sql, parameters);
    } catch (error) {
      throw queryError(error);
    }
  }

  account(signal: AbortSignal): Promise<StoredAccount[]> {
    return untilAborted(this.#account.read(), signal);
  }

  async sequences(signal: AbortSignal): Promise<{ source: string; epoch: number; from: number; to: number }[]> {
    const rows = await this.query<SequenceRow>(COMPLETE_SEQUENCES, {}, signal);
    return rows.map(({ source, epoch, from, to }) => ({
      source,
      epoch: Number(epoch),
      from: Number(from),
      to: Number(to),
    }));
  }

  async lineageMax(signal: AbortSignal): Promise<bigint> {
    const [row] = await this.query<{ lineage: string }>(LINEAGE_MAX, {}, signal);
    return BigInt(row?.lineage ?? 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#inserting;
    await this.#resources?.[Symbol.asyncDispose]();
  }
}

function insertOutcome(error: unknown): Outcome {
  if (error instanceof LeewayError) return retry(error.code, error.message, 100);
  if (!(error instanceof EngineError)) throw error;
  if (PASSING_CODES.has(error.engine_code)) return retry('LW-STORE', error.message);
  return reject('LW-STORE', error.message);
}

function queryError(error: unknown): unknown {
  if (!(error instanceof EngineError)) return error;
  const code = TIMEOUT_CODES.has(error.engine_code) ? 'LW-TIMEOUT' : 'LW-STORE';
  return new LeewayError(code, error.message, { cause: error });
}

/** `result`, or the signal's reason when that comes first; the engine goes on computing until its own time limit. */
async function untilAborted<Result>(result: Promise<Result>, signal: AbortSignal): Promise<Result> {
  result.catch(() => undefined); // a failure after the abort has no listener any more
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([result, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
