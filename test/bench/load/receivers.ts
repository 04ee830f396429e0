import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { childrenOf, startService } from '../../integration/running-service.ts';
import { freePort } from '../../integration/leeway-process.ts';
import type { Mode } from './bodies.ts';

/** A receiver that runs on a fresh directory. */
export type Running = AsyncDisposable & {
  readonly url: string;
  /** Every process whose CPU and memory are its own. */
  readonly pids: readonly number[];
  /** Samples that it says it holds; null where it is not asked. */
  readonly held: () => Promise<number | null>;
  /** Bytes on disk that hold samples. */
  readonly bytes: () => number;
};

export type Receiver = {
  readonly name: string;
  readonly takes: (mode: Mode) => boolean;
  readonly start: (directory: string) => Promise<Running>;
};

/** The service with its embedded store. Samples are synced to disk before they are acknowledged. */
export const LEEWAY: Receiver = {
  name: 'leeway',
  takes: () => true,
  start: async (directory) => {
    const config = { server: { port: 0 }, collectors: { host: { enabled: false } }, log: { level: 'error' } };
    const service = await startService(directory, config);
    return {
      url: service.url,
      pids: [service.pid, ...(await childrenOf(service.pid))],
      held: async () => {
        const answer = await fetch(`${service.url}/api/v1/delivery?limit=500`);
        const { items } = (await answer.json()) as { items: { source: string; stored: number; in_flight: number }[] };
        const own = items.filter(({ source }) => source === 'remote-write' || source === 'otlp');
        if (own.some(({ in_flight }) => in_flight > 0)) return null;
        return own.reduce((sum, { stored }) => sum + stored, 0);
      },
      bytes: () => directoryBytes(path.join(directory, 'leeway-data', 'store')),
      [Symbol.asyncDispose]: () => service[Symbol.asyncDispose](),
    };
  },
};

/** Prometheus 3 with its receivers for remote write and OTLP. It does not sync before it answers. */
export function prometheus(binary: string): Receiver {
  return {
    name: 'prometheus',
    takes: () => true,
    start: async (directory) => {
      const config = path.join(directory, 'prometheus.yml');
      writeFileSync(config, 'global: {scrape_interval: 1h}\nstorage: {tsdb: {out_of_order_time_window: 1h}}\n');
      const address = `127.0.0.1:${await freePort()}`;
      const data = path.join(directory, 'data');
      const flags = ['--web.enable-remote-write-receiver', '--web.enable-otlp-receiver', '--log.level=error'];
      const places = [`--config.file=${config}`, `--storage.tsdb.path=${data}`, `--web.listen-address=${address}`];
      return running(spawn(binary, [...places, ...flags], { stdio: 'ignore' }), `http://${address}`, '/-/ready', data);
    },
  };
}

/** VictoriaMetrics; it answers remote write 2.0 with 204 and stores nothing, so it is left out there. */
export function victoriaMetrics(binary: string): Receiver {
  return {
    name: 'victoria-metrics',
    takes: (mode) => mode !== 'rw2',
    start: async (directory) => {
      const address = `127.0.0.1:${await freePort()}`;
      const flags = [`-storageDataPath=${directory}`, `-httpListenAddr=${address}`, '-loggerLevel=ERROR'];
      return running(spawn(binary, flags, { stdio: 'ignore' }), `http://${address}`, '/health', directory);
    },
  };
}

async function running(child: ChildProcess, url: string, ready: string, data: string): Promise<Running> {
  for (let attempt = 0; ; attempt++) {
    const answer = await fetch(`${url}${ready}`).catch(() => null);
    if (answer?.ok === true) break;
    if (attempt > 100 || child.exitCode !== null) throw new Error(`${child.spawnfile} did not start`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return {
    url,
    pids: [child.pid ?? 0],
    held: async () => null,
    bytes: () => directoryBytes(data),
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    },
  };
}

/** Where the peer takes the mode's requests; ours takes OTLP at the standard's own path. */
export function pathPrefix(receiver: Receiver, mode: Mode): string {
  if (!mode.startsWith('otlp')) return '';
  if (receiver.name === 'prometheus') return '/api/v1/otlp';
  return receiver.name === 'victoria-metrics' ? '/opentelemetry' : '';
}

function directoryBytes(directory: string): number {
  let bytes = 0;
  for (const name of readdirSync(directory, { recursive: true, encoding: 'utf8' })) {
    const stat = statSync(path.join(directory, name), { throwIfNoEntry: false });
    if (stat?.isFile() === true) bytes += stat.size;
  }
  return bytes;
}
