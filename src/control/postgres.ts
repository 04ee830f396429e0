import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import { assert } from '../core/assert.ts';
import type { Clock } from '../core/clock.ts';
import { LeewayError } from '../core/errors.ts';
import type { Control, ControlTransaction } from '../core/ports.ts';
import type { Random } from '../core/random.ts';
import { commitSql, forgetCommits, wasCommitted } from './postgres-commit.ts';
import { type Connection, leewayError, PostgresFailure, placeOf } from './postgres-connection.ts';
import { PostgresTransaction } from './postgres-documents.ts';
import { abandon, Pool } from './postgres-pool.ts';
import { Schema } from './postgres-schema.ts';
import { holdableText } from './postgres-text.ts';

/** How the control store in PostgreSQL is reached and behaves. */
export type PostgresControlOptions = {
  /**
   * `postgres://user:password@host:5432/database?sslmode=verify-full&sslrootcert=/path/ca.pem`, what `control.url_file`
   * holds; a socket: `postgres://user@/database?host=/run/postgresql`. sslmode `disable` (default), `verify-full`,
   * `no-verify`; `require` checks the certificate too. The server itself or a pooler that keeps sessions apart: settings
   * are made once a session.
   */
  readonly url: string;
  /** Schema of all tables. Default `leeway`. */
  readonly schema?: string;
  /** Transactions at once. Default 8: ten processes of Leeway stay below the server's own default of 100 connections. */
  readonly connections_max?: number;
  /** Waits between attempts; real time, also in tests. */
  readonly clock: Clock;
  readonly random: Random;
  /**
   * Decides which leases are over. Default: the database's clock. Workers on several hosts see one clock then, and no
   * host whose own runs ahead takes a lease that another still has; give one only where a test moves time.
   */
  readonly lease_clock?: Clock;
  /** Told of connections that broke, repeated transactions and the like: `kind` for counting, `reason` for people. */
  readonly onEvent?: (event: { readonly kind: string; readonly reason: string }) => void;
};

const CONNECTIONS = 8;
const CONNECT_TIMEOUT_MS = 5_000;
/** The longest honest statement lists 100,000 documents, some seconds. */
const STATEMENT_TIMEOUT_MS = 30_000;
const IDLE_TIMEOUT_MS = 60_000;
/** A new column or index over the millions of rows of an old table may take minutes. */
const MIGRATION_TIMEOUT_MS = 600_000;
/** Attempts side by side with others; then the transaction asks for the store to itself, where nobody is in its way. */
const SHARED_ATTEMPTS = 4;
const ATTEMPTS_MAX = 8;
/** How long all others may be kept waiting for one that wants to be alone. */
const ALONE_WAIT_MS = 1_000;
/** SQLSTATE after lock_timeout. */
const LOCK_NOT_AVAILABLE = '55P03';
/** Waits double from 2 ms with full jitter: a transaction takes 1 to 10 ms. */
const WAIT_BASE_MS = 2;
/** Writing transactions between two looks for old rows of `commits`: some 100 KB of them. */
const FORGET_EVERY = 1_000;

/**
 * Opens the control store in PostgreSQL 14 or newer: a table a collection, a document a row as JSON text exactly as
 * written, indexed fields as generated columns beside it. Makes or migrates its tables. Throws LW-CONTROL-GONE when no
 * server answers, LW-CONFIG when it refuses us or is of no use.
 *
 * Transactions run side by side at SERIALIZABLE. The loser of a conflict is repeated, `work` included, up to 8 times;
 * from the fifth on it holds the store alone where it gets it within a second, so that a long one cannot lose for ever
 * to many short ones. A lost connection rolls back what was not committed: LW-CONTROL-GONE. When it is lost during
 * COMMIT, the driver finds out whether it was committed and resolves or rejects accordingly; only when no server
 * answers for 30 s the caller gets LW-CONTROL-DOUBT and must read before it repeats anything that is not guarded by a
 * revision or an id of its own.
 *
 * Measured with PostgreSQL 15.18 and its client on the same 2 cores, fsync on, documents of 0.3 KB, in transactions a
 * second, one caller | eight (in brackets the sqlite driver): insert 1,850 | 5,100 (4,700); read 3,300 | 11,000 (87,000);
 * read and replace 1,280 | 1,350 (5,900); append to the audit log, where all meet, 1,280 | 1,020 (3,900).
 */
