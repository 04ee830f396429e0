import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { LeewayError } from '../src/core/errors.ts';

/** The service under demonstration: a process of its own, started as a user would. */
export type ServiceProcess = {
  readonly url: string;
  /** GET of the API, parsed JSON. Throws LW-UNREACHABLE with the status where it is not 200. */
  readonly get: <Answer>(path: string) => Promise<Answer>;
  readonly post: (path: string, body: unknown) => Promise<void>;
  /** SIGTERM and its exit code; SIGKILL after 12 s. */
  readonly stop: () => Promise<number | null>;
};

const READY = /leeway is ready at (http:\/\/\S+)/;
const READY_MS_MAX = 30_000;
const STOP_MS_MAX = 12_000;

/** Starts `leeway serve` on a configuration file; its log goes to `log_path`. Rejects with its last lines when it fails. */
export async function startService(config_path: string, cwd: string, log_path: string): Promise<ServiceProcess> {
  const launcher = fileURLToPath(new URL('../bin/leeway.js', import.meta.url));
  const child = spawn(process.execPath, [launcher, 'serve', '--config', config_path], {
    cwd,
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true, // its own process group: Ctrl-C reaches the conductor alone, which stops everything in order
  });
  const url = await readyUrl(child, log_path);
  return {
    url,
    get: async <Answer>(path: string): Promise<Answer> => {
      const answer = await fetch(url + path);
      if (!answer.ok) throw new LeewayError('LW-UNREACHABLE', `GET ${path} answered ${answer.status}`);
      return (await answer.json()) as Answer; // the parse door: Leeway's own API
    },
    post: async (path, body) => {
      const headers = { 'content-type': 'application/json' };
      const answer = await fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body) });
      if (!answer.ok)
        throw new LeewayError('LW-UNREACHABLE', `POST ${path} answered ${answer.status}: ${await answer.text()}`);
    },
    stop: () => stop(child),
  };
}

function readyUrl(child: ChildProcess, log_path: string): Promise<string> {
  const log = createWriteStream(log_path);
  let text = '';
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => fail(`not ready after ${READY_MS_MAX} ms`), READY_MS_MAX);
    const fail = (why: string): void => {
      clearTimeout(late);
      child.kill('SIGKILL');
      reject(
        new LeewayError(
          'LW-INTERNAL',
          `the service did not start: ${why}; ${text.trim().split('\n').at(-1) ?? ''} (log: ${log_path})`,
        ),
      );
    };
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      log.write(chunk);
      text = (text + chunk).slice(-10_000);
      const found = READY.exec(text)?.[1];
      if (found === undefined) return;
      clearTimeout(late);
      resolve(found);
    });
    child.once('error', (error) => fail(error.message));
    child.once('exit', (code, signal) => fail(`exit ${code ?? signal}`));
  });
}

async function stop(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  child.kill('SIGTERM');
  const late = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX);
  const code = await ended;
  clearTimeout(late);
  return code;
}
