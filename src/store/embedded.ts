import path from 'node:path';
import type { Clock } from '../core/clock.ts';
import { LeewayError } from '../core/errors.ts';
import { ok, type Outcome, reject, retry } from '../core/outcome.ts';
import type { Delivery, QueryParameters, Store, StoredAccount } from '../core/ports.ts';
import { RECORD_TYPES } from '../core/records.ts';
import { AccountReader } from './account.ts';
import { lockDataDir } from './data-dir-lock.ts';
import { EmbeddedEngine, EngineError, type StoreEvent } from './embedded-engine.ts';
import {
  COMPLETE_SEQUENCES,
  createStatements,
  DROP_INCOMING,
  FRAMES,
  freshRows,
  insertSegment,
  LINEAGE_MAX,
  loadSegment,
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

class EmbeddedStore implements Store {
  readonly #engine: EmbeddedEngine;
  readonly #clock: Clock;
  readonly #account: AccountReader;
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
    for (const type of RECORD_TYPES) {
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
    const { table, frames } = delivery;
    const first = frames[0];
    if (first === undefined) return ok(undefined);
    const file = path.resolve(delivery.path);
    try {
      await this.#engine.command(DROP_INCOMING);
      await this.#engine.command(loadSegment(table, file));
      const read = await this.#engine.commandRows<FreshRow>(freshRows(table, first.lineage));
      const found = read.reduce((sum, row) => sum + Number(row.found), 0);
      // what the engine does not see it would not store, and say nothing
      if (found !== delivery.rows)
        return reject('LW-STORE', `the engine read ${found} rows of ${delivery.rows} from ${file}`);
      const fresh = new Map(read.map((row) => [row.lineage, Number(row.fresh)]));
      await this.#engine.command(insertSegment(table));
      await this.#engine.command(DROP_INCOMING);
      const stored_at = new Date(this.#clock.now_ms()).toISOString().slice(0, 23).replace('T', ' ');
      const ledger = frames.map((frame) => {
        const lineage = String(frame.lineage);
        const duplicates = frame.rows - (fresh.get(lineage) ?? 0);
        return { ...frame, lineage, duplicates, stored_at };
      });
      const past = this.#account.isPast(first.lineage);
      await this.#engine.insertRows(FRAMES, ledger);
      if (past) this.#account.forget();
      return ok(undefined);
    } catch (error) {
      return insertOutcome(error);
    }
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
