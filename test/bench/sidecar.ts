// Memory and CPU of one sidecar at 1 Hz: host, nvidia (a stand-in program with 8 GPUs) and workload (8 ranks) enabled,
// read from /proc/<pid>. Exits with 1 above the budget, which holds from the second start on (NODE_COMPILE_CACHE=DIR): the
// first one also holds what removes the types. Run: npm run bench sidecar -- [seconds] [seconds before]
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { decodeLink } from '../../src/formats/link-batch.ts';
import { writeStandIn } from '../collectors/nvidia-stand-in.ts';

/** The budget of the role: what may run beside a training rank. */
const RSS_MB_MAX = 90;
const CPU_RATIO_MAX = 0.01;
/** Clock ticks a second of /proc/<pid>/stat on Linux. */
const TICKS_PER_S = 100;
const GPUS = 8;
const RANKS = 8;
const WARM_MS = Number(process.argv[3] ?? 10) * 1000;

const seconds = Number(process.argv[2] ?? 60);
const root = path.resolve(import.meta.dirname, '../..');
const directory = await mkdtemp(path.join(tmpdir(), 'leeway-bench-'));
const received = new Map<string, number>();
let requests = 0;
const gateway = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const body = Buffer.concat(chunks);
    const isPacked = request.headers['content-encoding'] === 'zstd';
    const message = decodeLink(isPacked ? zstdDecompressSync(body) : body);
    const frames = message.kind === 'ok' ? message.value.frames : [];
    let accepted = 0;
    for (const { source, records } of frames) {
      const name = source.split('@')[0] ?? '';
      received.set(name, (received.get(name) ?? 0) + records.length);
      accepted += records.length;
    }
    requests++;
    response.setHeader('content-type', 'application/json').end(JSON.stringify({ accepted, rejected: [] }));
  });
});
gateway.listen(0, '127.0.0.1');
await once(gateway, 'listening');
const { port } = gateway.address() as AddressInfo; // a TCP address, since it listens on a port
const standIn = await writeStandIn(directory, { gpus: GPUS });
const config = path.join(directory, 'config.json');
await writeFile(
  config,
  JSON.stringify({
    data_dir: directory,
    gateway: { url: `http://127.0.0.1:${port}` },
    collectors: { nvidia: { command: standIn } },
  }),
);
const started_ms = performance.now();
const child = spawn(
  process.execPath,
  [...process.execArgv, 'bin/leeway.js', 'serve', '--role', 'sidecar', '--config', config],
  {
    cwd: root,
    stdio: ['ignore', 'inherit', 'pipe'],
  },
);
process.once('exit', () => child.kill('SIGKILL'));
await new Promise<void>((resolve) => {
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    process.stderr.write(text);
    if (text.includes('leeway is ready')) resolve();
  });
});
const start_ms = performance.now() - started_ms;
const pid = child.pid ?? 0;
const ranks = connect(path.join(directory, 'workload.sock'));
await once(ranks, 'connect');
let step = 0;
const beating = setInterval(() => {
  step++;
  for (let rank = 0; rank < RANKS; rank++)
    ranks.write(
      `${JSON.stringify({ type: 'step', job: 'bench', rank, step, at_ms: Date.now(), duration_ms: 1000, compute_ms: 700, data_ms: 20, phase: 'train', loss: 2.5 })}\n`,
    );
}, 1000);

function cpuSeconds(): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S;
}

function memoryMb(field: string): number {
  const match = new RegExp(`${field}:\\s+(\\d+)`).exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(match?.[1] ?? 0) / 1024;
}

await new Promise((resolve) => setTimeout(resolve, WARM_MS));
const startup_cpu_s = cpuSeconds();
const from_ms = performance.now();
let rss_max = 0;
for (let second = 0; second < seconds; second++) {
  await new Promise((resolve) => setTimeout(resolve, 1000));
  rss_max = Math.max(rss_max, memoryMb('VmRSS'));
}
const cpu_ratio = (cpuSeconds() - startup_cpu_s) / ((performance.now() - from_ms) / 1000);
const result = {
  seconds,
  rss_mb_max: Math.round(rss_max),
  rss_mb_peak_since_start: Math.round(memoryMb('VmHWM')),
  anonymous_mb: Math.round(memoryMb('RssAnon')),
  cpu_ratio: Math.round(cpu_ratio * 1e5) / 1e5,
  start_ms: Math.round(start_ms),
  startup_cpu_s,
  requests,
  received: Object.fromEntries(received),
};
clearInterval(beating);
ranks.destroy();
const stopping_ms = performance.now();
child.kill('SIGTERM');
await once(child, 'exit');
process.stdout.write(
  `${JSON.stringify({ ...result, stop_ms: Math.round(performance.now() - stopping_ms) }, null, 2)}\n`,
);
gateway.closeAllConnections();
gateway.close();
await rm(directory, { recursive: true, force: true });
if (result.rss_mb_max > RSS_MB_MAX || cpu_ratio > CPU_RATIO_MAX) process.exitCode = 1;
