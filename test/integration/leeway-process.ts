import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';

/** The command as users call it. */
export const LAUNCHER = fileURLToPath(new URL('../../bin/leeway.js', import.meta.url));

const READY = /leeway is ready at (http:\/\/\S+)/;
const LOG_CHARACTERS_MAX = 200_000;

/** How a process ended: its exit code, or the signal that killed it. */
export type Exit = { readonly code: number | null; readonly signal: string | null };

/** A real `leeway` process, killed when its scope ends before it did. */
export class LeewayProcess implements AsyncDisposable {
  readonly #child: ChildProcess;
  /** Address of the ready line; rejects with the output when the process ends without one. */
  readonly ready: Promise<string>;
  /** Resolves when the process has ended and all its output was read. */
  readonly exited: Promise<Exit>;
  out = '';
  err = '';

  constructor(argv: readonly string[], cwd: string) {
    this.#child = spawn(process.execPath, [LAUNCHER, ...argv], { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
    const ready = Promise.withResolvers<string>();
    this.ready = ready.promise;
    this.ready.catch(() => undefined); // a start that is meant to fail is judged by its exit
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.out = (this.out + text).slice(-LOG_CHARACTERS_MAX);
    });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.err = (this.err + text).slice(-LOG_CHARACTERS_MAX);
      const url = READY.exec(this.err)?.[1];
      if (url !== undefined) ready.resolve(url);
    });
    this.exited = once(this.#child, 'close').then(([code, signal]: (Exit['code'] & Exit['signal'])[]) => {
      ready.reject(new Error(`ended (${String(code ?? signal)}) before it was ready:\n${this.err}`));
      return { code: code ?? null, signal: signal ?? null };
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Sends the signal and waits for the end. */
  async end(signal: 'SIGTERM' | 'SIGINT' | 'SIGKILL'): Promise<Exit> {
    this.#child.kill(signal);
    return this.exited;
  }

  /** SIGKILL; resolves with the death of this process alone, while its children may live on and hold its output. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const died = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await died;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) await this.end('SIGKILL');
  }
}

/** Runs a command that ends by itself. */
export async function runLeeway(argv: readonly string[], cwd: string): Promise<Exit & { out: string; err: string }> {
  await using leeway = new LeewayProcess(argv, cwd);
  const exit = await leeway.exited;
  return { ...exit, out: leeway.out, err: leeway.err };
}

/** Ids of the living processes whose command line mentions `text`, other than this one. Needs /proc. */
export function processesWith(text: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid && commandLine(name).includes(text))
    .map(Number);
}

/** Ids of all living processes that descend from `pid`. Needs /proc. */
export function descendantsOf(pid: number): number[] {
  const children = Map.groupBy(
    readdirSync('/proc').filter((name) => /^\d+$/.test(name)),
    parentOf,
  );
  const found = [pid];
  for (let next = 0; next < found.length; next++) found.push(...(children.get(found[next] ?? 0) ?? []).map(Number));
  return found.slice(1);
}

function parentOf(pid: string): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return 0; // it ended while we looked
  }
}

/** Empty for a process that is gone, a zombie included. */
function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return ''; // it ended while we looked
  }
}

/** Waits until none of the processes lives; returns how long that took. Throws after `limit_ms`. */
export async function untilGone(pids: readonly number[], limit_ms: number): Promise<number> {
  const began_ms = performance.now();
  for (;;) {
    const waited_ms = performance.now() - began_ms;
    const left = pids.filter((pid) => commandLine(String(pid)) !== '');
    if (left.length === 0) return waited_ms;
    if (waited_ms > limit_ms) throw new Error(`still there after ${limit_ms} ms: ${left.join(', ')}`);
    await pause(10);
  }
}

/** Asks until `holds`; throws with what was last seen after `limit_ms`. */
export async function until<Seen>(
  look: () => Promise<Seen>,
  holds: (seen: Seen) => boolean,
  limit_ms: number,
): Promise<Seen> {
  const end_ms = performance.now() + limit_ms;
  for (;;) {
    const seen = await look();
    if (holds(seen)) return seen;
    if (performance.now() > end_ms) throw new Error(`not so within ${limit_ms} ms: ${JSON.stringify(seen)}`);
    await pause(100);
  }
}

/** A real wait: these tests are about processes that run in their own time. */
export function pause(duration_ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, duration_ms));
}

/** A port of 127.0.0.1 that nobody holds now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // a TCP server's address is never a text
  server.close();
  await once(server, 'close');
  return port;
}

/** All items of a list of the API. */
export async function listAll<Item>(url: string, path: string): Promise<Item[]> {
  const items: Item[] = [];
  for (let cursor: string | null = ''; cursor !== null; ) {
    const query = `limit=500${cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`}`;
    const page: { items: Item[]; next_cursor: string | null } = await getJson(
      `${url}${path}${path.includes('?') ? '&' : '?'}${query}`,
    );
    items.push(...page.items);
    cursor = page.next_cursor;
  }
  return items;
}

/** GET of a JSON document; throws with the body unless the answer is 200. */
export async function getJson<Answer>(url: string): Promise<Answer> {
  const answer = await fetch(url);
  if (answer.status !== 200) throw new Error(`GET ${url} answered ${answer.status}: ${await answer.text()}`);
  return (await answer.json()) as Answer; // the parse door: Leeway's own API
}

/** POST of a JSON document. */
export function postJson(url: string, body: unknown): Promise<Response> {
  return fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
}
