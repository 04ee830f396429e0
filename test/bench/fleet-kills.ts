// The fleet over a real Kafka while its processes are killed: gateway, worker, sidecar and broker each get SIGKILL so many
// times at random while samples come; then what was acknowledged is compared with what is stored, and roll-ups with raw
// samples. The last line is the figures as JSON; exits 1 when anything is lost, doubled or wrong. About 10 minutes.
// Run: npm run bench fleet-kills -- --samples 5000000 --kills 10 --seed 1 [--driver platformatic] [--nodes 3]
//      [--gap 30] seconds between two kills of one kind   [--sources 8] [--series 500] [--gateways 2] [--workers 2]
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { POSTGRES_MISSING } from '../contract/postgres-server.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { runFleet } from '../integration/fleet-run.ts';
import { whyNoKafka } from '../integration/kafka-broker.ts';

const missing = whyNoKafka() ?? POSTGRES_MISSING;
if (missing !== null) throw new Error(missing);
const text = (value: string) => ({ type: 'string', default: value }) as const;
const { values } = parseArgs({
  options: {
    samples: text('5000000'),
    kills: text('10'),
    seed: text(String(Date.now() % 1_000_000)),
    driver: text('kafkajs'),
    nodes: text('1'),
    gap: text('30'),
    sources: text('8'),
    series: text('500'),
    gateways: text('2'),
    workers: text('2'),
    partitions: text('6'),
  },
});
const [sources, series, kills] = [Number(values.sources), Number(values.series), Number(values.kills)];
const gap_ms = Number(values.gap) * 1_000;
const samples = Number(values.samples);
const began_ms = performance.now();
const say = (line: string): void =>
  console.error(`${((performance.now() - began_ms) / 1_000).toFixed(1).padStart(7)} ${line}`);

await using directory = await scratchDirectory();
const told = (error: unknown): never => {
  for (let one = error; one !== undefined; one = one instanceof SuppressedError ? one.suppressed : undefined)
    console.error(one);
  process.exit(2);
};
const figures = await runFleet(directory.path, {
  driver: values.driver === 'platformatic' ? 'platformatic' : 'kafkajs',
  nodes: values.nodes === '3' ? 3 : 1,
  gateways: Number(values.gateways),
  workers: Number(values.workers),
  partitions: Number(values.partitions),
  load: { sources, series, ticks: Math.ceil(samples / sources / series), step_ms: 2_000, seed: Number(values.seed) },
  kills,
  gap_ms,
  // the last samples are sent when the last kills fall, about
  rate: samples / ((kills * (gap_ms + 5_000)) / 1_000),
  settle_ms_max: 300_000,
  rollups: { wait_ms_max: 300_000 },
  say,
}).catch(told);
const log = path.join(tmpdir(), `fleet-kills-${values.seed}.log`);
await writeFile(log, figures.log);
const { log: _, ...shown } = figures;
console.log(
  JSON.stringify({ seed: Number(values.seed), driver: values.driver, nodes: Number(values.nodes), ...shown }),
);
if (figures.faults.length > 0) console.error(`what the processes said: ${log}`);
process.exitCode = figures.faults.length === 0 ? 0 : 1;
