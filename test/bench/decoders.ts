// CPU nanoseconds a sample of the open-ingest decoders, warm, on bodies like a GPU fleet's: 125 nodes × 8 ranks × 20 metrics.
// Run: npm run bench decoders -- [rounds]
import { ok, type Outcome } from '../../src/core/outcome.ts';
import { integerBelow, seededRandom } from '../../src/core/random.ts';
import { LIMITS } from '../../src/core/limits.ts';
import { CatalogMapper } from '../../src/formats/catalog-mapper.ts';
import { checkClock } from '../../src/formats/clock-check.ts';
import type { DecodedSamples, SampleTarget } from '../../src/formats/decoded-samples.ts';
import { DCGM_RULES } from '../../src/formats/dcgm-fields.ts';
import { decodeOtlpMetrics } from '../../src/formats/otlp-metrics.ts';
import { decodeRemoteWrite } from '../../src/formats/remote-write.ts';
import { decodeRemoteWrite2 } from '../../src/formats/remote-write-2.ts';
import { SnappyBlock } from '../../src/formats/snappy-block.ts';
import { numberPoint, otlpRequest } from '../formats/otlp-messages.ts';
import { request2, type TestSeries, writeRequest } from '../formats/remote-write-messages.ts';
import { freshTarget } from '../formats/sample-rows.ts';
import { compressSnappy } from '../formats/snappy-writer.ts';

const ROUNDS = Number(process.argv[2] ?? 15);
const NODES = 125;
const RANKS = 8;
const METRICS = 20;
const PER_BODY = 800;
const AT = 1_763_596_800_000;
const random = seededRandom(7);

const NAMES = Array.from({ length: METRICS }, (_, metric) => `hw_gpu_metric_${metric}`);
/** The same fleet with names that become `gpu` records: ten with a field of their own, ten without. */
const DCGM_NAMES = [...DCGM_RULES.keys()].slice(0, METRICS);

/** The series of the fleet, one sample each at tick `tick`, in bodies of 800. */
function bodiesOf(tick: number, names: readonly string[] = NAMES): TestSeries[][] {
  const series: TestSeries[] = [];
  for (let node = 0; node < NODES; node++)
    for (let rank = 0; rank < RANKS; rank++)
      for (let metric = 0; metric < METRICS; metric++)
        series.push({
          labels: [
            ['__name__', names[metric] ?? ''],
            ['cluster', 'training-eu-1'],
            ['gpu', String(rank)],
            ['instance', `node-${node}.cluster.local:9400`],
            ['job', 'dcgm-exporter'],
            ['rank', String(node * RANKS + rank)],
          ],
          samples: [[AT + tick * 1_000, valueOf(metric)]],
        });
  return Array.from({ length: Math.ceil(series.length / PER_BODY) }, (_, body) =>
    series.slice(body * PER_BODY, (body + 1) * PER_BODY),
  );
}

/** A third integers, a third with one to three decimals, a third without a short decimal. */
function valueOf(metric: number): number {
  if (metric % 3 === 0) return integerBelow(random, 100_000);
  return metric % 3 === 1 ? integerBelow(random, 900_000) / 1_000 : random.next() * 10;
}

/** The same as OTLP: a resource a node, a metric with a data point a rank. */
function otlpOf(body: readonly TestSeries[]): Uint8Array {
  const nodes = Map.groupBy(body, ({ labels }) => labels[3]?.[1] ?? '');
  return otlpRequest(
    [...nodes].map(([instance, series]) => ({
      resource: { 'service.name': 'dcgm-exporter', 'service.instance.id': instance, cluster: 'training-eu-1' },
      metrics: [...Map.groupBy(series, ({ labels }) => labels[0]?.[1] ?? '')].map(([name, points]) => ({
        name,
        gauge: points.map(({ labels, samples }) =>
          numberPoint({
            attributes: { gpu: labels[2]?.[1] ?? '', rank: labels[5]?.[1] ?? '' },
            at_ms: samples?.[0]?.[0] ?? 0,
            value: Number(samples?.[0]?.[1] ?? 0),
          }),
        ),
      })),
    })),
  );
}

