import { LeewayError } from '../core/errors.ts';
import { type Connection, connect, PostgresFailure, type ServerAddress } from './postgres-connection.ts';

/** Tasks that may wait at once: as many as the sqlite driver lets wait. Beyond that callers hear no. */
const WAITING_MAX = 10_000;

export type PoolOptions = ServerAddress & {
  /** Tasks at once, each with one connection. */
  readonly connections_max: number;
  /** A connection broke: `reason` for people. */
  readonly onLost: (reason: string) => void;
};

/**
 * Connections to one server, opened when needed, kept for the next task, forgotten when they break. At most
 * `connections_max` tasks run at once, the others wait in order of arrival.
 */
export class Pool implements AsyncDisposable {
  readonly #options: PoolOptions;
  readonly #waiting: (() => void)[] = [];
  #idle: Connection[] = [];
  #running = 0;
  #closed = false;
  readonly #drained = Promise.withResolvers<void>();

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /** Runs `task` when its turn comes. Throws LW-OVERLOADED when too many wait, LW-CONTROL-GONE after closing. */
  async run<Result>(task: () => Promise<Result>): Promise<Result> {
    if (this.#closed) throw new LeewayError('LW-CONTROL-GONE', 'the control store was closed; nothing was written');
    if (this.#waiting.length >= WAITING_MAX)
      throw new LeewayError('LW-OVERLOADED', `${WAITING_MAX} transactions wait for the control store; try again later`);
    if (this.#running >= this.#options.connections_max)
      await new Promise<void>((resolve) => this.#waiting.push(resolve)); // the one that ends hands its place over
    else this.#running++;
    try {
      return await task();
    } finally {
      const next = this.#waiting.shift();
      if (next !== undefined) next();
      else if (--this.#running === 0 && this.#closed) this.#drained.resolve();
    }
  }

  /**
   * A connection on which `first` was answered. One that broke while nobody used it fails there, before any work was
   * done on it, and the next is tried; a new one that fails is the server's failure. Throws PostgresFailure.
   */
  async begin(first: (connection: Connection) => Promise<unknown>): Promise<Connection> {
    for (;;) {
      const kept = this.#idle.pop();
      const connection = kept ?? (await this.open());
      try {
        await first(connection);
        return connection;
      } catch (error) {
        await abandon(this, connection);
        if (kept === undefined || !(error instanceof PostgresFailure) || error.kind !== 'gone') throw error;
      }
    }
  }

  /** A new connection that belongs to the caller, with limits of its own. Throws PostgresFailure. */
  async open(limits: Partial<ServerAddress> = {}): Promise<Connection> {
    const connection = await connect({ ...this.#options, ...limits });
    connection.onLost = (reason) => {
      this.#idle = this.#idle.filter((other) => other !== connection);
      this.#options.onLost(reason);
    };
    return connection;
  }

  /** Keeps a connection that has no transaction open. */
  giveBack(connection: Connection): void {
    if (!connection.lost) this.#idle.push(connection);
  }

  /** Waits for the tasks that run or wait, then hangs up. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    if (this.#running > 0) await this.#drained.promise;
    const idle = this.#idle.splice(0);
    await Promise.allSettled(idle.map((connection) => connection.end()));
  }
}

/** Ends what is open on a connection and keeps it, or hangs up when even that fails. */
export async function abandon(pool: Pool, connection: Connection): Promise<void> {
  if (connection.lost) return;
  try {
    await connection.query('ROLLBACK');
    pool.giveBack(connection);
  } catch {
    connection.close(); // the server rolls back what it does not hear of any more
  }
}
