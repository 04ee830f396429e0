// Bytes and time of a sample on the link from a collector to a gateway: 8 GPUs x 22 values a second, seeded, in messages of 1,
// 5, 10 and 60 s. Everything is counted: names, node, GPU, times, identity, compression; not the HTTP head. Exits with 1 above
// the budget. Run: npm run bench link-codec -- [seed]
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { decodeLink, encodeLink } from '../../src/formats/link-batch.ts';
import { GPUS, NodeCorpus, VALUES } from '../transport/link-corpus.ts';

const SECONDS = 600;
const BUDGET = new Map([
  [1, 3.2],
  [5, 2.2],
]);
const PARAMETERS = { params: { [constants.ZSTD_c_compressionLevel]: 3 } };

type Timed = { bytes: number; ns: number };

function timed(total: Timed, work: () => Buffer): Buffer {
  const from = process.cpuUsage();
  const bytes = work();
  const used = process.cpuUsage(from);
  total.ns += (used.user + used.system) * 1000;
  total.bytes += bytes.length;
  return bytes;
}

const seed = Number(process.argv[2] ?? 1);
process.stdout.write(`seed ${seed}, ${SECONDS} s of ${GPUS} GPUs x ${VALUES} values\n`);
for (const ticks of [1, 5, 10, 60]) {
  const rows: Record<string, Timed> = {};
  for (let round = 0; round < 3; round++) {
    const corpus = new NodeCorpus(seed);
    for (const name of ['link', 'link_zstd', 'ndjson', 'ndjson_zstd', 'unzstd', 'decode'])
      rows[name] = { bytes: 0, ns: 0 };
    const run = (name: string, work: () => Buffer): Buffer => timed(rows[name] ?? { bytes: 0, ns: 0 }, work);
    for (let second = 0; second < SECONDS; second += ticks) {
      const frames = corpus.frames(ticks);
      const plain = run('link', () => encodeLink({ frames, gaps: [] }));
      const packed = run('link_zstd', () => zstdCompressSync(plain, PARAMETERS));
      const text = run('ndjson', () =>
        Buffer.from(frames.flatMap(({ records }) => records.map((record) => `${JSON.stringify(record)}\n`)).join('')),
      );
      run('ndjson_zstd', () => zstdCompressSync(text, PARAMETERS));
      run('unzstd', () => zstdDecompressSync(packed));
      run('decode', () => {
        if (decodeLink(plain).kind !== 'ok') throw new Error('it does not decode');
        return plain;
      });
    }
  }
  const samples = SECONDS * GPUS * VALUES;
  const of = (name: string, what: keyof Timed): number => (rows[name]?.[what] ?? 0) / samples;
  const bytes = of('link_zstd', 'bytes');
  process.stdout.write(
    `${String(ticks).padStart(2)} ticks: ${bytes.toFixed(2)} B/sample (not compressed ${of('link', 'bytes').toFixed(2)}; ` +
      `NDJSON ${of('ndjson', 'bytes').toFixed(1)}, with zstd ${of('ndjson_zstd', 'bytes').toFixed(2)}); ns/sample: ` +
      `encode ${of('link', 'ns').toFixed(0)} + zstd ${of('link_zstd', 'ns').toFixed(0)}, ` +
      `unzstd ${of('unzstd', 'ns').toFixed(0)} + decode ${of('decode', 'ns').toFixed(0)}\n`,
  );
  if (bytes > (BUDGET.get(ticks) ?? Infinity)) process.exitCode = 1;
}
