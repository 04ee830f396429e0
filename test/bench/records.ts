// CPU-seconds per million step records, from records in memory to rows on disk, in this process and the store's child.
// Run: npm run bench records -- [records] [records a batch]
import { readFileSync } from 'node:fs';
import { systemClock } from '../../src/core/clock.ts';
import { openEmbeddedStore } from '../../src/store/embedded.ts';
import { openSpool } from '../../src/transport/spool.ts';
import { ingest } from '../../src/pipeline/ingest.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { stepRecord } from '../contract/records.ts';

/** Clock ticks a second of /proc/<pid>/stat on Linux. */
const TICKS_PER_S = 100;
const SENDERS = 4;
const RANKS = 64;

const total = Number(process.argv[2] ?? 1_000_000);
const batch = Number(process.argv[3] ?? 1_000);
const signal = new AbortController().signal;

function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S;
}

function residentMb(pid: number): number {
  const match = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Math.round(Number(match?.[1] ?? 0) / 1024);
}

await using directory = await scratchDirectory();
let child = 0;
const opening_ms = performance.now();
await using store = await openEmbeddedStore({
  data_dir: directory.path,
  clock: systemClock,
  onEvent: ({ reason }) => {
    child = Number(/process (\d+)/.exec(reason)?.[1] ?? 0);
  },
});
const opened_ms = performance.now() - opening_ms;
await using bus = await openSpool({
  data_dir: directory.path,
  bytes_max: 8e9,
  fsync: true,
  clock: systemClock,
  known: { sequences: [], lineage_max: 0n },
});

const before = { own: cpuSeconds(process.pid), child: cpuSeconds(child), ms: performance.now() };
const stop = new AbortController();
let stored = 0;
let inserts = 0;
const running = ingest(
  {
    bus,
    store,
    clock: systemClock,
    onEvent: (event) => {
      if (event.outcome.kind !== 'ok') throw new Error(event.outcome.reason);
      stored += event.rows;
      inserts++;
      if (stored >= total) stop.abort();
    },
  },
  stop.signal,
);
let made = 0;
const latencies: number[] = [];
async function send(source: string): Promise<void> {
  for (let sequence = 1; made < total; sequence++) {
    const from = made;
    made += batch;
    const records = Array.from({ length: Math.min(batch, total - from) }, (_, index) =>
      stepRecord(Math.floor((from + index) / RANKS), (from + index) % RANKS),
    );
    const started_ms = performance.now();
    await bus.publish({ source, epoch: 1, sequence, records }, signal);
    latencies.push(performance.now() - started_ms);
  }
}
await Promise.all(Array.from({ length: SENDERS }, (_, index) => send(`sender-${index}`)));
const published_ms = performance.now() - before.ms;
await running;
const wall_ms = performance.now() - before.ms;
const own = cpuSeconds(process.pid) - before.own;
const inChild = cpuSeconds(child) - before.child;
latencies.sort((a, b) => a - b);
const account_ms: number[] = [];
for (let time = 0; time < 5; time++) {
  const started_ms = performance.now();
  const rows = (await store.account(signal)).reduce((sum, account) => sum + account.stored, 0);
  if (rows !== total) throw new Error(`${rows} rows stored of ${total}`);
  account_ms.push(performance.now() - started_ms);
}
console.log(
  JSON.stringify({
    records: total,
    batch,
    cpu_s_per_million: {
      total: ((own + inChild) / total) * 1e6,
      own: (own / total) * 1e6,
      child: (inChild / total) * 1e6,
    },
    records_per_s: Math.round((total / wall_ms) * 1000),
    published_ms: Math.round(published_ms),
    wall_ms: Math.round(wall_ms),
    inserts,
    publish_ms_p50: latencies[latencies.length >> 1],
    publish_ms_p99: latencies[Math.floor(latencies.length * 0.99)],
    account_ms: account_ms.map(Math.round),
    open_ms: Math.round(opened_ms),
    resident_mb: { own: residentMb(process.pid), child: residentMb(child) },
  }),
);
