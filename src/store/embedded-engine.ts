import { type ChildProcess, fork } from 'node:child_process';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { assert } from '../core/assert.ts';
import type { Clock } from '../core/clock.ts';
import { LeewayError } from '../core/errors.ts';
import type { QueryParameters } from '../core/ports.ts';
import { Concurrency } from './concurrency.ts';
import { taken } from './data-dir-lock.ts';
import { type Blocks, type Engine, EngineError, parseLines, type WritingSession } from './engine.ts';
import type { ChildReply, ChildRequest } from './embedded-protocol.ts';
import { literal } from './names.ts';

export type StoreEvent = { readonly kind: 'store_child_exited' | 'store_child_started'; readonly reason: string };

export type EmbeddedEngineOptions = {
  readonly data_dir: string;
  readonly clock: Clock;
  readonly query_timeout_ms: number;
  readonly query_memory_bytes_max: number;
  readonly onEvent: (event: StoreEvent) => void;
};

const RESTART_MS_MIN = 50;
const RESTART_MS_MAX = 5_000;
/** A killed process's child frees the directory within this time: it dies when its channel closes. */
const TAKEN_FOR_MS_MAX = 3_000;
/** Selects that wait or run: far above what the service's own loops and routes hold open. Writes come one by one. */
const SELECTS_MAX = 500;
/** Selects that the child has: one that runs and one that follows in each of its two sessions. */
const SELECTS_SENT_MAX = 4;

/**
 * How the engine's allocator keeps memory: an insert every second touches the same 30 MB, and with a share a core, in
 * small pages that go back after 5 s, a third of its CPU went into clearing pages. Costs 50 MB.
 */
const MEMORY = 'thp:always,narenas:2,percpu_arena:disabled,dirty_decay_ms:15000';

/** Kept of what the engine prints, for the reason of its end. */
const STDERR_CHARACTERS_MAX = 500;

type Waiting = { readonly resolve: (json_lines: string) => void; readonly reject: (error: unknown) => void };
type Unsent<Request> = Request extends unknown ? Omit<Request, 'id'> : never;

/** The chdb engine in a child process: restarted when it dies, killed when disposed. */
export class EmbeddedEngine implements Engine {
  readonly #options: EmbeddedEngineOptions;
  readonly #waiting = new Map<number, Waiting>();
  /** Turns of selects. The engine tells of no pushback, so there are always as many. */
  readonly #turns = new Concurrency(SELECTS_SENT_MAX);
  #selects = 0;
  readonly #stop = new AbortController();
  #child: ChildProcess | null = null;
  #next_id = 1;
  #restarting: Promise<void> = Promise.resolve();
  #writing: Promise<unknown> = Promise.resolve();
  readonly #session: WritingSession = {
    command: async (sql) => void (await this.#ask({ kind: 'command', sql })),
    rows: async (sql) => parseLines(await this.#ask({ kind: 'command', sql })),
    insert: async (table, rows) => {
      const json_lines = rows.map((row) => JSON.stringify(row)).join('\n');
      await this.#ask({ kind: 'rows', sql: table, json_lines });
    },
    read: (blocks, structure, sql) => this.#read(blocks, (file) => sql(fileSource(file, structure))),
  };

  private constructor(options: EmbeddedEngineOptions) {
    this.#options = options;
  }

  /** Starts the child. Failures: LW-DATA-DIR-TAKEN when another process keeps the directory, LW-DATA-DIR. */
  static async start(options: EmbeddedEngineOptions): Promise<EmbeddedEngine> {
    const engine = new EmbeddedEngine(options);
    const started_ms = options.clock.elapsed_ms();
    for (;;) {
      const refusal = await engine.#launch();
      if (refusal === null) return engine;
      if (!refusal.taken)
        throw new LeewayError('LW-DATA-DIR', `the store cannot open ${options.data_dir}: ${refusal.reason}`);
      if (options.clock.elapsed_ms() - started_ms > TAKEN_FOR_MS_MAX)
        throw taken(options.data_dir, 'another store process');
      await options.clock.sleep(100, engine.#stop.signal);
    }
  }

  /** Works come one after another: they share the one session that writes. */
  write<Result>(work: (session: WritingSession) => Promise<Result>): Promise<Result> {
    const written = this.#writing.then(() => work(this.#session));
    this.#writing = written.catch(() => undefined);
    return written;
  }

  /**
   * Rows of a query on a reading session. Who aborts while others are before it is not waited for; of what runs already
   * the child is not told, and the query's own time limit ends it. Throws LW-OVERLOADED where too many wait.
   */
  async select<Row>(sql: string, parameters: QueryParameters, signal: AbortSignal): Promise<Row[]> {
    if (this.#selects >= SELECTS_MAX)
      throw new LeewayError('LW-OVERLOADED', `${SELECTS_MAX} queries wait for the store; ask again`);
    this.#selects++;
    try {
      await this.#turns.acquire(signal);
      try {
        return parseLines<Row>(await this.#ask({ kind: 'select', sql, parameters }));
      } finally {
        this.#turns.release('ok');
      }
    } finally {
      this.#selects--;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing;
    this.#stop.abort();
    await this.#restarting;
    const child = this.#child;
    if (child === null) return;
    const gone = new Promise<void>((resolve) => child.once('close', () => resolve()));
    child.kill('SIGKILL');
    await gone;
  }

  #ask(request: Unsent<ChildRequest>): Promise<string> {
    const child = this.#child;
    if (child === null || !child.connected) return Promise.reject(gone('the store is restarting; try again'));
    const id = this.#next_id++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      child.send({ ...request, id }, (error) => {
        if (error !== null) this.#take(id)?.reject(gone('the store went away; try again'));
      });
    });
  }

