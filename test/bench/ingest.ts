// CPU-seconds a million samples of remote write and OTLP, from the request to rows that can be queried, until merges are idle:
// every process of the receiver counts, the sender does not. Peers run in turn with ours where their binaries are given.
// Run: npm run bench ingest -- [--mode rw1|rw2|otlp|otlp-gzip] [--rounds 200] [--rate 0] [--times 2]
//        [--prometheus FILE] [--victoria-metrics FILE]
// A round is one sample of each of 20,000 series; --rate 0 sends as fast as it is answered.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { pause } from '../integration/leeway-process.ts';
import { type Mode, MODES, SERIES } from './load/bodies.ts';
import { LEEWAY, pathPrefix, prometheus, type Receiver, type Running, victoriaMetrics } from './load/receivers.ts';
import { cpuSeconds, quantile, residentMb } from './process-figures.ts';

const LOOK_MS = 500;
/** Idle: less CPU than this a look, for so many looks. */
const IDLE_CPU_S = 0.03;
const IDLE_LOOKS = 5;
const IDLE_LOOKS_MAX = 120;
/** A look is a query that the receiver pays for: two a second are some hundredths of its CPU. */
const FRESHNESS_LOOK_MS = 500;
const SAMPLES_A_PAGE = 500;

const { values } = parseArgs({
  options: {
    mode: { type: 'string', default: 'rw1' },
    rounds: { type: 'string', default: '200' },
    rate: { type: 'string', default: '0' },
    times: { type: 'string', default: '2' },
    prometheus: { type: 'string' },
    'victoria-metrics': { type: 'string' },
  },
});
const mode = MODES.find((one): one is Mode => one === values.mode);
if (mode === undefined) throw new Error(`--mode ${values.mode} is none of ${MODES.join(', ')}`);
const rate = Number(values.rate);
const receivers: Receiver[] = [
  LEEWAY,
  ...(values['victoria-metrics'] === undefined ? [] : [victoriaMetrics(values['victoria-metrics'])]),
  ...(values.prometheus === undefined ? [] : [prometheus(values.prometheus)]),
].filter((receiver) => receiver.takes(mode));

for (let time = 0; time < Number(values.times); time++)
  for (const receiver of receivers) console.log(JSON.stringify(await measure(receiver)));

async function measure(receiver: Receiver): Promise<object> {
  await using directory = await scratchDirectory();
  await using running = await receiver.start(directory.path);
  const load = await prepared(receiver, running);
  const cpu = (): number => running.pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
  const before_s = cpu();
  const bytes_before = running.bytes();
  const watch = watched(running);
  const sent = await load.send();
  const sent_s = cpu();
  await idle(cpu);
  const { resident_mb_max, ages_ms } = await watch.end();
  const samples = Number(sent['samples']);
  const per_million = (seconds: number): number => Math.round((seconds / samples) * 1e9) / 1e3;
  return {
    receiver: receiver.name,
    mode,
    rate,
    cpu_s_per_million: per_million(cpu() - before_s),
    cpu_s_per_million_until_answered: per_million(sent_s - before_s),
    ...sent,
    held: await running.held(),
    bytes_per_sample: Math.round(((running.bytes() - bytes_before) / samples) * 100) / 100,
    resident_mb: running.pids.map(residentMb),
    resident_mb_max,
    ...(ages_ms.length === 0 ? {} : { age_ms_p50: quantile(ages_ms, 0.5), age_ms_p99: quantile(ages_ms, 0.99) }),
  };
}

type Load = { readonly send: () => Promise<Readonly<Record<string, unknown>>> };

/** A sender with everything made, in a process of its own. */
async function prepared(receiver: Receiver, running: Running): Promise<Load> {
  const script = path.join(import.meta.dirname, 'load', 'send.ts');
  const address = `${running.url}${pathPrefix(receiver, mode ?? 'rw1')}`;
  const argv = [script, address, String(mode), String(values.rounds), String(rate)];
  const child = spawn(process.execPath, argv, { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  if ((await lines.next()).value !== 'made') throw new Error('the sender ended before it had made its requests');
  return {
    send: async () => {
      child.stdin.write('go\n');
      const { value } = await lines.next();
      child.stdin.end();
      await once(child, 'close');
      return JSON.parse(String(value)) as Record<string, unknown>; // our own sender's line
    },
  };
}

async function idle(cpu: () => number): Promise<void> {
  let quiet = 0;
  for (let look = 0, last = cpu(); quiet < IDLE_LOOKS && look < IDLE_LOOKS_MAX; look++) {
    await pause(LOOK_MS);
    const now = cpu();
    quiet = now - last < IDLE_CPU_S ? quiet + 1 : 0;
    last = now;
  }
}

type Watch = { readonly end: () => Promise<{ readonly resident_mb_max: number; readonly ages_ms: number[] }> };

/** Memory of all processes together; where the load is paced, also the age of the newest sample that can be read. */
function watched(running: Running): Watch {
  const stop = new AbortController();
  let resident_mb_max = 0;
  const ages_ms: number[] = [];
  const looking = (async () => {
    let series: string | null = null;
    let until_ms = Infinity;
    while (!stop.signal.aborted) {
      resident_mb_max = Math.max(
        resident_mb_max,
        running.pids.map(residentMb).reduce((sum, mb) => sum + mb, 0),
      );
      await pause(rate > 0 ? FRESHNESS_LOOK_MS : LOOK_MS);
      if (rate === 0 || running.pids.length < 2) continue;
      series ??= await firstSeries(running.url);
      const newest_ms = series === null ? null : await newest(running.url, series);
      if (newest_ms === null) continue;
      // the last samples of a load age for ever
      until_ms = Math.min(until_ms, performance.now() + (Number(values.rounds) * SERIES * 1_000) / rate - 5_000);
      if (performance.now() < until_ms) ages_ms.push(Math.round(Date.now() - newest_ms));
    }
  })();
  return {
    end: async () => {
      stop.abort();
      await looking;
      return { resident_mb_max: Math.round(resident_mb_max), ages_ms };
    },
  };
}

async function firstSeries(url: string): Promise<string | null> {
  const answer = await fetch(`${url}/api/v1/series?limit=1`);
  const { items } = (await answer.json()) as { items: { id: string }[] };
  return items[0]?.id ?? null;
}

async function newest(url: string, series: string): Promise<number | null> {
  const from_ms = Date.now() - Math.min(60_000, (SAMPLES_A_PAGE * SERIES * 900) / rate); // all of them on one page
  const answer = await fetch(`${url}/api/v1/series/${series}/samples?from=${from_ms}&limit=${SAMPLES_A_PAGE}`);
  if (!answer.ok) throw new Error(`samples of ${series}: ${answer.status} ${await answer.text()}`);
  const { items } = (await answer.json()) as { items: { at_ms: number }[] };
  return items.at(-1)?.at_ms ?? null;
}
