import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeOtlpMetrics } from '../../src/formats/otlp-metrics.ts';
import { decodeOtlpMetricsJson } from '../../src/formats/otlp-metrics-json.ts';
import {
  attributes as jsonAttributes,
  jsonExemplar,
  jsonExponentialPoint,
  jsonHistogramPoint,
  jsonNumberPoint,
  jsonSummaryPoint,
} from './otlp-json-writer.ts';
import {
  exemplar,
  exponentialPoint,
  histogramPoint,
  numberPoint,
  otlpRequest,
  summaryPoint,
  type TestAttributes,
  type TestValue,
} from './otlp-messages.ts';
import { freshTarget, readable, rowsOf, taken } from './sample-rows.ts';

const AT = 1_763_596_800_123;

function json(value: unknown): Uint8Array {
  return new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value));
}

function gaugeJson(...points: readonly unknown[]): unknown {
  return { resourceMetrics: [{ scopeMetrics: [{ metrics: [{ name: 'g', gauge: { dataPoints: points } }] }] }] };
}

test("the example of OTLP's documentation is read", () => {
  // opentelemetry-proto examples/metrics.json, shortened to its first metric
  const body = {
    resourceMetrics: [
      {
        resource: { attributes: [{ key: 'service.name', value: { stringValue: 'my.service' } }] },
        scopeMetrics: [
          {
            scope: {
              name: 'my.library',
              version: '1.0.0',
              attributes: [{ key: 'my.scope.attribute', value: { stringValue: 'some scope attribute' } }],
            },
            metrics: [
              {
                name: 'my.counter',
                unit: '1',
                description: 'I am a Counter',
                sum: {
                  aggregationTemporality: 1,
                  isMonotonic: true,
                  dataPoints: [
                    {
                      asDouble: 5,
                      startTimeUnixNano: '1544712660300000000',
                      timeUnixNano: '1544712660300000000',
                      attributes: [{ key: 'my.counter.attr', value: { stringValue: 'some value' } }],
                    },
                  ],
                },
              },
            ],
          },
        ],
      },
    ],
  };
  const target = freshTarget();
  taken(decodeOtlpMetricsJson(json(body), target));
  const { series, samples } = readable(target);
  expect(Object.values(samples)).toEqual([[[1_544_712_660_300, 5]]]);
  expect(series).toMatchObject([{ metric: 'my.counter', kind: 'counter_delta', unit: '1', help: 'I am a Counter' }]);
  expect({ ...series[0]?.labels }).toEqual({
    __name__: 'my.counter',
    job: 'my.service',
    'my.counter.attr': 'some value',
    otel_scope_name: 'my.library',
    otel_scope_version: '1.0.0',
    'otel_scope_my.scope.attribute': 'some scope attribute',
  });
});

test('64-bit integers are exact as strings and as bare numbers', () => {
  const value = 2n ** 53n + 1n;
  const time = `${AT}999999`;
  for (const body of [
    `{"timeUnixNano":"${time}","asInt":"${value}"}`,
    `{"timeUnixNano":${time},"asInt":${value}}`,
    `{"time_unix_nano": ${time}, "as_int": ${value}}`,
  ]) {
    const target = freshTarget();
    const [head = '', tail = ''] = JSON.stringify(gaugeJson('POINT')).split('"POINT"');
    taken(decodeOtlpMetricsJson(json(head + body + tail), target));
    const rows = target.columns.take();
    expect(new DataView(rows.mantissa.buffer).getBigInt64(0, true)).toBe(value);
    expect(rowsOf(rows)[0]?.at_ms).toBe(AT);
  }
});

test('enum names are taken as well as numbers', () => {
  const dataPoints = [{ timeUnixNano: `${AT}000000`, asInt: '1' }];
  const sum = { dataPoints, aggregationTemporality: 'AGGREGATION_TEMPORALITY_CUMULATIVE', isMonotonic: true };
  const target = freshTarget();
  taken(
    decodeOtlpMetricsJson(json({ resourceMetrics: [{ scopeMetrics: [{ metrics: [{ name: 's', sum }] }] }] }), target),
  );
  expect(readable(target).series).toMatchObject([{ kind: 'counter' }]);
});

test('unknown fields, nulls and a field named like a prototype property are passed over', () => {
  const point = `{"timeUnixNano":"${AT}000000","asDouble":1,"__proto__":{"x":1},"constructor":2,"later":{"a":[1]},"flags":null}`;
  const [head = '', tail = ''] = JSON.stringify(gaugeJson('POINT')).split('"POINT"');
  const target = freshTarget();
  taken(decodeOtlpMetricsJson(json(head + point + tail), target));
  expect(readable(target).samples).toEqual({ 'g{}': [[AT, 1]] });
});

