import type { Clock } from '../core/clock.ts';
import { LeewayError } from '../core/errors.ts';
import { ok, type Outcome } from '../core/outcome.ts';
import type { Delivery, QueryParameters, Store, StoredAccount } from '../core/ports.ts';
import { untilAborted } from '../core/until-aborted.ts';
import { type AccountOptions, AccountReader } from './account.ts';
import { type Engine, EngineError } from './engine.ts';
import { TIMEOUT_CODES } from './engine-codes.ts';
import { type Expired, expire } from './expire.ts';
import { type Insertion, Ledger } from './insertion.ts';
import { COMPLETE_SEQUENCES, LINEAGE_MAX } from './ledger-sql.ts';
import { migrate, type MigrateOptions } from './migrate.ts';
import { type RolledUp, rollUp } from './rollup.ts';
import { TableMarks } from './table-marks.ts';

export type SqlStoreOptions = {
  readonly engine: Engine;
  readonly clock: Clock;
  readonly insertion: (ledger: Ledger) => Insertion;
  readonly account?: AccountOptions;
  readonly schema: MigrateOptions;
  /** True where nobody else writes to these tables, and writes never overlap. */
  readonly isSoleWriter: boolean;
};

type SequenceRow = { source: string; epoch: string; from: string; to: string };

/** A Store whose samples are rolled up, and whose old telemetry is dropped, by a loop of the caller. */
export type RolledStore = Store & {
  /** One pass of roll-ups up to the minute before `now_ms`; see rollup.ts. */
  rollUp(now_ms: number, signal: AbortSignal): Promise<RolledUp>;
  /** Drops raw telemetry that is older than configured; see expire.ts. After `rollUp`, under the same lease. */
  expire(now_ms: number, signal: AbortSignal): Promise<Expired>;
};

/** The Store of any engine that speaks ClickHouse's SQL. Owns its engine. */
export class SqlStore implements RolledStore {
  readonly #engine: Engine;
  readonly #account: AccountReader;
  readonly #insertion: Insertion;
  readonly #ledger: Ledger;
  readonly #marks: TableMarks;
  readonly #schema: MigrateOptions;

  constructor({ engine, clock, insertion, account, schema, isSoleWriter }: SqlStoreOptions) {
    this.#engine = engine;
    this.#schema = schema;
    const never = new AbortController().signal; // callers share a reading
    const select = <Row>(sql: string, parameters: QueryParameters): Promise<Row[]> =>
      this.#select<Row>(sql, parameters, never);
    this.#account = new AccountReader(select, clock, account);
    this.#marks = new TableMarks(select, isSoleWriter);
    this.#ledger = new Ledger(this.#account, clock, isSoleWriter);
    this.#insertion = insertion(this.#ledger);
  }

  migrate(signal: AbortSignal): Promise<void> {
    return migrate(this.#engine, this.#schema, signal);
  }

  async insert(delivery: Delivery, signal: AbortSignal): Promise<Outcome> {
    signal.throwIfAborted();
    if (delivery.frames.length === 0) return ok(undefined);
    try {
      return await this.#insertion.insert(delivery, signal);
    } finally {
      this.#marks.inserted(delivery.table);
    }
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

  marks(signal: AbortSignal): Promise<ReadonlyMap<string, string>> {
    return untilAborted(this.#marks.read(), signal);
  }

  rollUp(now_ms: number, signal: AbortSignal): Promise<RolledUp> {
    const { rollup_1m_days } = this.#schema.retention;
    return rollUp(this.#engine, { now_ms, rollup_1m_days, onBegin: () => this.#ledger.forgetMarked() }, signal);
  }

  expire(now_ms: number, signal: AbortSignal): Promise<Expired> {
    const { topology, retention } = this.#schema;
    return expire(this.#engine, { now_ms, raw_days: retention.raw_days, topology }, signal);
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#engine[Symbol.asyncDispose]();
  }
}

function queryError(error: unknown): unknown {
  if (!(error instanceof EngineError)) return error;
  const code = TIMEOUT_CODES.has(error.engine_code) ? 'LW-TIMEOUT' : 'LW-STORE';
  return new LeewayError(code, error.message, { cause: error });
}
