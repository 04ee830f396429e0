import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Clock } from '../core/clock.ts';
import { LeewayError } from '../core/errors.ts';
import { ok, type Outcome, reject, retry } from '../core/outcome.ts';
import type { Delivery, QueryParameters, Store, StoredAccount } from '../core/ports.ts';
import { SAMPLES } from '../core/tables.ts';
import { sampleBlocks } from '../formats/sample-frame.ts';
import { AccountReader } from './account.ts';
import {
  countIncoming,
  createIncoming,
  createKnown,
  DROP_INCOMING,
  insertBlocks,
  insertIncoming,
  ledgerRows,
  loadIncoming,
  structureOf,
} from './delivery-sql.ts';
import { type Blocks, type Engine, EngineError, type WritingSession } from './engine.ts';
import { COMPLETE_SEQUENCES, LINEAGE_MAX } from './ledger-sql.ts';
import { migrate } from './migrate.ts';
import { SampleOrder } from './sample-order.ts';
import { FRAMES } from './schema.ts';

export type SqlStoreOptions = {
  readonly engine: Engine;
  readonly clock: Clock;
  /** True where nobody else inserts: then samples later than all before of their series need no looking up. */
  readonly sole_writer: boolean;
};

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

/** What an insert saw: rows of the blocks, and by lineage those that were stored already. */
type Inserted = { readonly found: number; readonly duplicates: ReadonlyMap<string, number> };

const NO_DUPLICATES: Inserted['duplicates'] = new Map();

/** Series named one by one in a statement: 100 KB of text. Beyond them all of the file is looked up. */
const UNSURE_SERIES_MAX = 5_000;

/** The Store of any engine that speaks ClickHouse's SQL. Owns its engine. */
export class SqlStore implements Store {
  readonly #engine: Engine;
  readonly #clock: Clock;
  readonly #account: AccountReader;
  readonly #order: SampleOrder | null;

  constructor({ engine, clock, sole_writer }: SqlStoreOptions) {
    this.#engine = engine;
    this.#clock = clock;
    this.#order = sole_writer ? new SampleOrder() : null;
    const never = new AbortController().signal; // callers share a reading
    this.#account = new AccountReader((sql, parameters) => this.#select(sql, parameters, never), clock);
  }

  migrate(signal: AbortSignal): Promise<void> {
    return migrate(this.#engine, signal);
  }

  async insert(delivery: Delivery, signal: AbortSignal): Promise<Outcome> {
    signal.throwIfAborted();
    const first = delivery.frames[0];
    if (first === undefined) return ok(undefined);
    try {
      return await this.#engine.write(async (session) => {
        signal.throwIfAborted();
        const { found, duplicates } = await this.#insert(session, delivery);
        // what the engine does not see it would not store, and say nothing
        if (found !== delivery.rows)
          return reject('LW-STORE', `the engine read ${found} rows of ${delivery.rows} from ${delivery.path}`);
        const past = this.#account.isPast(first.lineage);
        await session.insert(FRAMES, ledgerRows(delivery.frames, duplicates, this.#clock.now_ms()));
        if (past) this.#account.forget();
        return ok(undefined);
      }, signal);
    } catch (error) {
      return insertOutcome(error);
    }
  }

  async #insert(session: WritingSession, delivery: Delivery): Promise<Inserted> {
    const blocks = { path: path.resolve(delivery.path), start: 0, end: Infinity };
    for (const sql of DROP_INCOMING) await session.command(sql);
    const inserted = await (delivery.table === SAMPLES
      ? this.#insertSamples(session, delivery, blocks)
      : insertAll(session, delivery, blocks));
    for (const sql of DROP_INCOMING) await session.command(sql);
    return inserted;
  }

  /** Nearly all samples are later than any of their series; only where they are not the store is asked what it holds. */
  async #insertSamples(session: WritingSession, delivery: Delivery, blocks: Blocks): Promise<Inserted> {
    if (this.#order === null) return insertAll(session, delivery, blocks);
    const bytes = await readFile(blocks.path);
    const found = sampleBlocks(bytes)?.reduce((sum, { rows }) => sum + rows, 0) ?? null;
    if (found === null) return insertAll(session, delivery, blocks);
    if (found !== delivery.rows) return { found, duplicates: NO_DUPLICATES };
    const ids = this.#order.unsure(bytes);
    if (ids === null || ids.length > UNSURE_SERIES_MAX) return insertAll(session, delivery, blocks);
    const duplicates = ids.length === 0 ? NO_DUPLICATES : (await load(session, delivery, blocks, ids)).duplicates;
    const taken = duplicates.size === 0 ? 'all' : 'fresh';
    await session.read(blocks, structureOf(delivery.table), (source) => insertBlocks(delivery, source, taken));
    return { found, duplicates };
  }

  query<Row>(sql: string, parameters: QueryParameters, signal: AbortSignal): Promise<Row[]> {
    return untilAborted(this.#select<Row>(sql, parameters, signal), signal);
  }

  async #select<Row>(sql: string, parameters: QueryParameters, signal: AbortSignal): Promise<Row[]> {
    try {
      return await this.#engine.select<Row>(sql, parameters, signal);
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

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#engine[Symbol.asyncDispose]();
  }
}

/** Loads everything, compares it with what is stored and inserts what is fresh, unless the engine saw other rows. */
async function insertAll(session: WritingSession, delivery: Delivery, blocks: Blocks): Promise<Inserted> {
  const loaded = await load(session, delivery, blocks, null);
  if (loaded.found === delivery.rows)
    await session.command(insertIncoming(delivery.table, loaded.duplicates.size === 0 ? 'all' : 'fresh'));
  return loaded;
}

/** Loads rows into the table `incoming` and counts by lineage those that are not fresh. */
async function load(
  session: WritingSession,
  delivery: Delivery,
  blocks: Blocks,
  ids: readonly bigint[] | null,
): Promise<Inserted> {
  const { table } = delivery;
  await session.command(createIncoming(table));
  await session.read(blocks, structureOf(table), (source) => loadIncoming(delivery, source, ids));
  await session.command(createKnown(table));
  const rows = await session.rows<FreshRow>(countIncoming(table));
  const found = rows.reduce((sum, row) => sum + Number(row.found), 0);
  const stale = rows.filter((row) => row.found !== row.fresh);
  return { found, duplicates: new Map(stale.map((row) => [row.lineage, Number(row.found) - Number(row.fresh)])) };
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

/** `result`, or the signal's reason when that comes first; the engine may go on computing until its own time limit. */
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