test.each([
  ['no JSON', '{"resourceMetrics":[', /OTLP\/JSON/],
  ['no object', '[]', /the body: an object expected/],
  ['a list that is none', '{"resourceMetrics":{}}', /resourceMetrics: a list expected/],
  ['a number that is none', JSON.stringify(gaugeJson({ asDouble: 'five' })), /dataPoints\[0\]\.asDouble: a number/],
  ['an integer with a fraction', JSON.stringify(gaugeJson({ asInt: 1.5 })), /asInt: an integer/],
  ['an integer of 65 bits', JSON.stringify(gaugeJson({ asInt: '18446744073709551616' })), /asInt: an integer from/],
  ['half a hexadecimal byte', JSON.stringify(gaugeJson({ exemplars: [{ traceId: 'abc' }] })), /traceId: hexadecimal/],
  [
    'bytes that are no base64',
    JSON.stringify(gaugeJson({ attributes: [{ value: { bytesValue: '*' } }] })),
    /bytesValue: base64/,
  ],
  ['a text that is a number', JSON.stringify(gaugeJson({ attributes: [{ key: 1 }] })), /key: a text/],
  ['nesting without end', `${'{"resourceMetrics":['.repeat(50_000)}`, /OTLP\/JSON/],
  [
    'deep nesting that closes',
    `{"x":12345678901234567,"y":${'['.repeat(100_000)}${']'.repeat(100_000)}}`,
    /OTLP\/JSON/,
  ],
])('a body with %s is refused with the place', (_, body, reason) => {
  expect(decodeOtlpMetricsJson(json(body), freshTarget())).toMatchObject({
    kind: 'reject',
    code: 'LW-BODY',
    reason: expect.stringMatching(reason),
  });
});

const value: fc.Arbitrary<TestValue> = fc.oneof(
  fc.string(),
  fc.boolean(),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.double(),
  fc.uint8Array({ maxLength: 8 }),
  fc.array(fc.string(), { maxLength: 3 }),
);
const attributes: fc.Arbitrary<TestAttributes> = fc.dictionary(fc.string({ minLength: 1, maxLength: 6 }), value, {
  maxKeys: 4,
});
const at_ms = fc.integer({ min: 1_000_000_000_000, max: 4_000_000_000_000 });
const someExemplar = fc.record({
  at_ms,
  value: fc.double(),
  attributes,
  trace: fc.uint8Array({ minLength: 16, maxLength: 16 }),
});
const number = fc.record({
  spec: fc.record({
    at_ms,
    attributes,
    value: fc.oneof(fc.double(), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })),
    flags: fc.constantFrom(0, 1),
  }),
  exemplars: fc.array(someExemplar, { maxLength: 2 }),
});
const counts = fc.array(fc.bigInt({ min: 0n, max: 2n ** 60n }), { minLength: 1, maxLength: 5 });
const total = (of: readonly bigint[]): bigint => of.reduce((sum, one) => sum + one, 0n);
const histogram = fc.record({ at_ms, attributes, sum: fc.double(), counts }).map((one) => ({
  ...one,
  count: total(one.counts),
  bounds: one.counts.slice(1).map((_, index) => index + 0.5),
}));
const exponential = fc
  .record({
    at_ms,
    attributes,
    scale: fc.integer({ min: -10, max: 20 }),
    zero_count: fc.constant(3n),
    counts,
    offset: fc.integer({ min: -1_000, max: 1_000 }),
  })
  .map((one) => ({ ...one, count: total(one.counts) + 3n, positive: { offset: one.offset, counts: one.counts } }));
const summary = fc.record({
  at_ms,
  attributes,
  count: fc.bigInt({ min: 0n, max: 2n ** 53n }),
  sum: fc.double(),
  quantiles: fc.constant([
    [0.5, 1],
    [0.9, 2],
  ] as const),
});
const cases = fc.record({
  resource: attributes,
  number: fc.array(number, { maxLength: 3 }),
  histogram,
  exponential,
  summary,
  temporality: fc.constantFrom(0, 1, 2),
  monotonic: fc.boolean(),
});

test('both forms of a message give the same samples, series, histograms, exemplars and refusals', () => {
  fc.assert(
    fc.property(cases, (one) => {
      const { temporality, monotonic, resource } = one;
      const binary = otlpRequest([
        {
          resource,
          scope: { name: 'scope', version: '1' },
          metrics: [
            {
              name: 'n',
              unit: 's',
              sum: {
                points: one.number.map(({ spec, exemplars }) =>
                  numberPoint({ ...spec, exemplars: exemplars.map(exemplar) }),
                ),
                temporality,
                monotonic,
              },
            },
            { name: 'h', histogram: { points: [histogramPoint(one.histogram)], temporality } },
            { name: 'e', exponential: { points: [exponentialPoint(one.exponential)], temporality } },
            { name: 'q', summary: [summaryPoint(one.summary)] },
          ],
        },
      ]);
      const aggregationTemporality = temporality;
      const text = {
        resourceMetrics: [
          {
            resource: { attributes: jsonAttributes(resource) },
            scopeMetrics: [
              {
                scope: { name: 'scope', version: '1' },
                metrics: [
                  {
                    name: 'n',
                    unit: 's',
                    sum: {
                      dataPoints: one.number.map(({ spec, exemplars }) =>
                        jsonNumberPoint(spec, exemplars.map(jsonExemplar)),
                      ),
                      aggregationTemporality,
                      isMonotonic: monotonic,
                    },
                  },
                  { name: 'h', histogram: { dataPoints: [jsonHistogramPoint(one.histogram)], aggregationTemporality } },
                  {
                    name: 'e',
                    exponentialHistogram: {
                      dataPoints: [jsonExponentialPoint(one.exponential)],
                      aggregationTemporality,
                    },
                  },
                  { name: 'q', summary: { dataPoints: [jsonSummaryPoint(one.summary)] } },
                ],
              },
            ],
          },
        ],
      };
      const [first, second] = [freshTarget(), freshTarget()];
      const fromBinary = taken(decodeOtlpMetrics(binary, first));
      expect(taken(decodeOtlpMetricsJson(json(text), second))).toEqual(fromBinary);
      expect(second.book.drainNew()).toEqual(first.book.drainNew());
      expect(rowsOf(second.columns.take())).toEqual(rowsOf(first.columns.take()));
    }),
    { numRuns: 150 },
  );
});
