import { type ChildProcess, spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import type { LeewayRecord } from '../../src/core/records.ts';

const LAUNCHER = path.join(import.meta.dirname, '../../bin/leeway.js');

export type Ended = { readonly code: number | null; readonly err: string };

/** A process of `leeway serve`; everything else is asked over HTTP. */
export type Service = AsyncDisposable & {
  readonly url: string;
  readonly pid: number;
  readonly ended: Promise<Ended>;
  readonly kill: (signal: NodeJS.Signals) => void;
};

function launch(
  config_file: string,
  flags: readonly string[],
): { child: ChildProcess; err: () => string; ended: Promise<Ended> } {
  const child = spawn(process.execPath, [LAUNCHER, 'serve', '--config', config_file, ...flags], {
    cwd: path.dirname(config_file),
    env: { PATH: process.env['PATH'] },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let text = '';
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  const ended = new Promise<Ended>((resolve) => child.once('close', (code) => resolve({ code, err: text })));
  return { child, err: () => text, ended };
}

/** Writes the configuration as a file of `directory` and starts the service; resolves when it says that it is ready. */
export async function startService(directory: string, config: object, flags: readonly string[] = []): Promise<Service> {
  const { child, err, ended } = launch(await configFile(directory, config), flags);
  const url = await new Promise<string>((resolve, reject) => {
    child.stderr?.on('data', () => {
      const ready = /leeway is ready at (\S+)/.exec(err());
      if (ready?.[1] !== undefined) resolve(ready[1]);
    });
    void ended.then(({ code, err: said }) => reject(new Error(`the service ended with ${code}: ${said}`)));
  });
  const kill = (signal: NodeJS.Signals): void => void child.kill(signal);
  return {
    url,
    pid: child.pid ?? 0,
    ended,
    kill,
    [Symbol.asyncDispose]: async () => {
      kill('SIGKILL');
      await ended;
    },
  };
}

/** Runs `leeway serve` where it is expected to refuse. */
export async function refusedService(directory: string, config: object, flags: readonly string[] = []): Promise<Ended> {
  return launch(await configFile(directory, config), flags).ended;
}

async function configFile(directory: string, config: object): Promise<string> {
  const file = path.join(directory, 'leeway.config.json');
  await writeFile(file, JSON.stringify(config));
  return file;
}

export type Received = { readonly path: string; readonly headers: IncomingHttpHeaders; readonly body: string };

/** What a retraining pipeline and an alert sink would be: keeps what it is told and answers 204. */
export type Receiver = AsyncDisposable & { readonly url: string; readonly requests: Received[] };

export async function startReceiver(): Promise<Receiver> {
  const requests: Received[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (chunk: string) => {
      body += chunk;
    });
    request.on('end', () => {
      requests.push({ path: request.url ?? '', headers: request.headers, body });
      response.writeHead(204).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** The JSON of a GET; throws for another status than 200. */
export async function get<Body>(service: Service, address: string): Promise<Body> {
  const response = await fetch(service.url + address);
  const text = await response.text();
  if (response.status !== 200) throw new Error(`GET ${address}: ${response.status} ${text}`);
  return JSON.parse(text) as Body; // what the caller says it is; shapes are checked by schema where they matter
}

export async function post(
  service: Service,
  address: string,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<{ status: number; body: unknown }> {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const answer = await fetch(service.url + address, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: text,
  });
  return { status: answer.status, body: JSON.parse(await answer.text()) as unknown };
}

export async function postRecords(service: Service, records: readonly LeewayRecord[]): Promise<void> {
  const body = records.map((record) => JSON.stringify(record)).join('\n');
  const answer = await post(service, '/v1/events', body, { 'content-type': 'application/x-ndjson' });
  if (answer.status !== 200) throw new Error(`events: ${answer.status} ${JSON.stringify(answer.body)}`);
}

/** Asks again ten times a second until there is an answer; fails with the last one after `within_ms`. */
export async function eventually<Result>(
  what: string,
  ask: () => Promise<Result | null | undefined | false>,
  within_ms = 15_000,
): Promise<Result> {
  const end_ms = Date.now() + within_ms;
  for (;;) {
    const result = await ask();
    if (result !== null && result !== undefined && result !== false) return result;
    if (Date.now() > end_ms) throw new Error(`${what}: not within ${within_ms} ms`);
    await pause(100);
  }
}

/** Lets real time pass, where time itself is what is waited for. */
export function pause(duration_ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, duration_ms));
}

/** Children of a process (Linux). */
export async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  return text.trim().split(' ').filter(Boolean).map(Number);
}

/** State letter of a process (Linux); empty when it is gone, Z when it is dead and not yet collected. */
export async function stateOf(pid: number): Promise<string> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3);
}
