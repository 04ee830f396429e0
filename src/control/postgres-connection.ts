import { Socket } from 'node:net';
import pg from 'pg';
import { type ErrorCode, LeewayError, systemCode } from '../core/errors.ts';

/** What one statement gave. `command` is the server's own word for it (`COMMIT`, `ROLLBACK`, `UPDATE` …). */
export type Answer = {
  readonly rows: readonly Readonly<Record<string, unknown>>[];
  readonly count: number;
  readonly command: string;
};

/**
 * `again`: another transaction was in the way, the same work may succeed now. `gone`: the connection is lost, and with
 * it what was not committed. `failed`: the server refused the statement; the connection serves on.
 */
export type FailureKind = 'again' | 'gone' | 'failed';

/** Why a statement did not run. Stays inside src/control; callers of the port get `leewayError(failure)`. */
export class PostgresFailure extends Error {
  override readonly name = 'PostgresFailure';
  readonly kind: FailureKind;
  /** SQLSTATE of five characters, or the system's code (`ECONNREFUSED`), or null. */
  readonly code: string | null;

  constructor(kind: FailureKind, code: string | null, message: string, cause: unknown) {
    super(message, { cause });
    this.kind = kind;
    this.code = code;
  }
}

/** Where the server is and how long anything there may take. */
export type ServerAddress = {
  /** `postgres://user:password@host:port/database?sslmode=verify-full&sslrootcert=/path`; also a socket: `?host=/run/postgresql`. */
  readonly url: string;
  readonly connect_timeout_ms: number;
  /** One statement; also how long one waits for a lock at most. */
  readonly statement_timeout_ms: number;
  /** A transaction whose work makes a pause for longer is ended by the server. */
  readonly idle_timeout_ms: number;
};

/** The oldest server with all that is used here; 13 left support in November 2025. */
const VERSION_MIN = 140_000;
/** A server of no use to us: feature_not_supported, as the server itself would say it. */
const UNFIT = '0A000';
/** The client gives a silent server up this long after the server itself should have cancelled the statement. */
const SILENCE_MS = 5_000;

/**
 * What holds for every session. Index scans only: a sequential scan of a small table takes a predicate lock on all of
 * it, and every two transactions there would be in each other's way. Scans without an index still work; compiling
 * their plans (jit) because of the price put on them would not pay. A database that acknowledges before its log is
 * on disk is told not to.
 */
const SESSION = `
  SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = off;
  SET enable_seqscan = off; SET jit = off; SET timezone = 'UTC';
  SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
  SELECT pid, backend_start::text AS started, pg_is_in_recovery() AS replica,
    current_setting('server_version_num')::int AS version, current_setting('server_encoding') AS encoding
  FROM pg_stat_activity WHERE pid = pg_backend_pid()`;

/** One session with the server. One statement at a time; after a failure of kind `gone` it is of no use any more. */
export class Connection {
  readonly #client: pg.Client;
  readonly #socket: Socket;
  /** Names the session's process over all restarts of the server. */
  readonly session: { readonly pid: number; readonly started: string };
  lost = false;
  /** Called once when the connection is lost while nobody uses it. */
  onLost: (reason: string) => void = () => undefined;

