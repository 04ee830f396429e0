// One source sends more series than its cap to a real service: what another source notices, and what is told of it.
// Run: npm run bench series-explosion -- [series]
import { readFileSync } from 'node:fs';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { type TestSeries, writeRequest } from '../formats/remote-write-messages.ts';
import { compressSnappy } from '../formats/snappy-writer.ts';
import { get, type Service, startService } from '../integration/running-service.ts';

const SERIES = Number(process.argv[2] ?? 700_000);
const PER_BODY = 5_000;
const STEADY = 800;
const PACE_MS = 50;

type Source = { readonly source: string; readonly accepted: number; readonly detail: string | null };

function body(metric: string, from: number, count: number, at_ms: number): Uint8Array {
  const series = Array.from(
    { length: count },
    (_, index): TestSeries => ({
      labels: [
        ['__name__', metric],
        ['instance', `node-${(from + index) % 125}.cluster.local:9400`],
        ['request_id', `r-${from + index}`],
      ],
      samples: [[at_ms, index]],
    }),
  );
  return compressSnappy(writeRequest(...series));
}

async function send(service: Service, source: string, packed: Uint8Array): Promise<number> {
  const headers = { 'content-type': 'application/x-protobuf', 'content-encoding': 'snappy', 'x-leeway-source': source };
  const answer = await fetch(`${service.url}/api/v1/write`, { method: 'POST', headers, body: packed });
  await answer.arrayBuffer();
  return answer.status;
}

function residentMb(pid: number): number {
  const match = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Math.round(Number(match?.[1] ?? 0) / 1_024);
}

/** Milliseconds of requests of a source that goes on as ever, until `until` resolves. */
async function steady(service: Service, until: Promise<unknown>): Promise<string> {
  const taken: number[] = [];
  const statuses = new Map<number, number>();
  let isOver = false;
  void until.then(() => {
    isOver = true;
  });
  while (!isOver) {
    const packed = body('steady', 0, STEADY, Date.now());
    const started_ms = performance.now();
    const status = await send(service, 'good', packed);
    taken.push(performance.now() - started_ms);
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
    await new Promise((resolve) => setTimeout(resolve, PACE_MS));
  }
  const sorted = taken.toSorted((a, b) => a - b);
  const at = (share: number): string => (sorted[Math.floor(sorted.length * share)] ?? 0).toFixed(1);
  const answers = [...statuses].map(([status, count]) => `${count} × ${status}`).join(', ');
  return `${taken.length} requests (${answers}), p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, worst ${at(0.9999)} ms`;
}

await using directory = await scratchDirectory();
await using service = await startService(directory.path, {
  server: { port: 0 },
  collectors: { host: { enabled: false } },
});
const say = (text: string): void => void process.stdout.write(`${text}\n`);
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
say(`before     ${await steady(service, pause(10_000))}, ${residentMb(service.pid)} MB`);

async function explode(): Promise<string> {
  const started_ms = performance.now();
  const statuses = new Map<number, number>();
  for (let from = 0; from < SERIES; from += PER_BODY) {
    const packed = body('http_requests_total', from, Math.min(PER_BODY, SERIES - from), Date.now());
    for (let attempt = 0; attempt < 100; attempt++) {
      const status = await send(service, 'bad', packed);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
      if (status === 204) break;
      await pause(200);
    }
  }
  const answers = [...statuses].map(([status, count]) => `${count} × ${status}`).join(', ');
  return `${SERIES} series in ${((performance.now() - started_ms) / 1_000).toFixed(1)} s (${answers})`;
}

const exploding = explode();
say(`meanwhile  ${await steady(service, exploding)}, ${residentMb(service.pid)} MB`);
say(`the source ${await exploding}`);
say(`after      ${await steady(service, pause(10_000))}, ${residentMb(service.pid)} MB`);
const { items } = await get<{ items: readonly Source[] }>(service, '/api/v1/sources');
for (const { source, accepted, detail } of items)
  say(`${source}: accepted ${accepted}; ${detail ?? 'nothing to tell'}`);
