import { expect, test } from 'vitest';
import { decodeOtlpMetrics } from '../../src/formats/otlp-metrics.ts';
import {
  exemplar,
  exponentialPoint,
  histogramPoint,
  keyValues,
  nanos,
  numberPoint,
  otlpRequest,
  summaryPoint,
} from './otlp-messages.ts';
import { double, fixed, joined, message, text, uint } from './protobuf-writer.ts';
import { freshTarget, readable, rowsOf, taken } from './sample-rows.ts';

const AT = 1_763_596_800_123;
const DELTA = 1;
const CUMULATIVE = 2;

function gauge(name: string, ...points: readonly Uint8Array[]): Uint8Array {
  return otlpRequest([{ resource: { 'service.name': 'train' }, metrics: [{ name, gauge: points }] }]);
}

test('a gauge keeps its dotted name and attribute names; job, instance and the other resource attributes are labels', () => {
  const target = freshTarget();
  const resource = {
    'service.name': 'train',
    'service.namespace': 'ml',
    'service.instance.id': 'pod-1',
    'host.name': 'n7',
  };
  const body = otlpRequest([
    {
      resource,
      scope: { name: 'meter', version: '1.2', attributes: { team: 'a' } },
      metrics: [
        {
          name: 'hw.gpu.utilization',
          unit: '1',
          description: 'Busy share.',
          gauge: [numberPoint({ attributes: { 'hw.id': 'GPU-1' }, at_ms: AT, value: 0.5 })],
        },
      ],
    },
  ]);
  expect(taken(decodeOtlpMetrics(body, target))).toMatchObject({ samples_count: 1, rejections: [] });
  const { series } = readable(target);
  expect(series).toEqual([
    {
      id: series[0]?.id,
      metric: 'hw.gpu.utilization',
      kind: 'gauge',
      unit: '1',
      help: 'Busy share.',
      labels: expect.objectContaining({
        __name__: 'hw.gpu.utilization',
        job: 'ml/train',
        instance: 'pod-1',
        'host.name': 'n7',
        'hw.id': 'GPU-1',
        otel_scope_name: 'meter',
        otel_scope_version: '1.2',
        otel_scope_team: 'a',
      }),
    },
  ]);
  expect(Object.keys(series[0]?.labels ?? {})).toHaveLength(8);
});

test.each([
  [DELTA, true, 'counter_delta'],
  [CUMULATIVE, true, 'counter'],
  [DELTA, false, 'up_down_delta'],
  [CUMULATIVE, false, 'gauge'],
])('a sum of temporality %i, monotonic %s, is a %s', (temporality, monotonic, kind) => {
  const target = freshTarget();
  const points = [numberPoint({ at_ms: AT, value: 3n })];
  taken(
    decodeOtlpMetrics(otlpRequest([{ metrics: [{ name: 's', sum: { points, temporality, monotonic } }] }]), target),
  );
  expect(readable(target)).toMatchObject({
    series: [{ metric: 's', kind, labels: { __name__: 's' } }],
    samples: { 's{}': [[AT, 3]] },
  });
});

test('a sum without a temporality is refused with all its points, as is a metric without a name', () => {
  const points = [numberPoint({ at_ms: AT, value: 3 }), numberPoint({ at_ms: AT + 1, value: 4 })];
  const target = freshTarget();
  const body = otlpRequest([
    {
      metrics: [
        { name: 's', sum: { points, temporality: 0, monotonic: true } },
        { name: '', gauge: points },
      ],
    },
  ]);
  expect(taken(decodeOtlpMetrics(body, target))).toMatchObject({
    samples_count: 0,
    rejected_points_count: 4,
    rejections: [
      { code: 'temporality', count: 2 },
      { code: 'missing_name', count: 2 },
    ],
  });
});

test('integers stay exact over all 64 bits', () => {
  const integers = [0n, -1n, 2n ** 53n + 1n, 2n ** 63n - 1n, -(2n ** 63n)];
  const target = freshTarget();
  taken(decodeOtlpMetrics(gauge('i', ...integers.map((value) => numberPoint({ at_ms: AT, value }))), target));
  const rows = target.columns.take();
  const { buffer, byteOffset } = rows.mantissa;
  expect(Array.from(new BigInt64Array(buffer as ArrayBuffer, byteOffset, rows.rows))).toEqual(integers);
  expect(rowsOf(rows).map((row) => row.exponent)).toEqual([0, 0, 0, 0, 0]);
});

