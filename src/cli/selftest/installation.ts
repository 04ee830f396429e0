import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config } from '../../config/schema.ts';
import type { Clock } from '../../core/clock.ts';
import { LeewayError } from '../../core/errors.ts';
import { INSTALLATION } from '../../discover.ts';

const READY = /leeway is ready at (http:\/\/\S+)/;
const STORE_STARTED = /"kind":"store_child_started"[^\n]*process (\d+)/g;
const READY_MS_MAX = 30_000;
const STOP_MS_MAX = 15_000;
/** Kept of what the processes log, for the error of one that does not start. */
const LOG_CHARACTERS_MAX = 100_000;

/** Settings of the user's configuration that change what crashes may do to data; everything else is the default. */
export type InstallationSettings = Pick<Config, 'spool' | 'retention'> & {
  /** Names of the collectors, all of which are switched off. */
  readonly collectors: readonly string[];
};

/**
 * A Leeway of its own in `directory`: `leeway serve` with the embedded bus, store and control store, on loopback and a port
 * of its own. It is there to be killed.
 */
export class Installation implements AsyncDisposable {
  readonly #directory: string;
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  #child: ChildProcess | null = null;
  #log = '';
  #url = '';
  #ready: Promise<void> = Promise.resolve();
  #stalled: (() => void) | null = null;

  private constructor(directory: string, clock: Clock, signal: AbortSignal) {
    this.#directory = directory;
    this.#clock = clock;
    this.#signal = signal;
  }

  /** Writes the configuration; nothing runs before `start`. */
  static async prepare(
    directory: string,
    settings: InstallationSettings,
    { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
  ): Promise<Installation> {
    const collectors = Object.fromEntries(settings.collectors.map((name) => [name, { enabled: false }]));
    const config = { ...settings, collectors, log: { level: 'debug', format: 'json' } };
    await writeFile(join(directory, 'leeway.config.json'), `${JSON.stringify(config, null, 2)}\n`);
    return new Installation(directory, clock, signal);
  }

  /** Where the last start listened. */
  get url(): string {
    return this.#url;
  }

  /** Process of the service; 0 while there is none. */
  get service_pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** Process of the embedded store of this life; 0 before it was started. */
  get store_pid(): number {
    return Number([...this.#log.matchAll(STORE_STARTED)].at(-1)?.[1] ?? 0);
  }

  /** Resolves when the service of the last start listens. Rejects with its last words. */
  get ready(): Promise<void> {
    return this.#ready;
  }

  start(): void {
    // no environment: what is set for the user's service (LEEWAY__…) must not reach this one
    const data_dir = join(this.#directory, 'data'); // absolute, so that a list of processes tells whose they are
    const flags = ['--config', 'leeway.config.json', '--host', '127.0.0.1', '--port', '0', '--data-dir', data_dir];
    const child = spawn(process.execPath, [join(INSTALLATION, 'bin', 'leeway.js'), 'serve', ...flags], {
      cwd: this.#directory,
      env: {},
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true, // Ctrl-C reaches the selftest alone, which ends this one
    });
    this.#child = child;
    this.#log = '';
    this.#ready = this.#readiness(child);
    this.#ready.catch(() => undefined); // a life that is killed while it starts is nobody's failure
  }

  /** SIGKILL; resolves when the process is gone. Its store follows when it notices. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }

  /** SIGKILL of the store's process; false when there was none to kill. */
  killStore(): boolean {
    return signalled(this.store_pid, 'SIGKILL');
  }

  /** Stops a process for `duration_ms` and lets it go on; false when there was none to stop. */
  async stall(pid: number, duration_ms: number): Promise<boolean> {
    if (!signalled(pid, 'SIGSTOP')) return false;
    this.#stalled = () => void signalled(pid, 'SIGCONT');
    await this.#clock.sleep(duration_ms, this.#signal).catch(() => undefined); // aborted: it goes on at once
    this.#stalled();
    this.#stalled = null;
    return true;
  }

  /** SIGTERM, SIGKILL where that takes too long; the exit code, null after a kill. */
  async stop(): Promise<number | null> {
    const child = this.#child;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? null;
    const gone = once(child, 'exit');
    child.kill('SIGTERM');
    const over = new AbortController();
    this.#clock.sleep(STOP_MS_MAX, over.signal).then(
      () => child.kill('SIGKILL'),
      () => undefined, // it ended in time
    );
    await gone;
    over.abort();
    return child.exitCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stalled?.();
    const store_pid = this.store_pid;
    await this.kill();
    signalled(store_pid, 'SIGKILL');
  }

  #readiness(child: ChildProcess): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const over = new AbortController();
    const fail = (why: string): void => {
      const last = this.#log.trim().split('\n').at(-1) ?? '';
      reject(new LeewayError('LW-INTERNAL', `the selftest's own service did not start: ${why}; ${last.slice(0, 500)}`));
    };
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      if (child !== this.#child) return; // of a life before
      this.#log = (this.#log + text).slice(-LOG_CHARACTERS_MAX);
      const url = READY.exec(this.#log)?.[1];
      if (url === undefined || over.signal.aborted) return;
      this.#url = url;
      over.abort();
      resolve();
    });
    child.once('error', (error) => fail(error.message));
    child.once('exit', (code, signal) => fail(`it ended (${code ?? signal ?? 'unknown'})`));
    this.#clock.sleep(READY_MS_MAX, over.signal).then(
      () => fail(`not ready after ${READY_MS_MAX} ms`),
      () => undefined, // it was ready in time
    );
    return promise;
  }
}

function signalled(pid: number, signal: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT'): boolean {
  if (pid <= 0) return false;
  try {
    return process.kill(pid, signal);
  } catch {
    return false; // it has ended already
  }
}
