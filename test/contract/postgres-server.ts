import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { systemCode } from '../../src/core/errors.ts';

/** Where Debian and its kin put the servers, one folder a version, and where PATH may have one. */
const HOMES = ['/usr/lib/postgresql', '/usr/local/lib/postgresql', '/opt/postgresql'];
const SERVER_READY = /database system is ready to accept connections/;
const LOG_CHARACTERS_MAX = 100_000;

type Binaries = { readonly version: number; readonly folder: string };

/** The newest installed `postgres` and `initdb`, version 0 where only PATH has them, or null. */
function binaries(): Binaries | null {
  const versions = HOMES.filter((home) => existsSync(home)).flatMap((home) =>
    readdirSync(home).map((version) => ({ version: Number.parseInt(version, 10), folder: join(home, version, 'bin') })),
  );
  const inPath = (process.env['PATH'] ?? '').split(':').map((folder) => ({ version: 0, folder }));
  const found = [...versions.sort((a, b) => b.version - a.version), ...inPath].find(
    ({ folder }) => existsSync(join(folder, 'postgres')) && existsSync(join(folder, 'initdb')),
  );
  return found ?? null;
}

/** Why no server can be started here, or null: for the title of what is skipped. */
export const POSTGRES_MISSING: string | null =
  binaries() === null
    ? 'skipped: no PostgreSQL server is installed (Debian: apt-get install postgresql)'
    : process.getuid?.() === 0 && !existsSync('/usr/bin/setpriv')
      ? 'skipped: PostgreSQL does not run as root and there is no setpriv'
      : null;

/** A command and its arguments as somebody whom PostgreSQL accepts: it refuses to run as root. */
function unprivileged(command: string, args: readonly string[]): [string, string[]] {
  if (process.getuid?.() !== 0) return [command, [...args]];
  return ['setpriv', ['--reuid=postgres', '--regid=postgres', '--init-groups', command, ...args]];
}

function endIfAlive(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (systemCode(error) !== 'ESRCH') throw error; // it noticed the death of its parent first
  }
}

/** A real PostgreSQL of its own on a socket in a folder of its own; ended and removed with its scope. */
export class PostgresServer implements AsyncDisposable {
  readonly #folder: string;
  readonly #bin: Binaries;
  readonly #tls_port: number | null;
  #child: ChildProcess | null = null;
  log = '';

  private constructor(folder: string, bin: Binaries, tls_port: number | null) {
    this.#folder = folder;
    this.#bin = bin;
    this.#tls_port = tls_port;
  }

  /**
   * Makes an empty cluster (superuser `leeway` without a password, UTF8, no fsync) and starts it: about 1 s. `tls_port`:
   * listens on this port of the loopback too, with a certificate of its own for `localhost` (`certificate`).
   */
  static async start({ tls_port }: { readonly tls_port?: number } = {}): Promise<PostgresServer> {
    const bin = binaries();
    if (bin === null) throw new Error(POSTGRES_MISSING ?? 'no PostgreSQL');
    const folder = await mkdtemp(join(tmpdir(), 'leeway-pg-'));
    await chmod(folder, 0o777);
    const server = new PostgresServer(folder, bin, tls_port ?? null);
    try {
      await server.#create();
      await server.restart();
      return server;
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #create(): Promise<void> {
    const run = (command: string, args: readonly string[]) =>
      promisify(execFile)(...unprivileged(command, args), { cwd: '/' });
    // a language's order, where the server knows one by itself: nothing may depend on a database being in byte order
    const locale =
      this.#bin.version >= 15 ? ['--locale-provider=icu', '--icu-locale=en-US', '--locale=C'] : ['--no-locale'];
    const cluster = ['-D', join(this.#folder, 'data'), '-U', 'leeway', '-A', 'trust', '-E', 'UTF8', '--no-sync'];
    await run(join(this.#bin.folder, 'initdb'), [...cluster, ...locale]);
    if (this.#tls_port === null) return;
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
    const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
    await run('openssl', ['req', '-x509', ...kind, ...subject, '-keyout', this.#key, '-out', this.certificate]);
    await chmod(this.#key, 0o600);
  }

  /** For openPostgresControl; each test takes a schema of its own. */
  get url(): string {
    return `postgres://leeway@localhost:${this.#tls_port ?? 5432}/postgres?host=${this.#folder}`;
  }

  /** PEM file of the certificate, for `sslrootcert`. */
  get certificate(): string {
    return join(this.#folder, 'certificate.pem');
  }

  get #key(): string {
    return join(this.#folder, 'key.pem');
  }

  /** The socket behind `url`, for a test that puts something between. */
  get socket(): string {
    return join(this.#folder, `.s.PGSQL.${this.#tls_port ?? 5432}`);
  }

  /** Process id of the running server; its death takes all sessions with it. */
  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** Runs SQL as the superuser beside all drivers, with psql; rows as text, columns separated by `|`. */
  async sql(text: string): Promise<string[]> {
    const args = ['-X', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-d', this.url, '-c', text];
    const { stdout } = await promisify(execFile)(join(this.#bin.folder, 'psql'), args);
    return stdout.split('\n').filter((line) => line !== '');
  }

  /** Starts the server, after a kill with recovery; resolves when it takes connections. */
  async restart(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      if (await this.#startOnce()) return;
      if (attempt === 50) throw new Error(`PostgreSQL does not start:\n${this.log}`);
      await new Promise((resolve) => setTimeout(resolve, 100)); // processes of the killed one still hold its memory
    }
  }

  async #startOnce(): Promise<boolean> {
    const settings = [
      ...(this.#tls_port === null
        ? ['listen_addresses=']
        : ['listen_addresses=127.0.0.1', 'ssl=on', `ssl_key_file=${this.#key}`, `ssl_cert_file=${this.certificate}`]),
      `port=${this.#tls_port ?? 5432}`,
      `unix_socket_directories=${this.#folder}`,
      'fsync=off',
      'max_connections=60',
    ];
    const args = ['-D', join(this.#folder, 'data'), ...settings.flatMap((setting) => ['-c', setting])];
    const child = spawn(...unprivileged(join(this.#bin.folder, 'postgres'), args), {
      cwd: '/',
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    });
    this.#child = child;
    const ready = Promise.withResolvers<boolean>();
    this.log = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.log = (this.log + text).slice(-LOG_CHARACTERS_MAX);
      if (SERVER_READY.test(this.log)) ready.resolve(true);
    });
    child.once('exit', () => ready.resolve(false));
    return ready.promise;
  }

  /** SIGKILL to the server and all its sessions: nothing is flushed, nothing is said, nobody finishes a commit. */
  async kill(): Promise<void> {
    const path = `/proc/${this.pid}/task/${this.pid}/children`;
    const children = existsSync(path) ? readFileSync(path, 'utf8').trim().split(' ').map(Number) : [];
    const dead = this.#signal('SIGKILL');
    for (const child of children) if (child > 0) endIfAlive(child);
    await dead;
  }

  /** SIGINT, PostgreSQL's fast shutdown: sessions are ended, transactions rolled back. */
  async stop(): Promise<void> {
    await this.#signal('SIGINT');
  }

  async #signal(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    await exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 10 });
  }
}