export async function openPostgresControl(options: PostgresControlOptions): Promise<Control> {
  const place = placeOrRefusal(options.url);
  const { onEvent = () => undefined } = options;
  const pool = new Pool({
    url: options.url,
    connections_max: options.connections_max ?? CONNECTIONS,
    connect_timeout_ms: CONNECT_TIMEOUT_MS,
    statement_timeout_ms: STATEMENT_TIMEOUT_MS,
    idle_timeout_ms: IDLE_TIMEOUT_MS,
    onLost: (reason) => onEvent({ kind: 'control_connection_lost', reason: `${place}: ${reason}` }),
  });
  const schema = new Schema(options.schema ?? 'leeway', () =>
    pool.open({ statement_timeout_ms: MIGRATION_TIMEOUT_MS }),
  );
  try {
    await schema.migrate();
  } catch (error) {
    throw error instanceof PostgresFailure ? leewayError(error, place) : error;
  }
  return new PostgresControl({ ...options, onEvent }, { pool, schema, place });
}

function placeOrRefusal(url: string): string {
  try {
    return placeOf(url);
  } catch (error) {
    throw new LeewayError(
      'LW-CONFIG',
      'the connection string of the control store cannot be read; expected postgres://user:password@host:5432/database',
      { cause: error },
    );
  }
}

type Parts = { readonly pool: Pool; readonly schema: Schema; readonly place: string };
type Told = { readonly onEvent: (event: { readonly kind: string; readonly reason: string }) => void };

/** One attempt at a transaction. */
type Attempt<Result> =
  | { readonly kind: 'done'; readonly result: Result }
  | { readonly kind: 'again'; readonly failure: PostgresFailure };

class PostgresControl implements Control {
  readonly #options: PostgresControlOptions & Told;
  readonly #pool: Pool;
  readonly #schema: Schema;
  readonly #place: string;
  readonly #inside = new AsyncLocalStorage<true>();
  #written = 0;

  constructor(options: PostgresControlOptions & Told, { pool, schema, place }: Parts) {
    this.#options = options;
    this.#pool = pool;
    this.#schema = schema;
    this.#place = place;
  }

  async transaction<Result>(work: (tx: ControlTransaction) => Promise<Result>): Promise<Result> {
    this.#assertOutside();
    return this.#outcome(() => this.#repeated(work));
  }

