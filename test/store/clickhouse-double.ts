import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/**
 * What goes wrong with the next `times` requests whose statement contains `match`, after `after` of them: an exception of
 * the server, a proxy's page, no answer (before or after the statement ran), a reset (before or after), a slow answer.
 */
export type Fault = {
  readonly kind: 'exception' | 'page' | 'hang' | 'hang_after' | 'reset_before' | 'reset_after' | 'drip';
  times: number;
  readonly match?: string;
  readonly code?: number;
  after?: number;
};

export type DoubleRequest = { readonly id: number } & (
  | { readonly kind: 'faults'; readonly faults: readonly Fault[] }
  | { readonly kind: 'passwords'; readonly passwords: Record<string, string> }
  | { readonly kind: 'statements' }
  | { readonly kind: 'sql'; readonly sql: string }
);

type Unsent<Request> = Request extends unknown ? Omit<Request, 'id'> : never;

/** A stand-in for a ClickHouse server on loopback, with users `writer` (password w) and `reader` (r, readonly = 1). */
export class ClickHouseDouble implements AsyncDisposable {
  readonly url: string;
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (value: unknown) => void>();
  #next_id = 1;

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.url = `http://127.0.0.1:${port}`;
    child.on('message', ({ id, value }: { id: number; value: unknown }) => {
      this.#waiting.get(id)?.(value);
      this.#waiting.delete(id);
    });
  }

  static async start(directory: string): Promise<ClickHouseDouble> {
    const file = fileURLToPath(new URL('./clickhouse-double-child.ts', import.meta.url));
    const child = fork(file, [`${directory}/engine`], {
      env: { TZ: 'UTC' },
      execArgv: [],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    const port = await new Promise<number>((resolve, reject) => {
      child.once('message', (message: { port: number }) => resolve(message.port));
      child.once('close', () => reject(new Error('the double did not start')));
    });
    return new ClickHouseDouble(child, port);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Plants `faults` in place of those that are left. */
  async plant(...faults: Fault[]): Promise<void> {
    await this.#ask({ kind: 'faults', faults });
  }

  async setPasswords(passwords: Record<string, string>): Promise<void> {
    await this.#ask({ kind: 'passwords', passwords });
  }

  /** Statements that ran or were refused by the engine since the last call. */
  async statements(): Promise<string[]> {
    return (await this.#ask({ kind: 'statements' })) as string[];
  }

  /** Runs `sql` as an administrator, beside the HTTP interface. */
  async sql<Row>(sql: string): Promise<Row[]> {
    const text = (await this.#ask({ kind: 'sql', sql })) as string;
    if (text.startsWith('Code:')) throw new Error(text);
    return text === ''
      ? []
      : text
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line) as Row);
  }

  #ask(request: Unsent<DoubleRequest>): Promise<unknown> {
    const id = this.#next_id++;
    const { promise, resolve } = Promise.withResolvers<unknown>();
    this.#waiting.set(id, resolve);
    this.#child.send({ ...request, id });
    return promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const gone = new Promise<void>((resolve) => this.#child.once('close', () => resolve()));
    this.#child.kill('SIGKILL');
    await gone;
  }
}