test('nanoseconds become milliseconds exactly, rounded down', () => {
  const times = [
    1_763_596_800_123_000_000n,
    1_763_596_800_123_999_999n,
    1_763_596_800_124_000_000n,
    4_102_444_799_999_999_999n,
  ];
  const target = freshTarget();
  const points = times.map((time) => joined(fixed(3, time), double(4, 1)));
  taken(decodeOtlpMetrics(gauge('t', ...points), target));
  expect(rowsOf(target.columns.take()).map((row) => row.at_ms)).toEqual([
    1_763_596_800_123, 1_763_596_800_123, 1_763_596_800_124, 4_102_444_799_999,
  ]);
});

test('a point with NO_RECORDED_VALUE is the stale marker; one without a value or of an implausible time is refused', () => {
  const target = freshTarget();
  const body = gauge(
    'g',
    numberPoint({ at_ms: AT, flags: 1 }),
    numberPoint({ at_ms: AT }),
    numberPoint({ at_ms: 1, value: 1 }),
  );
  expect(taken(decodeOtlpMetrics(body, target))).toMatchObject({
    samples_count: 1,
    rejections: [
      { code: 'no_value', count: 1 },
      { code: 'time', count: 1 },
    ],
  });
  expect(rowsOf(target.columns.take()).map((row) => row.bits)).toEqual([0x7ff0000000000002n]);
});

test('attribute values of every kind become text', () => {
  const attributes = {
    s: 'x',
    yes: true,
    no: false,
    i: -5n,
    d: 0.25,
    list: ['a', 1n, true],
    map: { k: 'v', n: NaN },
    bytes: Uint8Array.of(1, 2, 255),
  };
  const target = freshTarget();
  taken(
    decodeOtlpMetrics(
      otlpRequest([{ metrics: [{ name: 'a', gauge: [numberPoint({ attributes, at_ms: AT, value: 1 })] }] }]),
      target,
    ),
  );
  expect({ ...readable(target).series[0]?.labels }).toEqual({
    __name__: 'a',
    s: 'x',
    yes: 'true',
    no: 'false',
    i: '-5',
    d: '0.25',
    list: '["a",1,true]',
    map: '{"k":"v","n":"NaN"}',
    bytes: 'AQL/', // base64 of 01 02 ff
  });
});

test('attributes split over the message, a late resource and a late name give the same series as tidy ones', () => {
  const target = freshTarget();
  const attributes = { gpu: '0', rank: '3' };
  const tidy = otlpRequest([
    {
      resource: { 'host.name': 'n' },
      metrics: [{ name: 'g', gauge: [numberPoint({ attributes, at_ms: AT, value: 1 })] }],
    },
  ]);
  const [gpu, rank] = keyValues(7, attributes);
  const point = joined(gpu ?? new Uint8Array(0), double(4, 2), rank ?? new Uint8Array(0), fixed(3, nanos(AT)));
  const untidy = message(
    1,
    message(2, message(2, message(5, message(1, point)), text(1, 'g'))),
    message(1, ...keyValues(1, { 'host.name': 'n' })),
  );
  for (const body of [tidy, untidy, tidy, untidy]) taken(decodeOtlpMetrics(body, target));
  const { samples, series } = readable(target);
  expect(series).toHaveLength(1);
  expect(Object.values(samples)).toEqual([
    [
      [AT, 1],
      [AT, 2],
      [AT, 1],
      [AT, 2],
    ],
  ]);
});

