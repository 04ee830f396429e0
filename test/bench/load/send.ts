// Makes all requests of a load, says "made" and waits for a line; then sends them over kept connections and prints one JSON line.
// Run by ingest.ts: node test/bench/load/send.ts <url> <mode> <rounds> <samples a second, 0 = as fast as answered>
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { systemClock } from '../../../src/core/clock.ts';
import { seededRandom } from '../../../src/core/random.ts';
import { quantile } from '../process-figures.ts';
import { encodingOf, type Mode, MODES, RequestMaker, SERIES, SERIES_A_REQUEST } from './bodies.ts';

const CONNECTIONS = 2;
const GROUPS = SERIES / SERIES_A_REQUEST;
const STEP_MS = 1_000;
const forever = new AbortController().signal;

const [base = '', name = '', rounds_text = '', rate_text = '0'] = process.argv.slice(2);
const mode = MODES.find((one): one is Mode => one === name);
if (mode === undefined) throw new Error(`mode ${name} is none of ${MODES.join(', ')}`);
const rounds = Number(rounds_text);
const rate = Number(rate_text);
const { path, headers } = encodingOf(mode);
const target = new URL(`${base}${path}`);

const makers = Array.from({ length: GROUPS }, (_, group) => new RequestMaker(mode, group));
const random = seededRandom(1);
/** Paced samples are of the moment when they are due; others end now, a second apart. */
const step_ms = rate > 0 ? (SERIES * 1_000) / rate : STEP_MS;
const first_ms = Date.now() - (rate > 0 ? 0 : rounds * STEP_MS);
const bodies: Uint8Array[] = [];
let raw_bytes = 0;
let wire_bytes = 0;
function makeRound(round: number, from_ms: number): void {
  for (const maker of makers) {
    const made = maker.make(from_ms + Math.floor(round * step_ms), random);
    raw_bytes += made.raw_bytes;
    wire_bytes += made.packed.length;
    bodies.push(made.packed);
  }
}
if (rate === 0) for (let round = 0; round < rounds; round++) makeRound(round, first_ms);
console.log('made');
await once(process.stdin, 'data');

const agents = Array.from({ length: CONNECTIONS }, () => new Agent({ keepAlive: true, maxSockets: 1 }));
const answers: Record<string, number> = {};
const latencies: number[] = [];
const begun_ms = performance.now();
const begun_at_ms = Date.now();

/** Every series stays on its connection: the groups are dealt out once. */
async function lane(number: number, agent: Agent): Promise<void> {
  for (let index = 0; index < rounds * GROUPS; index++) {
    if ((index % GROUPS) % CONNECTIONS !== number) continue;
    if (rate > 0) {
      const due_ms = begun_ms + (index * SERIES_A_REQUEST * 1_000) / rate;
      const wait_ms = due_ms - performance.now();
      if (wait_ms > 0) await systemClock.sleep(wait_ms, forever);
    }
    const sent_ms = performance.now();
    const status = await post(agent, bodyOf(index));
    latencies.push(performance.now() - sent_ms);
    answers[status] = (answers[status] ?? 0) + 1;
  }
}

function bodyOf(index: number): Uint8Array {
  if (rate > 0) {
    const at_ms = begun_at_ms + Math.floor((index * SERIES_A_REQUEST * 1_000) / rate);
    return (makers[index % GROUPS] as RequestMaker).make(at_ms, random).packed; // within the list
  }
  return bodies[index] as Uint8Array; // made above
}

function post(agent: Agent, body: Uint8Array): Promise<number> {
  return new Promise((resolve) => {
    const outgoing = request(target, { method: 'POST', agent, headers: { ...headers, 'content-length': body.length } });
    outgoing.on('response', (response) => response.resume().on('end', () => resolve(response.statusCode ?? 0)));
    outgoing.on('error', () => resolve(0));
    outgoing.end(body);
  });
}

await Promise.all(agents.map((agent, number) => lane(number, agent)));
const duration_ms = performance.now() - begun_ms;
for (const agent of agents) agent.destroy();
const samples = rounds * SERIES;
const per_sample = (bytes: number): number => Math.round((bytes / samples) * 10) / 10;
const rounded = (ms: number): number => Math.round(ms * 10) / 10;
console.log(
  JSON.stringify({
    samples,
    answers,
    samples_per_s: Math.round(samples / (duration_ms / 1_000)),
    seconds: Math.round(duration_ms / 100) / 10,
    p50_ms: rounded(quantile(latencies, 0.5)),
    p99_ms: rounded(quantile(latencies, 0.99)),
    ...(rate === 0 ? { wire_bytes: per_sample(wire_bytes), raw_bytes: per_sample(raw_bytes) } : {}),
  }),
);
