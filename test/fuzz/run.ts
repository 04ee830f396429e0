// Fuzzes the decoders, one after another, each on a thread of its own that is ended when an input takes 20 s.
// Inputs that failed are kept in the system's temporary folder. Use: node test/fuzz/run.ts [--seconds 60] [--seed 1] [decoder…]; exits with 1 on any crash, hang or growth.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import type { FuzzReport } from './fuzz.ts';
import { decoderNames } from './load.ts';
import type { FuzzWork } from './worker.ts';

const STUCK_MS = 20_000;
const SHARED_BYTES = 131_072;

// growth is measured after collections, and the flag for them is only safe from the start
if (globalThis.gc === undefined) {
  const again = spawnSync(process.execPath, ['--expose-gc', ...process.argv.slice(1)], { stdio: 'inherit' });
  process.exit(again.status ?? 1);
}

const { values, positionals } = parseArgs({
  options: { seconds: { type: 'string', default: '60' }, seed: { type: 'string' } },
  allowPositionals: true,
});
const known = decoderNames();
const unknown = positionals.filter((name) => !known.includes(name));
if (unknown.length > 0) throw new Error(`no decoder ${unknown.join(', ')}; there are ${known.join(', ')}`);

/** Keeps an input for a regression test; returns its path. */
function kept(name: string, base64: string): string {
  const directory = join(tmpdir(), 'leeway-fuzz');
  mkdirSync(directory, { recursive: true });
  const file = join(directory, `${name}.bin`);
  writeFileSync(file, Buffer.from(base64, 'base64'));
  return file;
}

/** The report, or the input that the decoder never came back from. */
function fuzzed(decoder: string, seed: number): Promise<FuzzReport | { readonly stuck: string }> {
  const shared = new SharedArrayBuffer(SHARED_BYTES);
  const heads = new Int32Array(shared, 0, 2);
  const work: FuzzWork = { decoder, seed, seconds: Number(values.seconds), shared };
  const worker = new Worker(new URL('worker.ts', import.meta.url), { workerData: work });
  return new Promise((resolve, reject) => {
    let before = -1;
    const watch = setInterval(() => {
      const begun = heads[0] ?? 0;
      if (begun === before && begun > 0) {
        resolve({ stuck: Buffer.from(new Uint8Array(shared, 8, heads[1])).toString('base64') });
        void worker.terminate();
      }
      before = begun;
    }, STUCK_MS);
    worker.once('message', (report: FuzzReport) => resolve(report));
    worker.once('error', reject);
    worker.once('exit', () => clearInterval(watch));
  });
}

for (const decoder of positionals.length > 0 ? positionals : known) {
  const seed = values.seed === undefined ? Date.now() % 1_000_000 : Number(values.seed);
  const report = await fuzzed(decoder, seed);
  if ('stuck' in report) {
    process.exitCode = 1;
    console.log(JSON.stringify({ decoder, seed, stuck_ms: STUCK_MS, input: kept(`${decoder}-stuck`, report.stuck) }));
    continue;
  }
  const { failures, ...figures } = report;
  if (failures.length > 0) process.exitCode = 1;
  console.log(JSON.stringify({ decoder, seed, ...figures, failures: failures.length }));
  for (const { input, ...failure } of failures)
    console.log(JSON.stringify({ ...failure, input: kept(`${decoder}-${seed}-${failure.round}`, input) }));
}