  async #read(blocks: Blocks, sql: (file: string) => string): Promise<void> {
    assert('path' in blocks, 'the embedded engine reads files');
    await this.#ask({ kind: 'command', sql: sql(path.resolve(blocks.path)) });
  }

  #take(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    return waiting;
  }

  /** Forks the child; null when it is ready, or why it refused. */
  #launch(): Promise<{ taken: boolean; reason: string } | null> {
    const { data_dir, query_timeout_ms, query_memory_bytes_max } = this.#options;
    const limits = [String(query_timeout_ms / 1000), String(query_memory_bytes_max)];
    const child = fork(
      path.join(import.meta.dirname, 'embedded-child.ts'),
      [path.resolve(data_dir, 'store'), ...limits],
      {
        cwd: data_dir,
        env: { TZ: 'UTC', JE_MALLOC_CONF: MEMORY }, // no secrets where queries run
        execArgv: [],
        serialization: 'advanced',
        stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      },
    );
    const stderr = tailOf(child.stderr);
    return new Promise((resolve) => {
      let ready = false;
      let reason = '';
      child.on('error', () => undefined); // 'close' follows or the send callback tells
      child.on('message', (message) => {
        const reply = message as ChildReply; // our own child's protocol
        if (reply.kind === 'refused') {
          reason = reply.reason;
          child.kill('SIGKILL'); // its own exit could overtake this message
        }
        if (reply.kind === 'ready') {
          ready = true;
          this.#child = child;
          this.#options.onEvent({ kind: 'store_child_started', reason: `process ${child.pid}` });
          resolve(null);
        }
        this.#settle(reply);
      });
      child.once('close', (code, signal) => {
        const end = `process ${child.pid} ended (${signal ?? code})`;
        if (ready) return this.#lost(`${end} ${stderr()}`.trim());
        // the engine says why only on its error stream
        resolve({
          taken: /Cannot lock file|Another server instance/.test(stderr()),
          reason: `${reason === '' ? end : reason} ${stderr()}`.trim(),
        });
      });
    });
  }

  #settle(reply: ChildReply): void {
    if (reply.kind === 'done') this.#take(reply.id)?.resolve(reply.json_lines);
    if (reply.kind === 'failed') this.#take(reply.id)?.reject(new EngineError(reply.engine_code, reply.reason));
  }

  #lost(reason: string): void {
    this.#child = null;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of waiting) reject(gone('the store went away; try again'));
    if (this.#stop.signal.aborted) return;
    this.#options.onEvent({ kind: 'store_child_exited', reason });
    this.#restarting = this.#restart();
  }

  async #restart(): Promise<void> {
    const { signal } = this.#stop;
    for (let wait_ms = RESTART_MS_MIN; !signal.aborted; wait_ms = Math.min(RESTART_MS_MAX, wait_ms * 2)) {
      const refusal = await this.#launch();
      if (refusal === null) return;
      this.#options.onEvent({ kind: 'store_child_exited', reason: refusal.reason });
      await this.#options.clock.sleep(wait_ms, signal).catch(() => undefined); // aborted: the loop ends
    }
  }
}

/** Reads a stream to its end, keeping the last characters on one line. */
function tailOf(stream: Readable | null): () => string {
  let tail = '';
  stream?.setEncoding('utf8');
  stream?.on('data', (chunk: string) => {
    tail = (tail + chunk).slice(-STDERR_CHARACTERS_MAX);
  });
  return () => tail.replaceAll(/\s+/g, ' ').trim();
}

function gone(reason: string): LeewayError {
  return new LeewayError('LW-STORE-GONE', reason);
}

function fileSource(file: string, structure: string): string {
  return `file(${literal(file)}, Native, ${literal(structure)})`;
}
