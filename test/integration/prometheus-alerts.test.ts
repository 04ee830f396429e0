import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { freePort } from './leeway-process.ts';
import { eventually, get, startService } from './running-service.ts';

const PROGRAM = 'prometheus';
const found = spawnSync(PROGRAM, ['--version'], { encoding: 'utf8' });
const version = /version (\S+)/.exec(`${found.stdout}${found.stderr}`)?.[1] ?? null;
const named = version === null ? 'SKIPPED: no prometheus on the PATH' : `Prometheus ${version}`;

type Item = {
  id: string;
  kind: string;
  severity: string;
  status: string;
  title: string;
  resolved_at_ms: number | null;
};

/** An exporter of one gauge by node; what it says is set by the test. */
async function exporter(): Promise<{ url: string; faults: Map<string, number> } & AsyncDisposable> {
  const faults = new Map<string, number>();
  const server = createServer((_request, response) => {
    const lines = [...faults].map(([node, value]) => `planted_fault{node="${node}"} ${value}\n`);
    response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' }).end(lines.join(''));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo; // a TCP server's address is never a text
  const close = async (): Promise<void> => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return { url: `127.0.0.1:${port}`, faults, [Symbol.asyncDispose]: close };
}

/** Prometheus with one rule on that gauge, evaluated every second, which sends what fires to Leeway. */
async function startPrometheus(directory: string, target: string, leeway: string): Promise<ChildProcess> {
  const folder = join(directory, 'prometheus');
  await mkdir(folder);
  await writeFile(
    join(folder, 'rules.yml'),
    `groups:
  - name: planted
    rules:
      - alert: PlantedFault
        expr: planted_fault > 0
        labels: { severity: critical }
        annotations: { summary: "{{ $labels.node }} has a planted fault" }
`,
  );
  await writeFile(
    join(folder, 'prometheus.yml'),
    `global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: [rules.yml]
scrape_configs:
  - { job_name: planted, static_configs: [{ targets: ["${target}"] }] }
alerting:
  alertmanagers:
    - { scheme: http, api_version: v2, static_configs: [{ targets: ["${new URL(leeway).host}"] }] }
`,
  );
  const flags = [
    `--config.file=${join(folder, 'prometheus.yml')}`,
    `--storage.tsdb.path=${join(folder, 'data')}`,
    `--web.listen-address=127.0.0.1:${await freePort()}`,
    '--rules.alert.resend-delay=1s',
  ];
  return spawn(PROGRAM, flags, { cwd: folder, stdio: 'ignore' });
}

test.skipIf(version === null)(
  `a rule of Prometheus that fires opens an incident, resolves it when it stops, and when Prometheus dies (${named})`,
  async () => {
    await using scratch = await scratchDirectory();
    await using faults = await exporter();
    await using service = await startService(scratch.path, {
      server: { port: 0 },
      collectors: { host: { enabled: false }, nvidia: { enabled: false } },
    });
    const prometheus = await startPrometheus(scratch.path, faults.url, service.url);
    try {
      const incident = (node: string, holds: (item: Item) => boolean) =>
        eventually(
          `the incident of ${node}`,
          async () => {
            const { items } = await get<{ items: Item[] }>(service, '/api/v1/incidents?kind=external');
            return items.find((item) => item.title.startsWith(`${node} `) && holds(item));
          },
          60_000,
        );
      faults.faults.set('a', 1).set('b', 1);
      const open = await incident('a', ({ status }) => status === 'open');
      expect(open).toMatchObject({ severity: 'page', title: 'a has a planted fault' });
      await incident('b', ({ status }) => status === 'open');
      faults.faults.set('a', 0);
      expect(await incident('a', ({ status }) => status === 'resolved')).toMatchObject({ id: open.id });
      const { items } = await get<{ items: Item[] }>(service, '/api/v1/incidents?kind=external');
      expect(items.map(({ status }) => status).sort()).toEqual(['open', 'resolved']);
      prometheus.kill('SIGKILL');
      const died_ms = Date.now();
      const over = await incident('b', ({ status }) => status === 'resolved');
      // it had said that the alert holds for 4 evaluations of 1 s; the last one is at most a second old
      expect((over.resolved_at_ms ?? 0) - died_ms).toBeGreaterThan(1000);
      expect((over.resolved_at_ms ?? 0) - died_ms).toBeLessThan(8000);
    } finally {
      prometheus.kill('SIGKILL');
      if (prometheus.exitCode === null && prometheus.signalCode === null) await once(prometheus, 'exit');
    }
  },
);