test('a resource attribute that is too long for a label is cut, and costs no point; one of a point refuses the point', () => {
  const target = freshTarget();
  const command = 'java -cp '.padEnd(5_000, '/opt/lib.jar:');
  const metric = (attributes: Record<string, string>) => ({
    name: 'up',
    gauge: [numberPoint({ attributes, at_ms: AT, value: 1 })],
  });
  const resource = { 'service.name': 's', 'process.command_line': command, note: 'é'.repeat(2_000) };
  const body = otlpRequest([
    { resource, scope: { name: 'm', attributes: { long: command } }, metrics: [metric({}), metric({ own: command })] },
  ]);
  expect(taken(decodeOtlpMetrics(body, target))).toMatchObject({
    samples_count: 1,
    rejections: [{ code: 'label_size', count: 1 }],
  });
  const { series } = readable(target);
  expect(series.map(({ labels }) => labels)).toMatchObject([
    {
      'process.command_line': `${command.slice(0, 2_045)}…`,
      otel_scope_long: `${command.slice(0, 2_045)}…`,
      note: `${'é'.repeat(1_022)}…`,
    },
  ]);
});

test('two resources without an instance id that differ are two series', () => {
  const target = freshTarget();
  const point = numberPoint({ at_ms: AT, value: 1 });
  const hosts = ['a', 'b'].map((host) => ({
    resource: { 'service.name': 's', 'host.name': host },
    metrics: [{ name: 'g', gauge: [point] }],
  }));
  taken(decodeOtlpMetrics(otlpRequest(hosts), target));
  expect(new Set(readable(target).series.map((row) => row.id)).size).toBe(2);
});

test("a point's attribute goes before a resource attribute of its name, but not before job", () => {
  const target = freshTarget();
  const resource = { 'service.name': 'right', zone: 'resource' };
  const point = numberPoint({ attributes: { job: 'wrong', zone: 'point' }, at_ms: AT, value: 1 });
  taken(decodeOtlpMetrics(otlpRequest([{ resource, metrics: [{ name: 'g', gauge: [point] }] }]), target));
  expect({ ...readable(target).series[0]?.labels }).toEqual({ __name__: 'g', job: 'right', zone: 'point' });
});

test('a histogram with explicit bounds is one row of custom buckets', () => {
  const target = freshTarget();
  const trace = Uint8Array.from({ length: 16 }, (_, index) => index);
  const point = histogramPoint({
    attributes: { route: '/v1' },
    at_ms: AT,
    count: 6n,
    sum: 12.5,
    counts: [1n, 2n, 3n],
    bounds: [0.5, 2],
    min: 0.25,
    max: 5,
    exemplars: [exemplar({ at_ms: AT, value: 4n, trace, span: Uint8Array.of(0xab, 1), attributes: { user: 'u' } })],
  });
  const body = otlpRequest([
    {
      metrics: [
        { name: 'http.server.request.duration', unit: 's', histogram: { points: [point], temporality: CUMULATIVE } },
      ],
    },
  ]);
  const decoded = taken(decodeOtlpMetrics(body, target));
  const [series] = readable(target).series;
  expect(series).toMatchObject({ kind: 'histogram', unit: 's' });
  expect(decoded.histograms).toEqual([
    {
      series: series?.id,
      at_ms: AT,
      count: 6,
      sum: 12.5,
      min: 0.25,
      max: 5,
      schema: -53,
      zero_threshold: 0,
      zero_count: 0,
      positive_spans: [{ offset: 0, length: 3 }],
      positive_buckets: [1, 2, 3],
      negative_spans: [],
      negative_buckets: [],
      custom_values: [0.5, 2],
      reset_hint: 'unknown',
      start_ms: AT - 60_000,
      is_float: false,
      stale: false,
    },
  ]);
  expect(decoded.exemplars).toEqual([
    {
      series: series?.id,
      at_ms: AT,
      value: 4,
      labels: { user: 'u', span_id: 'ab01', trace_id: '000102030405060708090a0b0c0d0e0f' },
    },
  ]);
});