type Case = { readonly name: string; readonly bodies: readonly Uint8Array[]; readonly decode: Decode };
type Decode = (body: Uint8Array, target: SampleTarget) => Outcome<DecodedSamples>;

/**
 * CPU time of this thread, so that what else runs on the machine does not count; its garbage collection does. Where the
 * kernel counts in ticks of 10 ms, the sum of the stages is right over a round and their split is not.
 */
function cpu_ms(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}

type Stages = { readonly unpack: number; readonly decode: number; readonly take: number; readonly map: number };

type Sender = { readonly target: SampleTarget; readonly mapper: CatalogMapper };

/** Nanoseconds a sample of each stage, all bodies once. */
function round({ bodies, decode }: Case, { target, mapper }: Sender, unpack: SnappyBlock | null): Stages {
  let unpack_ms = 0;
  let decode_ms = 0;
  let take_ms = 0;
  let map_ms = 0;
  let rows = 0;
  for (const body of bodies) {
    const begin = cpu_ms();
    const unpacked = unpack === null ? ok(body) : unpack.decompress(body);
    const middle = cpu_ms();
    const outcome = decode(unpacked.kind === 'ok' ? unpacked.value : body, target);
    const end = cpu_ms();
    if (outcome.kind !== 'ok') throw new Error(outcome.reason);
    rows += outcome.value.samples_count;
    const samples = target.columns.take();
    const taken = cpu_ms();
    const checked = checkClock(outcome.value, samples, AT);
    mapper.learn(target.book.drainNew());
    mapper.take(checked.samples, checked.decoded.histograms);
    map_ms += cpu_ms() - taken;
    unpack_ms += middle - begin;
    decode_ms += end - middle;
    take_ms += taken - end;
  }
  const ns = (ms: number): number => (ms * 1e6) / rows;
  return { unpack: ns(unpack_ms), decode: ns(decode_ms), take: ns(take_ms), map: ns(map_ms) };
}

/** The first round (all series new) and, of the others, the best and the median: caches shared with others only add. */
function measure(of: Case, unpack: SnappyBlock | null): void {
  const sender = { target: freshTarget(), mapper: new CatalogMapper('bench') };
  const [cold, ...warm] = Array.from({ length: ROUNDS }, () => round(of, sender, unpack));
  const total = ({ unpack, decode }: Stages): number => unpack + decode;
  const sorted = warm.toSorted((a, b) => total(a) - total(b));
  const line = (name: string, stages: Stages | undefined): string => {
    const [first, second, third, map] = [stages?.unpack, stages?.decode, stages?.take, stages?.map].map((ns) =>
      (ns ?? 0).toFixed(1),
    );
    const both = ((stages?.unpack ?? 0) + (stages?.decode ?? 0)).toFixed(0);
    return `  ${name.padEnd(6)} ${both} ns a sample (unpack ${first}, decode ${second}), take ${third}, map ${map}\n`;
  };
  process.stdout.write(
    `${of.name}\n${line('cold', cold)}${line('median', sorted[sorted.length >> 1])}${line('best', sorted[0])}`,
  );
}

const TICKS = 10;
const ticks = Array.from({ length: TICKS }, (_, tick) => bodiesOf(tick)).flat();
const snappy = new SnappyBlock(LIMITS.body_bytes_max);
measure(
  {
    name: 'remote write 1.0',
    bodies: ticks.map((one) => compressSnappy(writeRequest(...one))),
    decode: decodeRemoteWrite,
  },
  snappy,
);
measure(
  {
    name: 'remote write 2.0',
    bodies: ticks.map((one) => compressSnappy(request2(...one))),
    decode: decodeRemoteWrite2,
  },
  snappy,
);
measure({ name: 'OTLP', bodies: ticks.map(otlpOf), decode: decodeOtlpMetrics }, null);
const mapped = Array.from({ length: TICKS }, (_, tick) => bodiesOf(tick, DCGM_NAMES)).flat();
measure(
  {
    name: 'remote write 1.0, all of it dcgm-exporter',
    bodies: mapped.map((one) => compressSnappy(writeRequest(...one))),
    decode: decodeRemoteWrite,
  },
  snappy,
);
