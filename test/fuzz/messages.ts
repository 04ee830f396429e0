import {
  exemplar,
  exponentialPoint,
  histogramPoint,
  numberPoint,
  otlpRequest,
  summaryPoint,
} from '../formats/otlp-messages.ts';
import { integerHistogram, type TestSeries } from '../formats/remote-write-messages.ts';

const AT = 1_763_596_800_123;

const LABELS = [
  ['__name__', 'gpu_temperature_celsius'],
  ['job', 'gpu'],
  ['rank', '7'],
  ['ü', 'quoted "\\\n'],
] as const;

const HISTOGRAM = integerHistogram({
  count: 12,
  sum: 1.5,
  at_ms: AT,
  schema: 3,
  zero: 2,
  spans: [
    [0, 2],
    [3, 1],
  ],
  deltas: [1, 1, 4],
  negative: { spans: [[1, 1]], deltas: [1] },
  start_ms: AT - 60_000,
});
const CUSTOM = integerHistogram({
  count: 3,
  sum: 1,
  at_ms: AT,
  spans: [[0, 2]],
  deltas: [1, 1],
  custom: [1, 2],
  schema: -53,
});

/** Series of remote write of every kind: samples with special values, histograms, exemplars, metadata. */
export const SERIES: readonly TestSeries[] = [
  {
    labels: LABELS,
    samples: [
      [AT, 1.5],
      [AT + 1, 0x7ff0000000000002n],
      [AT + 2, -0],
    ],
    exemplars: [{ labels: { trace_id: 'x' }, value: 1, at_ms: AT }],
    metadata: { type: 2, help: 'how warm', unit: 'celsius' },
  },
  { labels: LABELS.slice(0, 3), histograms: [HISTOGRAM] },
  { labels: LABELS.slice(0, 2), histograms: [CUSTOM] },
];

const attributes = { a: 'x', list: ['y', 1n, 2.5], map: { k: true }, bytes: Uint8Array.of(1, 2) };
const trace = { trace: Uint8Array.of(1, 2, 3), span: Uint8Array.of(4) };
const number = { attributes, at_ms: AT, exemplars: [exemplar({ at_ms: AT, value: 1, attributes, ...trace })] };
const buckets = { positive: { offset: 1, counts: [1n, 0n, 3n] }, negative: { offset: -2, counts: [1n] } };

/** A request of OTLP with every kind of metric. */
export const OTLP: Uint8Array = otlpRequest([
  {
    resource: { 'service.name': 's', 'service.instance.id': 'i', 'host.name': 'h' },
    scope: { name: 'scope', version: '1', attributes },
    metrics: [
      {
        name: 'g',
        unit: 's',
        description: 'd',
        gauge: [numberPoint({ ...number, value: 1.5 }), numberPoint({ ...number, value: 3n, flags: 1 })],
      },
      { name: 's', sum: { points: [numberPoint({ ...number, value: 1 })], temporality: 2, monotonic: true } },
      { name: 'd', sum: { points: [numberPoint({ ...number, value: 2n })], temporality: 1, monotonic: false } },
      {
        name: 'h',
        histogram: {
          points: [
            histogramPoint({ attributes, at_ms: AT, count: 3n, sum: 4, counts: [1n, 2n], bounds: [1], min: 0, max: 3 }),
          ],
          temporality: 1,
        },
      },
      {
        name: 'e',
        exponential: {
          points: [exponentialPoint({ attributes, at_ms: AT, count: 5n, scale: 2, ...buckets })],
          temporality: 2,
        },
      },
      { name: 'q', summary: [summaryPoint({ attributes, at_ms: AT, count: 1n, sum: 1, quantiles: [[0.5, 1]] })] },
    ],
  },
]);

/** The same kinds as OTLP/JSON. */
export const OTLP_JSON: string = JSON.stringify({
  resourceMetrics: [
    {
      resource: { attributes: [{ key: 'service.name', value: { stringValue: 's' } }] },
      scopeMetrics: [
        {
          scope: {
            name: 'scope',
            attributes: [{ key: 'k', value: { kvlistValue: { values: [{ key: 'x', value: { boolValue: true } }] } } }],
          },
          metrics: [
            {
              name: 'g',
              gauge: {
                dataPoints: [
                  {
                    timeUnixNano: `${AT}000000`,
                    asDouble: 'NaN',
                    attributes: [{ key: 'a', value: { arrayValue: { values: [{ intValue: '1' }] } } }],
                  },
                ],
              },
            },
            {
              name: 's',
              sum: {
                isMonotonic: true,
                aggregationTemporality: 2,
                dataPoints: [
                  {
                    timeUnixNano: `${AT}000000`,
                    asInt: '9007199254740993',
                    exemplars: [{ timeUnixNano: `${AT}000000`, asInt: '1', spanId: '0a', traceId: '0b' }],
                  },
                ],
              },
            },
            {
              name: 'h',
              histogram: {
                aggregationTemporality: 'AGGREGATION_TEMPORALITY_DELTA',
                dataPoints: [
                  {
                    timeUnixNano: `${AT}000000`,
                    count: '3',
                    sum: 4,
                    bucketCounts: ['1', '2'],
                    explicitBounds: [1],
                    min: 0,
                    max: 3,
                  },
                ],
              },
            },
            {
              name: 'e',
              exponentialHistogram: {
                aggregationTemporality: 1,
                dataPoints: [
                  {
                    timeUnixNano: `${AT}000000`,
                    count: '3',
                    scale: 0,
                    zeroCount: 1,
                    positive: { offset: 1, bucketCounts: ['0', '2'] },
                  },
                ],
              },
            },
            {
              name: 'q',
              summary: {
                dataPoints: [
                  { timeUnixNano: `${AT}000000`, count: '1', sum: 1, quantileValues: [{ quantile: 0.5, value: 1 }] },
                ],
              },
            },
          ],
        },
      ],
    },
  ],
}); // prettier-ignore