test('an exponential histogram keeps its scale; its bucket i ends at base^(i+1), ours at base^i', () => {
  const target = freshTarget();
  const point = exponentialPoint({
    at_ms: AT,
    count: 10n,
    scale: 1,
    zero_count: 1n,
    zero_threshold: 0.001,
    positive: { offset: -2, counts: [2n, 0n, 4n] },
    negative: { offset: 3, counts: [3n] },
  });
  const body = otlpRequest([{ metrics: [{ name: 'e', exponential: { points: [point], temporality: DELTA } }] }]);
  expect(taken(decodeOtlpMetrics(body, target)).histograms).toMatchObject([
    {
      count: 10,
      sum: null,
      schema: 1,
      zero_count: 1,
      zero_threshold: 0.001,
      positive_spans: [{ offset: -1, length: 3 }],
      positive_buckets: [2, 0, 4],
      negative_spans: [{ offset: 4, length: 1 }],
      negative_buckets: [3],
    },
  ]);
  expect(readable(target).series).toMatchObject([{ kind: 'histogram_delta' }]);
});

test.each([
  ['buckets that do not add up', { count: 7n, counts: [1n, 2n, 3n], bounds: [1, 2] }],
  ['too few buckets', { count: 3n, counts: [1n, 2n], bounds: [1, 2] }],
  ['bounds that fall', { count: 6n, counts: [1n, 2n, 3n], bounds: [2, 1] }],
  ['a bound that is NaN', { count: 6n, counts: [1n, 2n, 3n], bounds: [1, NaN] }],
])('a histogram with %s is refused', (_, shape) => {
  const points = [histogramPoint({ at_ms: AT, ...shape })];
  const body = otlpRequest([{ metrics: [{ name: 'h', histogram: { points, temporality: CUMULATIVE } }] }]);
  expect(taken(decodeOtlpMetrics(body, freshTarget()))).toMatchObject({
    histograms: [],
    rejections: [{ code: 'histogram', count: 1 }],
  });
});

test('a summary is its quantiles, its sum and its count', () => {
  const target = freshTarget();
  const point = summaryPoint({
    attributes: { a: 'b' },
    at_ms: AT,
    count: 4n,
    sum: 10,
    quantiles: [
      [0.5, 2],
      [0.99, 6],
    ],
  });
  taken(decodeOtlpMetrics(otlpRequest([{ metrics: [{ name: 'q', summary: [point] }] }]), target));
  expect(readable(target).samples).toEqual({
    'q_sum{a="b"}': [[AT, 10]],
    'q_count{a="b"}': [[AT, 4]],
    'q{a="b",quantile="0.5"}': [[AT, 2]],
    'q{a="b",quantile="0.99"}': [[AT, 6]],
  });
});

test('attributes nested beyond the limit are refused, not followed', () => {
  let nested: Uint8Array = joined(text(1, 'deep'));
  for (let depth = 0; depth < 100; depth++) nested = message(5, message(1, nested));
  const point = joined(fixed(3, nanos(AT)), double(4, 1), message(7, text(1, 'k'), message(2, nested)));
  expect(taken(decodeOtlpMetrics(gauge('g', point), freshTarget())).rejections).toMatchObject([
    { code: 'attribute_depth', count: 1 },
  ]);
});

test('a resource whose attributes are not UTF-8 costs its own points only', () => {
  const bad = message(
    1,
    message(1, message(1, text(1, 'k'), message(2, Uint8Array.of(0x0a, 1, 0xff)))),
    message(2, message(2, text(1, 'g'), message(5, message(1, numberPoint({ at_ms: AT, value: 1 }))))),
  );
  const target = freshTarget();
  const decoded = taken(decodeOtlpMetrics(joined(bad, gauge('g', numberPoint({ at_ms: AT, value: 1 }))), target));
  expect(decoded).toMatchObject({ samples_count: 1, rejections: [{ code: 'utf8', count: 1 }] });
});

test('unknown fields on every level are passed over', () => {
  const unknown = joined(uint(1_000, 1), text(1_001, 'x'));
  const point = joined(unknown, numberPoint({ attributes: { a: 'b' }, at_ms: AT, value: 1 }), unknown);
  const body = message(
    1,
    unknown,
    message(1, unknown),
    message(2, unknown, message(2, unknown, text(1, 'g'), message(5, unknown, message(1, point)))),
  );
  const target = freshTarget();
  taken(decodeOtlpMetrics(body, target));
  expect(readable(target).samples).toEqual({ 'g{a="b"}': [[AT, 1]] });
});
