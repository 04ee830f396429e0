// The child process that owns the embedded store's directory. Started by embedded.ts with the directory, the time
// limit of a query in seconds and its memory limit in bytes.
import { createRequire } from 'node:module';
import type { Session as ChdbSession } from 'chdb';
import type { ChildReply, ChildRequest } from './embedded-protocol.ts';

// The engine's teardown can hang in exit(), and an orphan would keep the directory: kill ourselves, the spool makes
// that safe.
const die = (): void => void process.kill(process.pid, 'SIGKILL');
process.on('disconnect', die);
process.on('SIGTERM', die);
process.on('SIGINT', () => undefined); // Ctrl-C reaches the whole group; the parent ends us after its last insert

const [, , directory = '', seconds_max = '20', memory_bytes_max = '0'] = process.argv;

/** Queries that run at the same time; one session runs one statement at a time. */
const READERS = 2;

function reply(message: ChildReply): void {
  if (process.connected) process.send?.(message, () => undefined);
}

/** A session and the chain of what it still has to do. */
class Lane {
  readonly session: ChdbSession;
  waiting = 0;
  #tail: Promise<unknown> = Promise.resolve();

  constructor(session: ChdbSession) {
    this.session = session;
  }

  run(work: (session: ChdbSession) => Promise<string>): Promise<string> {
    this.waiting++;
    const result = this.#tail.then(() => work(this.session));
    this.#tail = result.catch(() => undefined).finally(() => this.waiting--);
    return result;
  }
}

function openLanes(): { writer: Lane; readers: Lane[] } {
  const { Session } = createRequire(import.meta.url)('chdb') as { Session: new (path: string) => ChdbSession };
  const writer = new Lane(new Session(directory));
  writer.session.query('SET max_threads = 2');
  const readers = Array.from({ length: READERS }, () => {
    const session = new Session(directory);
    session.query(`SET max_execution_time = ${Number(seconds_max)}, max_memory_usage = ${Number(memory_bytes_max)}`);
    session.query('SET max_threads = 2');
    return new Lane(session);
  });
  for (const { session } of [writer, ...readers]) session.query('SET output_format_json_quote_64bit_integers = 1');
  return { writer, readers };
}

function start(): void {
  const { writer, readers } = openLanes();
  const execute = (request: ChildRequest): Promise<string> => {
    if (request.kind === 'select') {
      const lane = readers.reduce((least, other) => (other.waiting < least.waiting ? other : least));
      return lane.run(async (session) => {
        const { sql, parameters } = request;
        return (await session.queryBindAsync(sql, parameters, { format: 'JSONEachRow' })).text();
      });
    }
    if (request.kind === 'command')
      return writer.run(async (session) => (await session.queryAsync(request.sql, { format: 'JSONEachRow' })).text());
    return writer.run(async (session) => {
      const values = Buffer.from(request.json_lines);
      await session.insert({ table: request.sql, values, format: 'JSONEachRow', settings: { async_insert: 0 } });
      return '';
    });
  };
  process.on('message', (request: ChildRequest) => {
    execute(request).then(
      (json_lines) => reply({ kind: 'done', id: request.id, json_lines }),
      (error: unknown) => reply({ kind: 'failed', id: request.id, ...describe(error) }),
    );
  });
  reply({ kind: 'ready' });
}

function describe(error: unknown): { engine_code: number; reason: string } {
  const reason = error instanceof Error ? error.message : 'unknown failure';
  const code: unknown = typeof error === 'object' && error !== null && Reflect.get(error, 'clickhouseCode');
  return { engine_code: Number(code) || 0, reason: reason.slice(0, 500) };
}

try {
  start();
} catch (error) {
  reply({ kind: 'refused', reason: describe(error).reason });
}
