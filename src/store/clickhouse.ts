import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { ClickHouseError, ClickHouseLogLevel, type ClickHouseSettings, createClient } from '@clickhouse/client';
import type { Clock } from '../core/clock.ts';
import { LeewayError } from '../core/errors.ts';
import type { QueryParameters } from '../core/ports.ts';
import { Concurrency } from './concurrency.ts';
import { type Blocks, type Engine, EngineError, type WritingSession } from './engine.ts';
import { AUTHENTICATION_CODE, READONLY_CODE } from './engine-codes.ts';
import { FrameInsertion } from './frame-insertion.ts';
import { DATABASE, literal } from './names.ts';
import { RETENTION, type Retention } from './rollup-schema.ts';
import { type RolledStore, SqlStore } from './sql-store.ts';

/** A user of the server. The password is read when it is first needed, and again when the server refuses it. */
export type Login = { readonly username: string; readonly readPassword: () => Promise<string> };

export type ClickHouseEvent = {
  readonly kind: 'store_insert_split' | 'store_login_refused' | 'store_unreachable';
  readonly reason: string;
};

export type ClickHouseStoreOptions = {
  /** `http://` or `https://` with host and port; a proxy in front must keep a session on one server. */
  readonly url: string;
  /** Must be `leeway`: every query of ours names it. */
  readonly database: string;
  /** Name of the cluster (or a macro such as `{cluster}`) for replicated tables; null: one server. */
  readonly cluster: string | null;
  readonly writer: Login;
  /** A user with `readonly = 1` (docs/how-to/run-on-clickhouse.md). Default: the writer. */
  readonly reader?: Login;
  readonly clock: Clock;
  readonly onEvent?: (event: ClickHouseEvent) => void;
  /** Certificates that the server's may be signed by, PEM. */
  readonly ca?: Buffer;
  /** Time after which the server ends a query (LW-TIMEOUT). Default 20 s. */
  readonly query_timeout_ms?: number;
  /** Memory after which the server ends a query. Default 2 GiB. */
  readonly query_memory_bytes_max?: number;
  /** Time after which an answer counts as lost. Default 60 s. */
  readonly request_timeout_ms?: number;
  /** Inserts that may run at once. Default 8. */
  readonly inserts_max?: number;
  readonly retention?: Retention;
  /** True where the caller sets rejected frames of a stored delivery aside (Ok.rejected). Default: deliveries are rejected. */
  readonly isolate?: boolean;
};

const QUERY_MEMORY_BYTES_MAX = 2 * 1_073_741_824;
/** Requests of all kinds at once: inserts and what the service's loops and routes ask. */
const CONNECTIONS_MAX = 32;
/** Frames of one stream reach the ledger within this time of each other, whichever table they are of. */
const ACCOUNT_TAIL_MS = 60_000;
/** Below the server's keep_alive_timeout of 10 s (3 s before 23.12), so that no request meets a closing socket. */
const IDLE_SOCKET_MS = 2_500;
/** Answers larger than 2^53 as strings, which readers of this code rely on. */
const QUOTED = { output_format_json_quote_64bit_integers: 1 } as const;

/**
 * A store on a ClickHouse server or cluster, over HTTP. Creates or migrates the tables. Failures: LW-CONFIG, LW-STORE-AUTH,
 * LW-STORE-GONE when the server cannot be reached, LW-STORE.
 */
export async function openClickHouseStore(options: ClickHouseStoreOptions): Promise<RolledStore> {
  if (options.database !== DATABASE)
    throw new LeewayError(
      'LW-CONFIG',
      `store.database is ${options.database}; only ${DATABASE} is supported: remove the setting`,
    );
  const { clock } = options;
  const onEvent = options.onEvent ?? (() => undefined);
  await using opening = new AsyncDisposableStack();
  const engine = opening.use(new ClickHouseEngine(options, onEvent));
  await engine.checkReader();
  const concurrency = new Concurrency(options.inserts_max ?? 8);
  const onSplit = (reason: string): void => onEvent({ kind: 'store_insert_split', reason });
  const store = new SqlStore({
    engine,
    clock,
    schema: { topology: { cluster: options.cluster }, retention: options.retention ?? RETENTION },
    account: { tail_ms: ACCOUNT_TAIL_MS },
    isSoleWriter: false,
    insertion: (ledger) =>
      new FrameInsertion({ engine, ledger, concurrency, onSplit, isolate: options.isolate ?? false }),
  });
  await store.migrate(new AbortController().signal);
  opening.move();
  return store;
}

type Auth = { readonly username: string; readonly password: string };

/** Passwords by login, read once until refused. */
class Passwords {
  readonly #known = new Map<Login, Promise<string>>();

  async of(login: Login): Promise<Auth> {
    const known = this.#known.get(login) ?? login.readPassword();
    this.#known.set(login, known);
    known.catch(() => this.#known.delete(login));
    return { username: login.username, password: await known };
  }

  forget(login: Login): void {
    this.#known.delete(login);
  }
}

class ClickHouseEngine implements Engine {
  readonly #client: ReturnType<typeof createClient>;
  readonly #writer: Login;
  readonly #reader: Login;
  readonly #onEvent: (event: ClickHouseEvent) => void;
  readonly #passwords = new Passwords();
  readonly #writing: ClickHouseSettings;
  #reading: ClickHouseSettings;