  async #repeated<Result>(work: (tx: ControlTransaction) => Promise<Result>): Promise<Result> {
    const { clock, random, onEvent } = this.#options;
    for (let attempt = 1; ; attempt++) {
      const tried = await this.#attempt(work, attempt > SHARED_ATTEMPTS);
      if (tried.kind === 'done') return tried.result;
      if (attempt === ATTEMPTS_MAX) throw tried.failure;
      onEvent({ kind: 'control_transaction_repeated', reason: tried.failure.message });
      await clock.sleep(WAIT_BASE_MS * 2 ** attempt * random.next(), new AbortController().signal);
    }
  }

  async #attempt<Result>(work: (tx: ControlTransaction) => Promise<Result>, alone: boolean): Promise<Attempt<Result>> {
    const connection = await this.#begin(alone);
    const tx = new PostgresTransaction(connection, this.#schema);
    let result: Result;
    try {
      result = await this.#inside.run(true, () => work(tx));
    } catch (error) {
      const failure = await tx.settle();
      await abandon(this.#pool, connection);
      if (failure?.kind === 'again') return { kind: 'again', failure };
      throw failure ?? error;
    }
    const failure = (await tx.settle()) ?? (await this.#commit(connection, tx.wrote));
    if (failure === null) {
      for (const told of tx.told) told();
      return { kind: 'done', result };
    }
    await abandon(this.#pool, connection);
    if (failure.kind === 'again') return { kind: 'again', failure };
    throw failure;
  }

  /**
   * Opens a transaction beside others, or alone. The lock comes before the first snapshot (LOCK TABLE takes none), so
   * that who has waited for it sees all before it. While one waits to be alone the others queue behind it: not for long.
   */
  async #begin(alone: boolean): Promise<Connection> {
    const begin = 'BEGIN ISOLATION LEVEL SERIALIZABLE';
    const gate = `${this.#schema.sql}.gate`;
    if (alone) {
      const exclusive = `${begin}; SET LOCAL lock_timeout = ${ALONE_WAIT_MS};
        LOCK TABLE ${gate} IN EXCLUSIVE MODE; SET LOCAL lock_timeout = ${STATEMENT_TIMEOUT_MS}`;
      try {
        return await this.#pool.begin((fresh) => fresh.query(exclusive));
      } catch (error) {
        if (!(error instanceof PostgresFailure) || error.code !== LOCK_NOT_AVAILABLE) throw error;
      } // a long one is inside: go on beside it
    }
    return this.#pool.begin((fresh) => fresh.query(`${begin}; LOCK TABLE ${gate} IN ROW SHARE MODE`));
  }

  /** Commits; null when that is certain, the failure when nothing was written. Throws LW-CONTROL-DOUBT. */
  async #commit(connection: Connection, wrote: boolean): Promise<PostgresFailure | null> {
    const token = randomUUID();
    const { sql: schema } = this.#schema;
    try {
      const { command } = await connection.query(wrote ? commitSql(schema, token) : 'COMMIT');
      assert(command === 'COMMIT', `the server committed, it answered ${command}`);
    } catch (error) {
      if (!(error instanceof PostgresFailure) || error.kind !== 'gone' || !wrote) return failureOrThrow(error);
      const asking = { schema, open: () => this.#pool.open(), clock: this.#options.clock };
      const committed = await wasCommitted({ token, session: connection.session }, asking);
      this.#options.onEvent({
        kind: 'control_commit_lost',
        reason: `${error.message}; committed: ${committed ?? 'unknown'}`,
      });
      if (committed === true) return null;
      if (committed === false) return error;
      throw new LeewayError(
        'LW-CONTROL-DOUBT',
        `${this.#place}: the connection broke during COMMIT and no server answers; read before you repeat anything`,
        { cause: error },
      );
    }
    if (wrote && ++this.#written % FORGET_EVERY === 0) await this.#forget(connection);
    this.#pool.giveBack(connection);
    return null;
  }

  async #forget(connection: Connection): Promise<void> {
    try {
      await forgetCommits(this.#schema.sql, connection);
    } catch (error) {
      this.#options.onEvent({ kind: 'control_tidy_failed', reason: String(error) }); // the next thousandth tries again
    }
  }

  async lease(name: string, holder: string, ttl_ms: number): Promise<boolean> {
    const { lease_clock } = this.#options;
    const given_ms = lease_clock === undefined ? null : Math.floor(lease_clock.now_ms());
    // read again where the row is locked: a lease that ended while we waited for it has ended
    const now_ms = '(coalesce($4::float8, extract(epoch FROM clock_timestamp())::float8 * 1000))';
    return this.#alone(
      `INSERT INTO ${this.#schema.sql}.leases AS held (name, holder, until_ms) VALUES ($1, $2, ${now_ms} + $3::float8)
       ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_ms = ${now_ms} + $3::float8
       WHERE held.holder = excluded.holder OR held.until_ms <= ${now_ms}`,
      [holdableText(name), holdableText(holder), Math.ceil(ttl_ms), given_ms],
    );
  }

  async release(name: string, holder: string): Promise<void> {
    await this.#alone(`DELETE FROM ${this.#schema.sql}.leases WHERE name = $1 AND holder = $2`, [
      holdableText(name),
      holdableText(holder),
    ]);
  }

  /** Runs one statement that may be repeated; whether it changed a row. */
  #alone(sql: string, values: readonly unknown[]): Promise<boolean> {
    this.#assertOutside();
    return this.#outcome(async () => {
      let changed = false;
      const connection = await this.#pool.begin(async (fresh) => {
        changed = (await fresh.query(sql, values)).count === 1;
      });
      this.#pool.giveBack(connection);
      return changed;
    });
  }

  #assertOutside(): void {
    assert(this.#inside.getStore() === undefined, 'a control transaction is not opened inside another one');
  }

  async #outcome<Result>(task: () => Promise<Result>): Promise<Result> {
    try {
      return await this.#pool.run(task);
    } catch (error) {
      throw error instanceof PostgresFailure ? leewayError(error, this.#place) : error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool[Symbol.asyncDispose]();
  }
}

function failureOrThrow(error: unknown): PostgresFailure {
  if (error instanceof PostgresFailure) return error;
  throw error;
}
