import { gzipSync, zstdCompressSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import {
  attributes,
  jsonExponentialPoint,
  jsonHistogramPoint,
  jsonNumberPoint,
  jsonSummaryPoint,
} from '../formats/otlp-json-writer.ts';
import { exponentialPoint, histogramPoint, numberPoint, otlpRequest, summaryPoint } from '../formats/otlp-messages.ts';
import { eventually, get, type Service, startService } from './running-service.ts';

// A request built as the protocol's own example of metrics (opentelemetry-proto, examples/metrics.json): a resource, a scope
// with attributes, metrics with unit and description; with every kind and temporality, and one bad point of each.

const at_ms = Math.floor(Date.now() / 1_000) * 1_000 - 30_000;
const SCOPE = { name: 'trainer.metrics', version: '1.4.0', attributes: { 'build.id': 'a1' } };
const value = { attributes: { gpu: 'gpu-3' }, at_ms };
const noValue = { attributes: { gpu: 'gpu-4' }, at_ms };
/** 1970: implausible, so refused. */
const long_ago = { attributes: { gpu: 'gpu-4' }, at_ms: 86_400_000 };

const HISTOGRAM = { ...value, count: 6n, sum: 4.5, counts: [1n, 2n, 3n], bounds: [0.5, 1], min: 0.25, max: 1.5 };
const EXPONENTIAL = {
  ...value,
  count: 6n,
  sum: 10,
  scale: 0,
  zero_count: 1n,
  positive: { offset: 1, counts: [0n, 2n] },
  negative: { offset: -1, counts: [3n] },
};
const SUMMARY = {
  ...value,
  count: 9n,
  sum: 12.5,
  quantiles: [
    [0.5, 1],
    [0.99, 2.5],
  ] as const,
}; // prettier-ignore

const NUMBERS = [
  { name: 'trainer.queue', kind: 'gauge', points: [{ ...value, value: 10 }] },
  {
    name: 'trainer.steps',
    kind: 'counter',
    temporality: 2,
    monotonic: true,
    points: [{ ...value, value: 9_007_199_254_740_993n }],
  },
  { name: 'trainer.new', kind: 'counter_delta', temporality: 1, monotonic: true, points: [{ ...value, value: 5 }] },
  { name: 'trainer.open', kind: 'gauge', temporality: 2, monotonic: false, points: [{ ...value, value: 3n }] },
  {
    name: 'trainer.change',
    kind: 'up_down_delta',
    temporality: 1,
    monotonic: false,
    points: [{ ...value, value: -2.5 }],
  },
] as const;
const HISTOGRAMS = [
  ['trainer.wait', 2, 'histogram'],
  ['trainer.wait.delta', 1, 'histogram_delta'],
] as const;
const EXPONENTIALS = [
  ['trainer.size', 2, 'histogram'],
  ['trainer.size.delta', 1, 'histogram_delta'],
] as const;
const words = (name: string) => ({ name, unit: '1', description: `about ${name}` });
/** One point without a value a number metric, one of 1970 a histogram and the summary; the sum without a temporality. */
const REFUSED = NUMBERS.length + HISTOGRAMS.length + EXPONENTIALS.length + 1 + 1;

function protobuf(service: string): Uint8Array {
  const resource = { 'service.name': service };
  const metrics = [
    ...NUMBERS.map((metric) => {
      const points = [...metric.points, noValue].map(numberPoint);
      if (!('temporality' in metric)) return { ...words(metric.name), gauge: points };
      return { ...words(metric.name), sum: { points, temporality: metric.temporality, monotonic: metric.monotonic } };
    }),
    ...HISTOGRAMS.map(([name, temporality]) => ({
      ...words(name),
      histogram: { points: [HISTOGRAM, { ...HISTOGRAM, ...long_ago }].map(histogramPoint), temporality },
    })),
    ...EXPONENTIALS.map(([name, temporality]) => ({
      ...words(name),
      exponential: { points: [EXPONENTIAL, { ...EXPONENTIAL, ...long_ago }].map(exponentialPoint), temporality },
    })),
    { ...words('trainer.latency'), summary: [SUMMARY, { ...SUMMARY, ...long_ago }].map(summaryPoint) },
    {
      ...words('trainer.bad'),
      sum: { points: [numberPoint({ ...value, value: 1 })], temporality: 0, monotonic: true },
    },
  ];
  return otlpRequest([{ resource, scope: SCOPE, metrics }]);
}

function json(service: string): Uint8Array {
  const metrics = [
    ...NUMBERS.map((metric) => {
      const dataPoints = [...metric.points, noValue].map((point) => jsonNumberPoint(point, []));
      if (!('temporality' in metric)) return { ...words(metric.name), gauge: { dataPoints } };
      const { temporality: aggregationTemporality, monotonic: isMonotonic } = metric;
      return { ...words(metric.name), sum: { dataPoints, aggregationTemporality, isMonotonic } };
    }),
    ...HISTOGRAMS.map(([name, aggregationTemporality]) => {
      const dataPoints = [HISTOGRAM, { ...HISTOGRAM, ...long_ago }].map(jsonHistogramPoint);
      return { ...words(name), histogram: { dataPoints, aggregationTemporality } };
    }),
    ...EXPONENTIALS.map(([name, aggregationTemporality]) => {
      const dataPoints = [EXPONENTIAL, { ...EXPONENTIAL, ...long_ago }].map(jsonExponentialPoint);
      return { ...words(name), exponentialHistogram: { dataPoints, aggregationTemporality } };
    }),
    {
      ...words('trainer.latency'),
      summary: { dataPoints: [SUMMARY, { ...SUMMARY, ...long_ago }].map(jsonSummaryPoint) },
    },
    { ...words('trainer.bad'), sum: { dataPoints: [jsonNumberPoint({ ...value, value: 1 }, [])], isMonotonic: true } },
  ];
  const scope = { ...SCOPE, attributes: attributes(SCOPE.attributes) };
  const resource = { attributes: attributes({ 'service.name': service }) };
  return Buffer.from(JSON.stringify({ resourceMetrics: [{ resource, scopeMetrics: [{ scope, metrics }] }] }));
}

type List<Item> = { readonly items: readonly Item[] };
type Series = { id: string; metric: string; labels: Record<string, string>; kind: string; unit: string; help: string };

/** Everything of one service name: by metric and its own labels, what it is and holds. */
async function stored(service: Service, job: string): Promise<Record<string, unknown>> {
  const { items } = await get<List<Series>>(service, '/api/v1/series?limit=500');
  // a refused point may still have announced its series
  const own = items.filter(({ labels }) => labels['job'] === job && labels['gpu'] === 'gpu-3');
  const found: Record<string, unknown> = {};
  for (const { id, metric, labels, kind, unit, help } of own) {
    const rows = async (what: string) =>
      (await get<List<{ series?: string }>>(service, `/api/v1/series/${id}/${what}`)).items;
    const { quantile } = labels;
    expect(labels).toMatchObject({
      otel_scope_name: SCOPE.name,
      otel_scope_version: SCOPE.version,
      'otel_scope_build.id': 'a1',
    });
    const isHistogram = kind.startsWith('histogram');
    const histograms = isHistogram ? (await rows('histograms')).map(({ series: _series, ...row }) => row) : [];
    const name = quantile === undefined ? metric : `${metric}{${quantile}}`;
    found[name] = { kind, unit, help, samples: isHistogram ? [] : await rows('samples'), histograms };
  }
  return found;
}

function expected(): Record<string, unknown> {
  const about = (name: string, kind: string) => ({ kind, unit: '1', help: `about ${name}` });
  const sample = (number: number | string) => ({ samples: [{ at_ms, value: number }], histograms: [] });
  const common = {
    at_ms,
    start_ms: at_ms - 60_000,
    reset_hint: 'unknown',
    is_float: false,
    stale: false,
    zero_threshold: 0,
  };
  const explicit = {
    ...common,
    count: 6,
    sum: 4.5,
    min: 0.25,
    max: 1.5,
    schema: -53,
    zero_count: 0,
    custom_values: [0.5, 1],
    positive_spans: [{ offset: 0, length: 3 }],
    positive_buckets: [1, 2, 3],
    negative_spans: [],
    negative_buckets: [],
  };
  // OTLP's bucket i ends at 2^(i+1), ours at 2^i: offset 1 becomes 2, and −1 becomes 0
  const exponential = {
    ...common,
    start_ms: 0,
    count: 6,
    sum: 10,
    min: null,
    max: null,
    schema: 0,
    zero_count: 1,
    custom_values: [],
    positive_spans: [{ offset: 2, length: 2 }],
    positive_buckets: [0, 2],
    negative_spans: [{ offset: 0, length: 1 }],
    negative_buckets: [3],
  };
  const kinds: Record<string, unknown> = {};
  const values = [10, 9_007_199_254_740_992, 5, 3, -2.5]; // 2^53 + 1 is no double: the nearest even one
  for (const [index, { name, kind }] of NUMBERS.entries())
    kinds[name] = { ...about(name, kind), ...sample(values[index] ?? 0) };
  for (const [name, , kind] of HISTOGRAMS) kinds[name] = { ...about(name, kind), samples: [], histograms: [explicit] };
  for (const [name, , kind] of EXPONENTIALS)
    kinds[name] = { ...about(name, kind), samples: [], histograms: [exponential] };
  const summary = about('trainer.latency', 'summary');
  kinds['trainer.latency{0.5}'] = { ...summary, ...sample(1) };
  kinds['trainer.latency{0.99}'] = { ...summary, ...sample(2.5) };
  kinds['trainer.latency_sum'] = { ...summary, ...sample(12.5) };
  kinds['trainer.latency_count'] = { ...summary, ...sample(9) };
  return kinds;
}

test('every kind of metric, as protobuf and as JSON, gzip and zstd, reads back equal; bad points are a partial success', async () => {
  await using directory = await scratchDirectory();
  const quiet = { server: { port: 0 }, collectors: { host: { enabled: false } } };
  await using service = await startService(directory.path, quiet);
  const encodings = [
    ['gzip', gzipSync],
    ['zstd', zstdCompressSync],
  ] as const;
  const forms = [
    ['application/x-protobuf', protobuf],
    ['application/json', json],
  ] as const;
  const jobs: string[] = [];
  for (const [type, build] of forms)
    for (const [encoding, pack] of encodings) {
      const job = `${type} ${encoding}`;
      jobs.push(job);
      const answer = await fetch(`${service.url}/v1/metrics`, {
        method: 'POST',
        headers: { 'content-type': type, 'content-encoding': encoding },
        body: new Uint8Array(pack(build(job))),
      });
      expect([answer.status, answer.headers.get('content-type')], job).toEqual([200, type]);
      const bytes = Buffer.from(await answer.arrayBuffer());
      if (type === 'application/json')
        expect(JSON.parse(bytes.toString())).toMatchObject({ partialSuccess: { rejectedDataPoints: String(REFUSED) } });
      else {
        // ExportMetricsServiceResponse { partial_success = 1 { int64 rejected_data_points = 1; string error_message = 2 } }
        const inside = (bytes[1] ?? 0) < 128 ? 2 : 3; // after the length of the message
        expect([bytes[0], bytes[inside], bytes[inside + 1]], job).toEqual([0x0a, 0x08, REFUSED]);
      }
    }
  await eventually('everything stored', async () => {
    const { items } = await get<List<{ in_flight: number }>>(service, '/api/v1/delivery');
    return items.every(({ in_flight }) => in_flight === 0);
  });
  for (const job of jobs) expect(await stored(service, job), job).toEqual(expected());
});
