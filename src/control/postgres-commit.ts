import type { Clock } from '../core/clock.ts';
import { type Connection, PostgresFailure } from './postgres-connection.ts';

/**
 * A connection that breaks while the server commits leaves the client without an answer. So each writing transaction
 * leaves a row with a token of its own, sent in the same message as COMMIT: afterwards the row tells. Asking for the
 * status of the transaction's number instead (pg_xact_status) would need no row, but after a crash the server may give
 * the number of a transaction that never reached its log to another one, and then answers for that.
 */

/** How long the server may be away until a commit in doubt is given up: a restart with recovery takes seconds. */
const DOUBT_MS = 30_000;
const LOOK_MS = 100;
/** Nobody asks for a row after DOUBT_MS; ten minutes are far beyond it. */
const KEPT = '10 minutes';

/** A commit whose answer was lost: its token, and the server's process that may still be working on it. */
export type LostCommit = { readonly token: string; readonly session: Connection['session'] };

/** What is needed to ask: the schema as SQL, new connections, time. */
export type Asking = { readonly schema: string; readonly open: () => Promise<Connection>; readonly clock: Clock };

/** The statements that end a writing transaction. `token`: hexadecimal digits and dashes. */
export function commitSql(schema: string, token: string): string {
  return `INSERT INTO ${schema}.commits (token, at) VALUES ('${token}', clock_timestamp()); COMMIT`;
}

/** Removes rows that nobody will ask for. */
export async function forgetCommits(schema: string, connection: Connection): Promise<void> {
  await connection.query(`DELETE FROM ${schema}.commits WHERE at < now() - interval '${KEPT}'`);
}

/**
 * Whether a lost commit took place: first the process that had it must be gone (a broken network does not end it, so
 * it is ended), then its row is there or not. Null when no server answered for 30 s.
 */
export async function wasCommitted(lost: LostCommit, asking: Asking): Promise<boolean | null> {
  const from_ms = asking.clock.elapsed_ms();
  const never = new AbortController().signal;
  while (asking.clock.elapsed_ms() - from_ms < DOUBT_MS) {
    try {
      const answer = await askOnce(lost, asking);
      if (answer !== null) return answer;
    } catch (error) {
      if (!(error instanceof PostgresFailure)) throw error; // the server is not back yet: look again
    }
    await asking.clock.sleep(LOOK_MS, never);
  }
  return null;
}

async function askOnce({ token, session }: LostCommit, { schema, open }: Asking): Promise<boolean | null> {
  const connection = await open();
  try {
    const alive = await connection.query(
      'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2::timestamptz',
      [session.pid, session.started],
    );
    if (alive.rows.length > 0) return null;
    const found = await connection.query(`SELECT token FROM ${schema}.commits WHERE token = $1`, [token]);
    return found.rows.length > 0;
  } finally {
    connection.close();
  }
}
