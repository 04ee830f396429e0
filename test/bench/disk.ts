// Bytes on disk a sample: the samples of the embedded store beside SigNoz's samples_v4 and the OpenTelemetry ClickHouse
// exporter's gauges, on one corpus, values and times bit for bit the same. Run: npm run bench disk
// [--hours 6] [--gpus 32] [--seed 1] [--times jittered,aligned] [--segment-ticks 60] [--peers no] [--codecs yes] [--metrics yes]
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { systemClock } from '../../src/core/clock.ts';
import { EmbeddedEngine } from '../../src/store/embedded-engine.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { SentSums } from './disk/checksum.ts';
import { type Chunk, corpusChunks, corpusSeries, type Series } from './disk/corpus.ts';
import { BESIDE, type Loaded, loadLeeway, SAMPLES_TABLE, SUMS } from './disk/leeway.ts';
import { checkSums, type ColumnBytes, columnBytes, optimize, tableBytes } from './disk/measure.ts';
import { chunkBlock, createPeers, insertChunk, PEERS } from './disk/peers.ts';
import { codecBytes, metricBytes } from './disk/variants.ts';

const DAY_MS = 86_400_000;
const JITTER_MS = { jittered: 5, aligned: 0 } as const;
type Times = keyof typeof JITTER_MS;

const { values: options } = parseArgs({
  options: {
    hours: { type: 'string', default: '6' },
    gpus: { type: 'string', default: '32' },
    seed: { type: 'string', default: '1' },
    times: { type: 'string', default: 'jittered,aligned' },
    'segment-ticks': { type: 'string', default: '60' },
    peers: { type: 'string', default: 'yes' },
    codecs: { type: 'string', default: 'no' },
    metrics: { type: 'string', default: 'no' },
  },
});
const hours = Number(options.hours);
const gpus = Number(options.gpus);
const seed = Number(options.seed);
const segment_ticks = Number(options['segment-ticks']);
const times = options.times.split(',').filter((one): one is Times => one in JITTER_MS);

/** One day holds the corpus, and it is yesterday: a table's time to live drops what is older. */
const start_ms = Math.floor(systemClock.now_ms() / DAY_MS) * DAY_MS - DAY_MS;

type Measured = {
  readonly layout: string;
  readonly bytes: number;
  readonly columns: readonly ColumnBytes[];
  readonly beside: readonly { readonly table: string; readonly bytes: number }[];
};
type Corpus = { readonly series: readonly Series[]; readonly chunks: () => Generator<Chunk> };

function startEngine(data_dir: string): Promise<EmbeddedEngine> {
  const limits = { query_timeout_ms: 600_000, query_memory_bytes_max: 2e9 };
  return EmbeddedEngine.start({ data_dir, clock: systemClock, ...limits, onEvent: () => undefined });
}

async function measureLeeway({ series, chunks }: Corpus): Promise<Measured & { loaded: Loaded; sums: SentSums }> {
  await using directory = await scratchDirectory();
  const sums = new SentSums(series.length);
  const loaded = await loadLeeway({ data_dir: directory.path, series, start_ms, segment_ticks }, noted(chunks(), sums));
  await using engine = await startEngine(directory.path);
  return engine.write(async (session) => {
    for (const table of [SAMPLES_TABLE, ...BESIDE]) await optimize(session, table);
    await checkSums(session, SUMS, { series, sums, layout: 'Leeway' });
    const beside: { table: string; bytes: number }[] = [];
    for (const table of BESIDE) beside.push({ table, bytes: await tableBytes(session, table) });
    const measured = {
      bytes: await tableBytes(session, SAMPLES_TABLE),
      columns: await columnBytes(session, SAMPLES_TABLE),
    };
    if (options.metrics === 'yes')
      table(
        'Leeway, a metric by itself',
        (await metricBytes(session)).map((one) => [one.metric, one.bytes_per_sample]),
      );
    if (options.codecs === 'yes')
      table(
        'Leeway, a column under other codecs',
        (await codecBytes(session)).map((one) => [`${one.column} CODEC(${one.codec}`, one.bytes / loaded.samples]),
      );
    return { layout: 'Leeway samples', ...measured, beside, loaded, sums };
  });
}

