// Ingest latency beside 5,000 slow and silent connections: a third says nothing, a third trickles headers, a third
// trickles a body. Phases without and with them alternate. Exits with 1 when the p99 with them is more than twice the p99
// without, or when the service grew above its cap. Run: npm run bench slow-sockets -- [seconds a phase] [pairs]
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setPriority } from 'node:os';
import { Agent, request } from 'node:http';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { pause, startService } from '../integration/running-service.ts';
import { cpuSeconds, peakMb, quantile, residentMb, resetPeak } from './process-figures.ts';
import { WRITE_HEADERS, WriteBody } from './remote-write-load.ts';

const SOCKETS = 5_000;
const TRICKLE_MS = 5_000;
const SETTLE_MS = 4_000;
const SERIES = 1_000;
const REQUESTS_PER_S = 50;
const RATIO_MAX = 2;
/** The cap of the process while it ingests (store-down.ts), and about 17 KiB a connection. */
const RSS_MB_MAX = 565;

/** What one slow client says, and what it adds every TRICKLE_MS. */
const KINDS = [
  { head: '', more: '' },
  { head: 'POST /api/v1/write HTTP/1.1\r\nhost: localhost\r\n', more: 'x-slow: 1\r\n' },
  {
    head: 'POST /v1/metrics HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 99999\r\n\r\n{',
    more: ' ',
  },
] as const;

/** The process of the slow clients, which must not take the service's share of the machine: holds SOCKETS connections, opening again what the service closes. */
function hold(port: number): void {
  setPriority(10);
  const sockets: Socket[] = [];
  let closed = 0;
  const open = (index: number): void => {
    const socket = connect(port, '127.0.0.1');
    sockets[index] = socket;
    const { head } = KINDS[index % KINDS.length] ?? KINDS[0];
    socket.on('connect', () => socket.write(head));
    socket.on('error', () => undefined); // 'close' follows
    socket.on('data', () => undefined);
    socket.on('close', () => {
      closed++;
      setTimeout(() => open(index), 100);
    });
  };
  let opened = 0;
  const opening = setInterval(() => {
    for (let batch = 0; batch < 100 && opened < SOCKETS; batch++) open(opened++);
    if (opened === SOCKETS) {
      clearInterval(opening);
      process.send?.('open');
    }
  }, 20);
  let turn = 0;
  const slices = 20;
  setInterval(() => {
    turn = (turn + 1) % slices;
    for (let index = turn; index < sockets.length; index += slices) {
      const socket = sockets[index];
      const { more } = KINDS[index % KINDS.length] ?? KINDS[0];
      if (socket?.writable === true && more !== '') socket.write(more);
    }
  }, TRICKLE_MS / slices);
  process.on('message', () => process.send?.({ open: sockets.filter((socket) => socket.writable).length, closed }));
}

type Phase = { readonly latencies: readonly number[]; readonly bad: number };

/** Sends at a steady rate for `seconds`; a latency counts from when the request was due. */
async function ingest(url: URL, agent: Agent, seconds: number): Promise<Phase> {
  const bodies = Array.from({ length: 20 }, (_, index) => new WriteBody(index * SERIES, SERIES));
  const latencies: number[] = [];
  let bad = 0;
  const begun_ms = performance.now();
  const waiting: Promise<void>[] = [];
  for (let sent = 0; sent < seconds * REQUESTS_PER_S; sent++) {
    const due_ms = begun_ms + (sent * 1_000) / REQUESTS_PER_S;
    if (due_ms > performance.now()) await pause(due_ms - performance.now());
    const body = Buffer.from((bodies[sent % bodies.length] as WriteBody).at(Date.now(), sent)); // within the list
    waiting.push(
      new Promise((resolve) => {
        const done = (status: number): void => {
          latencies.push(performance.now() - due_ms);
          if (status !== 204) bad++;
          resolve();
        };
        const outgoing = request(url, {
          method: 'POST',
          agent,
          headers: { ...WRITE_HEADERS, 'content-length': body.length },
        });
        outgoing.on('response', (response) => response.resume().on('end', () => done(response.statusCode ?? 0)));
        outgoing.on('error', () => done(0));
        outgoing.end(body);
      }),
    );
  }
  await Promise.all(waiting);
  return { latencies, bad };
}

async function measure(seconds: number, pairs: number): Promise<void> {
  await using directory = await scratchDirectory();
  const config = { server: { port: 0 }, collectors: { host: { enabled: false } } };
  await using service = await startService(directory.path, config);
  const url = new URL('/api/v1/write', service.url);
  const agent = new Agent({ keepAlive: true, maxSockets: 8 });
  await ingest(url, agent, 5); // warm
  /** The p99 of each phase: their medians are compared, so that what else happens on the machine in one phase does not count. */
  const tails: { without: number[]; with: number[] } = { without: [], with: [] };
  const before_mb = residentMb(service.pid);
  resetPeak(service.pid);
  let bad = 0;
  for (let pair = 0; pair < pairs; pair++) {
    for (const kind of ['without', 'with'] as const) {
      const slow = kind === 'with' ? fork(import.meta.filename, ['hold', url.port]) : null;
      if (slow !== null) await once(slow, 'message');
      await pause(SETTLE_MS); // opening them is not what is measured
      const cpu_s = cpuSeconds(service.pid);
      const phase = await ingest(url, agent, seconds);
      bad += phase.bad;
      tails[kind].push(quantile(phase.latencies, 0.99));
      slow?.send('how many');
      const [held] = slow === null ? [{ open: 0, closed: 0 }] : ((await once(slow, 'message')) as [object]);
      console.log(
        JSON.stringify({
          phase: kind,
          requests: phase.latencies.length,
          bad: phase.bad,
          p50_ms: Math.round(quantile(phase.latencies, 0.5) * 10) / 10,
          p99_ms: Math.round(quantile(phase.latencies, 0.99) * 10) / 10,
          cpu_ratio: Math.round(((cpuSeconds(service.pid) - cpu_s) / seconds) * 100) / 100,
          resident_mb: residentMb(service.pid),
          sockets: held,
        }),
      );
      slow?.kill('SIGKILL');
    }
  }
  const p99 = { without: quantile(tails.without, 0.5), with: quantile(tails.with, 0.5) };
  const peak_mb = peakMb(service.pid);
  const isGood = p99.with <= RATIO_MAX * p99.without && peak_mb <= RSS_MB_MAX && bad === 0;
  console.log(JSON.stringify({ p99_ms: p99, ratio: p99.with / p99.without, before_mb, peak_mb, bad, isGood }));
  if (!isGood) process.exitCode = 1;
  agent.destroy();
}

if (process.argv[2] === 'hold') hold(Number(process.argv[3]));
else await measure(Number(process.argv[2] ?? 10), Number(process.argv[3] ?? 7));