  constructor(client: pg.Client, socket: Socket, session: Connection['session']) {
    this.#client = client;
    this.#socket = socket;
    this.session = session;
    client.on('error', (error) => this.#drop(error.message));
    client.on('end', () => this.#drop('the server closed the connection'));
  }

  #drop(reason: string): void {
    if (this.lost) return;
    this.lost = true;
    this.#socket.destroy();
    this.onLost(reason);
  }

  /** Runs one statement with its values, or several without; the answer is the last one's. Throws PostgresFailure. */
  async query(sql: string, values?: readonly unknown[]): Promise<Answer> {
    try {
      return await ask(this.#client, sql, values);
    } catch (error) {
      const failure = failureOf(error);
      if (failure.kind === 'gone') this.close();
      throw failure;
    }
  }

  /** Says goodbye to a server that listens. */
  async end(): Promise<void> {
    if (this.lost) return;
    this.lost = true;
    await this.#client.end();
  }

  /** Hangs up at once; an open transaction is rolled back by the server. */
  close(): void {
    this.lost = true;
    this.#socket.destroy();
  }
}

/** Opens a session. Throws PostgresFailure: `gone` when no server that can write answers, `failed` when it refuses us. */
export async function connect(address: ServerAddress): Promise<Connection> {
  const socket = new Socket();
  try {
    const client = new pg.Client({
      connectionString: address.url,
      application_name: 'leeway',
      connectionTimeoutMillis: address.connect_timeout_ms,
      statement_timeout: address.statement_timeout_ms,
      lock_timeout: address.statement_timeout_ms,
      idle_in_transaction_session_timeout: address.idle_timeout_ms,
      query_timeout: address.statement_timeout_ms + SILENCE_MS,
      keepAlive: true,
      stream: () => socket,
    });
    client.on('error', () => socket.destroy()); // the statement under way, if any, rejects by itself
    await client.connect();
    return new Connection(client, socket, checkedSession((await ask(client, SESSION)).rows[0] ?? {}));
  } catch (error) {
    socket.destroy();
    throw error instanceof PostgresFailure ? error : failureOf(error);
  }
}

function checkedSession(row: Readonly<Record<string, unknown>>): Connection['session'] {
  const [version, encoding] = [Number(row['version']), String(row['encoding'])];
  if (version < VERSION_MIN)
    throw new PostgresFailure('failed', UNFIT, `PostgreSQL 14 or newer is needed, this one is ${version}`, row);
  if (encoding !== 'UTF8')
    throw new PostgresFailure('failed', UNFIT, `a database in UTF8 is needed, this one is in ${encoding}`, row);
  if (row['replica'] === true)
    throw new PostgresFailure('gone', null, 'the server is a replica that cannot be written to', row);
  return { pid: Number(row['pid']), started: String(row['started']) };
}

async function ask(client: pg.Client, sql: string, values?: readonly unknown[]): Promise<Answer> {
  const results: unknown = values === undefined ? await client.query(sql) : await client.query(sql, [...values]);
  const last: unknown = Array.isArray(results) ? results.at(-1) : results;
  const { rows, rowCount, command } = last as pg.QueryResult<Record<string, unknown>>; // what pg documents
  return { rows, count: rowCount ?? 0, command };
}

/** Serialisation failure and deadlock: the server's word that trying again is the answer (PostgreSQL manual, 13.2.3). */
const AGAIN = new Set(['40001', '40P01']);
/** Ends of a session: shutdowns and crashes (57P), connection exceptions (08), idle in a transaction for too long. */
const SESSION_ENDED = /^(57P0[1-5]|08...|25P0[34])$/;

function failureOf(error: unknown): PostgresFailure {
  if (!(error instanceof pg.DatabaseError)) {
    const message = error instanceof Error ? error.message || (systemCode(error) ?? error.name) : String(error);
    return new PostgresFailure('gone', systemCode(error), message, error);
  }
  const code = error.code ?? null;
  const kind = code !== null && AGAIN.has(code) ? 'again' : SESSION_ENDED.test(code ?? '') ? 'gone' : 'failed';
  return new PostgresFailure(kind, code, error.message, error);
}

/** Host, port and database of a connection string, without what is secret in it. Throws where it is none. */
export function placeOf(url: string): string {
  if (!/^(postgres|postgresql|socket):/.test(url)) throw new Error('no scheme postgres:');
  const { host, port, database } = new pg.Client({ connectionString: url });
  return `PostgreSQL at ${host.startsWith('/') ? host : `${host}:${port}`}, database ${database ?? '(none)'}`;
}

/** Login refused, unknown role or database, nobody lets us in: settings, not the network. */
const REFUSED = /^(28...|3D000|42501|0A000)$/;
const TIMED_OUT = new Set(['57014', '55P03']);

/** The failure as callers of the port see it: what, where, why, next step. */
export function leewayError(failure: PostgresFailure, place: string): LeewayError {
  const why = failure.code === null ? failure.message : `${failure.message} [${failure.code}]`;
  const [code, next] = adviceOf(failure);
  return new LeewayError(code, `${place}: ${why}; ${next}`, { cause: failure });
}

function adviceOf({ kind, code }: PostgresFailure): readonly [ErrorCode, string] {
  if (kind === 'gone') return ['LW-CONTROL-GONE', 'nothing was written; the next transaction connects anew'];
  if (kind === 'again')
    return ['LW-CONFLICT', 'others kept changing the same documents; nothing was written, try again'];
  if (REFUSED.test(code ?? ''))
    return ['LW-CONFIG', 'check the connection string in control.url_file and the rights of its user'];
  if (TIMED_OUT.has(code ?? ''))
    return ['LW-TIMEOUT', 'nothing was written; look for long transactions in pg_stat_activity'];
  return ['LW-CONTROL', 'nothing was written; look into the server log'];
}