function* noted(chunks: Iterable<Chunk>, sums: SentSums): Generator<Chunk> {
  for (const chunk of chunks) {
    sums.add(chunk);
    yield chunk;
  }
}

async function measurePeers({ series, chunks }: Corpus, sums: SentSums): Promise<Measured[]> {
  await using directory = await scratchDirectory();
  await using engine = await startEngine(directory.path);
  const file = path.join(directory.path, 'chunk.native');
  return engine.write(async (session) => {
    await createPeers(session, series);
    for (const chunk of chunks()) {
      await writeFile(file, chunkBlock(chunk));
      await insertChunk(session, file);
    }
    const found: Measured[] = [];
    for (const { name, samples, beside: names, series: fill, sums: sql } of PEERS) {
      for (const statement of fill) await session.command(statement);
      for (const one of [samples, ...names]) await optimize(session, one);
      await checkSums(session, sql, { series, sums, layout: name });
      const beside: { table: string; bytes: number }[] = [];
      for (const one of names) beside.push({ table: one, bytes: await tableBytes(session, one) });
      const columns = await columnBytes(session, samples);
      found.push({ layout: name, bytes: await tableBytes(session, samples), columns, beside });
    }
    return found;
  });
}

function table(title: string, rows: readonly (readonly [name: string, bytes: number, ratio?: number])[]): void {
  console.log(`\n${title}`);
  const width = Math.max(...rows.map(([name]) => name.length));
  for (const [name, bytes, ratio] of rows)
    console.log(
      `  ${name.padEnd(width)} ${bytes.toFixed(3).padStart(8)}${ratio === undefined ? '' : `  ${ratio.toFixed(2).padStart(6)}`}`,
    );
}

function report(kind: Times, measured: readonly Measured[], samples: number): void {
  const own = measured[0]?.bytes ?? 1;
  const all = measured.flatMap(({ layout, bytes, columns }): [string, number, number][] => {
    const separate = PEERS.find(({ name }) => name === layout)?.separate;
    const without = columns.find(({ column }) => column === separate)?.bytes;
    const rows: [string, number, number][] = [[layout, bytes / samples, bytes / own]];
    if (separate !== undefined && without !== undefined)
      rows.push([`${layout}, without ${separate}`, (bytes - without) / samples, (bytes - without) / own]);
    return rows;
  });
  table(`${kind}: bytes a sample, and times Leeway's`, all);
  for (const { layout, columns, beside } of measured) {
    const parts = columns.filter(({ bytes }) => bytes / samples >= 0.0005);
    table(
      `${kind}: ${layout}, its columns`,
      parts.map(({ column, bytes }) => [column, bytes / samples]),
    );
    if (beside.length > 0)
      table(
        `${kind}: ${layout}, tables beside it, bytes for each sample`,
        beside.map((one) => [one.table, one.bytes / samples]),
      );
  }
}

const series = corpusSeries(gpus);
const expected = series.length * Math.round(hours * 3_600);
console.log(
  `${gpus} GPUs × ${series.length / gpus} metrics × ${hours} h at 1 s: ${expected} samples, seed ${seed}; after OPTIMIZE FINAL`,
);
for (const kind of times) {
  const started_ms = systemClock.elapsed_ms();
  const chunks = (): Generator<Chunk> =>
    corpusChunks(series, { gpus, hours, seed, start_ms, jitter_ms: JITTER_MS[kind] });
  const { loaded, sums, ...own } = await measureLeeway({ series, chunks });
  if (loaded.samples !== expected) throw new Error(`${loaded.samples} samples were taken of ${expected}`);
  const own_ms = systemClock.elapsed_ms() - started_ms;
  const peers = options.peers === 'yes' ? await measurePeers({ series, chunks }, sums) : [];
  const took_ms = systemClock.elapsed_ms() - started_ms;
  report(kind, [own, ...peers], expected);
  console.log(
    `\n${kind}: every sample read back bit for bit; ${Math.round(took_ms / 1_000)} s, of them Leeway ${Math.round(own_ms / 1_000)} s; ` +
      `${loaded.inserts} inserts, ${((loaded.child_cpu_s / expected) * 1e6).toFixed(3)} CPU-seconds of the store a million samples`,
  );
}