  constructor(options: ClickHouseStoreOptions, onEvent: (event: ClickHouseEvent) => void) {
    this.#writer = options.writer;
    this.#reader = options.reader ?? options.writer;
    this.#onEvent = onEvent;
    const quorum: ClickHouseSettings = { insert_quorum: 'auto', distributed_ddl_task_timeout: '60' };
    const plain = { ...QUOTED, async_insert: 0, insert_deduplicate: 0, wait_end_of_query: 1 } as const;
    this.#writing = options.cluster === null ? plain : { ...plain, ...quorum };
    this.#reading = {
      ...QUOTED,
      wait_end_of_query: 1,
      max_execution_time: Math.ceil((options.query_timeout_ms ?? 20_000) / 1000),
      max_memory_usage: String(options.query_memory_bytes_max ?? QUERY_MEMORY_BYTES_MAX),
    };
    this.#client = createClient({
      url: options.url,
      application: 'leeway',
      request_timeout: options.request_timeout_ms ?? 60_000,
      max_open_connections: CONNECTIONS_MAX,
      keep_alive: { enabled: true, idle_socket_ttl: IDLE_SOCKET_MS },
      log: { level: ClickHouseLogLevel.OFF },
      ...(options.ca === undefined ? {} : { tls: { ca_cert: options.ca } }),
    });
  }

  /**
   * Finds out whether the reader may set limits by itself; a user with `readonly = 1` may not, and has them from its
   * profile. Then 64-bit integers must come back as strings, or digits would be lost.
   */
  async checkReader(): Promise<void> {
    const { signal } = new AbortController();
    const probe = (): Promise<{ n: unknown }[]> =>
      this.select("SELECT toUInt64('18446744073709551615') AS n", {}, signal);
    const rows = await probe().catch((error: unknown) => {
      if (!(error instanceof EngineError) || error.engine_code !== READONLY_CODE) throw storeFailure(error);
      this.#reading = {};
      return probe();
    });
    if (rows[0]?.n !== '18446744073709551615')
      throw new LeewayError(
        'LW-CONFIG',
        `user ${this.#reader.username} gets 64-bit integers as numbers; give it the setting output_format_json_quote_64bit_integers = 1`,
      );
  }

  write<Result>(work: (session: WritingSession) => Promise<Result>, signal: AbortSignal): Promise<Result> {
    const common = { session_id: `leeway-${randomUUID()}`, clickhouse_settings: this.#writing, abort_signal: signal };
    const run = <Value>(statement: (auth: Auth) => Promise<Value>): Promise<Value> =>
      this.#run(this.#writer, signal, statement);
    return work({
      command: async (query) => void (await run((auth) => this.#client.command({ ...common, auth, query }))),
      rows: (query) =>
        run(async (auth) => {
          const result = await this.#client.query({ ...common, auth, query, format: 'JSONEachRow' });
          return result.json();
        }),
      insert: async (table, values) =>
        void (await run((auth) => this.#client.insert({ ...common, auth, table, values, format: 'JSONEachRow' }))),
      read: (blocks, structure, sql) => {
        const query = `${sql(`input(${literal(structure)})`)}\nFORMAT Native`;
        return run(async (auth) => {
          const { stream } = await this.#client.exec({ ...common, auth, query, values: bodyOf(blocks) });
          for await (const _ of stream); // the answer is empty, and not read it would hold the connection
        });
      },
    });
  }

  select<Row>(sql: string, parameters: QueryParameters, signal: AbortSignal): Promise<Row[]> {
    return this.#run(this.#reader, signal, async (auth) => {
      const result = await this.#client.query({
        query: sql,
        query_params: parameters,
        format: 'JSONEachRow',
        auth,
        abort_signal: signal,
        clickhouse_settings: this.#reading,
      });
      return result.json<Row>();
    });
  }

  async #run<Value>(login: Login, signal: AbortSignal, statement: (auth: Auth) => Promise<Value>): Promise<Value> {
    for (let again = false; ; again = true) {
      const auth = await this.#passwords.of(login);
      try {
        return await statement(auth);
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof ClickHouseError)) throw this.#unreachable(error);
        if (Number(error.code) !== AUTHENTICATION_CODE) throw new EngineError(Number(error.code), error.message);
        // the password may have been rotated: read it again, once
        this.#passwords.forget(login);
        if (again || (await this.#passwords.of(login)).password === auth.password) throw this.#refused(login, error);
      }
    }
  }

  #refused(login: Login, cause: Error): LeewayError {
    const reason = `the server refuses user ${login.username} or its password; check store.username and its password file`;
    this.#onEvent({ kind: 'store_login_refused', reason });
    return new LeewayError('LW-STORE-AUTH', reason, { cause });
  }

  /** Not an answer of ClickHouse: refused, reset, timed out or a proxy's page. The statement may have run. */
  #unreachable(cause: unknown): LeewayError {
    const reason = cause instanceof Error ? cause.message : 'unknown failure';
    this.#onEvent({ kind: 'store_unreachable', reason: reason.slice(0, 200) });
    return new LeewayError(
      'LW-STORE-GONE',
      `no answer from the ClickHouse server: ${reason.slice(0, 200)}; try again`,
      {
        cause,
      },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.close();
  }
}

function bodyOf(blocks: Blocks): Readable {
  if ('path' in blocks) throw new LeewayError('LW-INTERNAL', 'a server reads bytes, not files of this host');
  return Readable.from(blocks.pieces, { objectMode: false });
}

function storeFailure(error: unknown): unknown {
  return error instanceof EngineError ? new LeewayError('LW-STORE', error.message, { cause: error }) : error;
}
