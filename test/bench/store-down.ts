// A service whose store hangs for minutes while samples go on arriving: memory, spool and answers over time; afterwards
// everything that was acknowledged must be in the store, by count and by sum. Exits with 1 when anything is missing or
// doubled, or when the process grew above its cap.
// Run: npm run bench store-down -- [minutes] [samples a second] [spool GiB]
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { Agent, request } from 'node:http';
import path from 'node:path';
import { systemClock } from '../../src/core/clock.ts';
import { openEmbeddedStore } from '../../src/store/embedded.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { childrenOf, eventually, get, pause, type Service, startService } from '../integration/running-service.ts';
import { cpuSeconds, peakMb, residentMb } from './process-figures.ts';
import { WRITE_HEADERS, WriteBody } from './remote-write-load.ts';

const SERIES = 1_000;
const BODIES = 20;
const CONNECTIONS = 4;
const REPORT_MS = 10_000;
/**
 * The cap of the process: the runtime with the service loaded 150 MB, bodies held 128 MB (sample-intake.ts), samples between
 * decoder and spool 100 MB (LIMITS.sample_rows_max), the cache of series 105 MB (LIMITS.active_series_max).
 */
const RSS_MB_MAX = 480;
const WARM_S = 10;

const minutes = Number(process.argv[2] ?? 10);
const rate = Number(process.argv[3] ?? 100_000);
const spool_bytes = Number(process.argv[4] ?? 1) * 1_073_741_824;

/** What was sent and how it was answered; the sums are of the acknowledged. */
type Tally = {
  acknowledged: number;
  sum: bigint;
  refused: Record<number, number>;
  unanswered: number;
  late_ms: number;
};

function spoolBytes(directory: string): number {
  const spool = path.join(directory, 'leeway-data', 'spool');
  let bytes = 0;
  for (const name of readdirSync(spool, { recursive: true, encoding: 'utf8' })) {
    const stat = statSync(path.join(spool, name), { throwIfNoEntry: false });
    if (stat?.isFile() === true) bytes += stat.size;
  }
  return bytes;
}

async function storeChild(service: Service): Promise<number> {
  for (const pid of await childrenOf(service.pid))
    if (readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('embedded-child')) return pid;
  throw new Error('the service has no store process');
}

/** Sends at `rate` until the signal; each request is one sample of each of 1,000 series, at a time of its own. */
async function load(url: URL, tally: Tally, signal: AbortSignal): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  const bodies = Array.from({ length: BODIES }, (_, index) => new WriteBody(index * SERIES, SERIES));
  const begun_ms = performance.now();
  const begun_at_ms = Date.now();
  let next = 0;
  const lane = async (): Promise<void> => {
    while (!signal.aborted) {
      const number = next++;
      const due_ms = (number * SERIES * 1_000) / rate;
      const wait_ms = due_ms - (performance.now() - begun_ms);
      if (wait_ms > 0) await pause(wait_ms);
      tally.late_ms = Math.max(0, -wait_ms);
      const value = number % 1_000;
      const body = (bodies[number % BODIES] as WriteBody).at(begun_at_ms + Math.floor(due_ms), value); // within the list
      const status = await post(url, agent, Buffer.from(body));
      if (status === 204) {
        tally.acknowledged += SERIES;
        tally.sum += BigInt(SERIES * value);
      } else if (status === 0) tally.unanswered++;
      else tally.refused[status] = (tally.refused[status] ?? 0) + 1;
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, lane));
  agent.destroy();
}

function post(url: URL, agent: Agent, body: Buffer): Promise<number> {
  return new Promise((resolve) => {
    const headers = { ...WRITE_HEADERS, 'content-length': body.length };
    const outgoing = request(url, { method: 'POST', agent, headers });
    outgoing.on('response', (response) => response.resume().on('end', () => resolve(response.statusCode ?? 0)));
    outgoing.on('error', () => resolve(0));
    outgoing.end(body);
  });
}

type Account = { readonly items: readonly { readonly in_flight: number; readonly source: string }[] };

await using directory = await scratchDirectory();
const config = {
  server: { port: 0 },
  collectors: { host: { enabled: false } },
  spool: { bytes_max: spool_bytes },
  log: { level: 'error' },
};
const tally: Tally = { acknowledged: 0, sum: 0n, refused: {}, unanswered: 0, late_ms: 0 };
let peak = 0;
{
  await using service = await startService(directory.path, config);
  const child = await storeChild(service);
  const stop = new AbortController();
  const begun_ms = performance.now();
  const tell = (phase: string): void => {
    const resident_mb = residentMb(service.pid);
    peak = Math.max(peak, peakMb(service.pid));
    console.log(
      JSON.stringify({
        at_s: Math.round((performance.now() - begun_ms) / 1_000),
        phase,
        resident_mb,
        store_mb: residentMb(child),
        spool_mb: Math.round(spoolBytes(directory.path) / 1_048_576),
        acknowledged: tally.acknowledged,
        refused: tally.refused,
        unanswered: tally.unanswered,
        late_ms: Math.round(tally.late_ms),
        cpu_s: cpuSeconds(service.pid),
      }),
    );
  };
  const telling = async (phase: string, for_ms: number): Promise<void> => {
    for (const end_ms = performance.now() + for_ms; performance.now() < end_ms; tell(phase))
      await pause(Math.min(REPORT_MS, Math.max(0, end_ms - performance.now())));
  };
  const loading = load(new URL('/api/v1/write', service.url), tally, stop.signal);
  await telling('store up', WARM_S * 1_000);
  process.kill(child, 'SIGSTOP');
  await telling('store down', minutes * 60_000);
  process.kill(child, 'SIGCONT');
  await telling('store up again', WARM_S * 1_000);
  stop.abort();
  await loading;
  const drained_ms = performance.now();
  await eventually(
    'an empty spool',
    async () => {
      await pause(2_000);
      tell('draining');
      const { items } = await get<Account>(service, '/api/v1/delivery');
      return items.length > 0 && items.every(({ in_flight }) => in_flight === 0);
    },
    3_600_000,
  );
  console.log(JSON.stringify({ drained_s: Math.round((performance.now() - drained_ms) / 1_000) }));
  service.kill('SIGTERM');
  await service.ended;
}
await using store = await openEmbeddedStore({
  data_dir: path.join(directory.path, 'leeway-data'),
  clock: systemClock,
  query_timeout_ms: 600_000,
  query_memory_bytes_max: 8 * 1_073_741_824,
});
const [stored] = await store.query<{ rows: string; total: string; scaled: string }>(
  'SELECT count() AS rows, sum(mant) AS total, countIf(exp != 0) AS scaled FROM leeway.samples FINAL',
  {},
  new AbortController().signal,
);
const isWhole =
  stored !== undefined &&
  Number(stored.scaled) === 0 &&
  Number(stored.rows) === tally.acknowledged &&
  BigInt(stored.total) === tally.sum;
console.log(
  JSON.stringify({
    stored,
    acknowledged: tally.acknowledged,
    sum: tally.sum.toString(),
    isWhole,
    peak_mb: peak,
    cap_mb: RSS_MB_MAX,
  }),
);
if (!isWhole || peak > RSS_MB_MAX || tally.unanswered > 0) process.exitCode = 1;
