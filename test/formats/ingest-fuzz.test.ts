import { expect, test } from 'vitest';
import { LIMITS } from '../../src/core/limits.ts';
import { integerBelow, type Random, seededRandom } from '../../src/core/random.ts';
import type { Outcome } from '../../src/core/outcome.ts';
import type { DecodedSamples, SampleTarget } from '../../src/formats/decoded-samples.ts';
import { decodeOtlpMetrics } from '../../src/formats/otlp-metrics.ts';
import { decodeOtlpMetricsJson } from '../../src/formats/otlp-metrics-json.ts';
import { decodeRemoteWrite } from '../../src/formats/remote-write.ts';
import { decodeRemoteWrite2 } from '../../src/formats/remote-write-2.ts';
import { exemplar, exponentialPoint, histogramPoint, numberPoint, otlpRequest, summaryPoint } from './otlp-messages.ts';
import { joined, message, uint, varint } from './protobuf-writer.ts';
import { integerHistogram, request2, type TestSeries, writeRequest } from './remote-write-messages.ts';
import { freshTarget, rowsOf } from './sample-rows.ts';

const AT = 1_763_596_800_123;
const ROUNDS = 1_500;
const histogram = integerHistogram({
  count: 3,
  sum: 1,
  at_ms: AT,
  spans: [[0, 2]],
  deltas: [1, 1],
  custom: [1, 2],
  schema: -53,
});
const labels = [
  ['__name__', 'm'],
  ['job', 'gpu'],
  ['rank', '7'],
] as const;
const series: readonly TestSeries[] = [
  {
    labels,
    samples: [
      [AT, 1.5],
      [AT + 1, 2],
    ],
    exemplars: [{ labels: { trace_id: 'x' }, value: 1, at_ms: AT }],
    metadata: { type: 1, help: 'h', unit: 's' },
  },
  { labels: labels.slice(0, 2), histograms: [histogram] },
];
const attributes = { a: 'x', list: ['y', 1n], map: { k: true } };
const number = {
  attributes,
  at_ms: AT,
  exemplars: [exemplar({ at_ms: AT, value: 1, attributes, trace: Uint8Array.of(1) })],
};
const otlp = otlpRequest([
  {
    resource: { 'service.name': 's', 'host.name': 'h' },
    scope: { name: 'scope' },
    metrics: [
      { name: 'g', unit: 's', gauge: [numberPoint({ ...number, value: 1.5 }), numberPoint({ ...number, value: 3n })] },
      { name: 's', sum: { points: [numberPoint({ ...number, value: 1 })], temporality: 2, monotonic: true } },
      {
        name: 'h',
        histogram: {
          points: [histogramPoint({ attributes, at_ms: AT, count: 3n, counts: [1n, 2n], bounds: [1] })],
          temporality: 1,
        },
      },
      {
        name: 'e',
        exponential: {
          points: [
            exponentialPoint({ attributes, at_ms: AT, count: 1n, scale: 2, positive: { offset: 1, counts: [1n] } }),
          ],
          temporality: 2,
        },
      },
      { name: 'q', summary: [summaryPoint({ attributes, at_ms: AT, count: 1n, sum: 1, quantiles: [[0.5, 1]] })] },
    ],
  },
]);
const text = new TextEncoder().encode(
  `{"resourceMetrics":[{"resource":{"attributes":[{"key":"a","value":{"intValue":"1"}}]},"scopeMetrics":[{"metrics":[{"name":"g","gauge":{"dataPoints":[{"timeUnixNano":"${AT}000000","asDouble":1.5,"attributes":[{"key":"k","value":{"arrayValue":{"values":[{"boolValue":true}]}}}]}]}}]}]}]}`,
);

type Decode = (body: Uint8Array, target: SampleTarget) => Outcome<DecodedSamples>;
const DECODERS: readonly (readonly [string, Decode, Uint8Array])[] = [
  ['remote write 1.0', decodeRemoteWrite, writeRequest(...series)],
  ['remote write 2.0', decodeRemoteWrite2, request2(...series)],
  ['OTLP', decodeOtlpMetrics, otlp],
  ['OTLP/JSON', decodeOtlpMetricsJson, text],
];

/** A body with a few bytes changed, cut, doubled, or a length made huge. */
function damaged(random: Random, body: Uint8Array): Uint8Array {
  const at = integerBelow(random, body.length);
  const rest = body.subarray(at);
  const kind = integerBelow(random, 5);
  if (kind === 0) return body.subarray(0, at);
  if (kind === 1)
    return joined(body.subarray(0, at), rest.subarray(Math.min(rest.length, 1 + integerBelow(random, 8))));
  if (kind === 2) return joined(body.subarray(0, at), body.subarray(integerBelow(random, body.length)), rest);
  if (kind === 3) return joined(body.subarray(0, at), varint(2n ** BigInt(integerBelow(random, 64))), rest);
  const copy = body.slice();
  for (let change = 0; change <= integerBelow(random, 4); change++)
    copy[integerBelow(random, copy.length)] = integerBelow(random, 256);
  return copy;
}

test.each(DECODERS)('%s: a whole body is taken, so that the damaged ones below mean something', (_, decode, body) => {
  expect(decode(body, freshTarget())).toMatchObject({ kind: 'ok', value: { rejections: [] } });
});

test.each(DECODERS)(
  '%s: damaged bodies give an outcome; what is taken is whole; what is refused leaves no row',
  (_, decode, body) => {
    const seed = 20_261_121;
    const random = seededRandom(seed);
    const target = freshTarget({ series_max: 500 });
    const known = new Set<string>();
    for (let round = 0; round < ROUNDS; round++) {
      const outcome = decode(damaged(random, body), target);
      for (const row of target.book.drainNew()) known.add(row.id);
      const rows = rowsOf(target.columns.take());
      const where = `seed ${seed} round ${round}`;
      expect(rows.length, where).toBe(outcome.kind === 'ok' ? outcome.value.samples_count : 0);
      expect(
        rows.every((row) => known.has(row.id)),
        where,
      ).toBe(true);
      if (outcome.kind === 'ok') expect(JSON.parse(JSON.stringify(outcome.value)), where).toEqual(plain(outcome.value));
    }
    expect(target.book.series_count).toBeLessThan(500 + 1_002);
  },
);

/** The result with ordinary objects for those without a prototype, as JSON gives them back. */
function plain(value: DecodedSamples): unknown {
  return structuredClone(value);
}

test.each(DECODERS.slice(0, 3))('%s: bytes at random give an outcome', (_, decode) => {
  const random = seededRandom(7);
  const target = freshTarget();
  for (let round = 0; round < ROUNDS; round++) {
    const body = Uint8Array.from({ length: integerBelow(random, 200) }, () => integerBelow(random, 256));
    expect(['ok', 'reject']).toContain(decode(body, target).kind);
  }
});

test('the smallest possible series, by the hundred thousand, are counted and not kept', () => {
  const tiny = message(1, message(1)); // a series with one label without a name: 4 bytes
  const body = new Uint8Array(60_000 * tiny.length);
  for (let at = 0; at < body.length; at += tiny.length) body.set(tiny, at);
  const target = freshTarget();
  expect(decodeRemoteWrite(body, target)).toMatchObject({
    kind: 'ok',
    value: { samples_count: 0, rejections: [{ code: 'missing_name', count: 60_000 }] },
  });
  expect([target.book.series_count, target.book.keys.count, target.columns.rows]).toEqual([0, 0, 0]);
});

/** `size` bytes of nothing but `piece`. */
function filled(piece: Uint8Array, size: number): Uint8Array {
  const body = new Uint8Array(size - (size % piece.length));
  for (let at = 0; at < body.length; at += piece.length) body.set(piece, at);
  return body;
}

/** A quarter of the largest body: enough to meet every cap. */
const LARGE = LIMITS.body_bytes_max / 4;
const NAMED = (kind: number, points: Uint8Array) =>
  message(1, message(2, message(2, text8('g'), message(kind, points))));
const text8 = (value: string) => message(1, new TextEncoder().encode(value));

test.each([
  ['empty series', decodeRemoteWrite, filled(message(1), LARGE)],
  ['empty series', decodeRemoteWrite2, joined(message(4), filled(message(5), LARGE))],
  ['empty points', decodeOtlpMetrics, NAMED(5, filled(message(1), LARGE))],
  ['empty histograms', decodeOtlpMetrics, NAMED(9, joined(uint(2, 2), filled(message(1), LARGE)))],
  ['empty summaries', decodeOtlpMetrics, NAMED(11, filled(message(1), LARGE))],
  ['empty objects', decodeOtlpMetricsJson, filled(new TextEncoder().encode('{},'), LARGE)],
] as const)('a body of 8 MiB, of nothing but %s, is refused after little work', (_, decode, body) => {
  const before = process.cpuUsage();
  expect(decode(body, freshTarget())).toMatchObject({ kind: 'reject', code: 'LW-BODY-SIZE' });
  const { user, system } = process.cpuUsage(before);
  // of 32 MiB: 35 s of histograms, 18 s of summaries, out of memory for objects, before there were caps
  expect((user + system) / 1_000).toBeLessThan(1_500);
});

test('histograms and exemplars over their cap are refused and counted', () => {
  const empty = integerHistogram({ count: 0, sum: 0, at_ms: AT });
  const count = LIMITS.histograms_max + 10;
  const body = writeRequest({ labels, histograms: Array.from({ length: count }, () => empty) });
  const outcome = decodeRemoteWrite(body, freshTarget());
  expect(outcome).toMatchObject({ kind: 'ok', value: { rejections: [{ code: 'histogram_limit', count: 10 }] } });
  expect(outcome.kind === 'ok' && outcome.value.histograms.length).toBe(LIMITS.histograms_max);
});

test('a list of 130,000 points in JSON is read', () => {
  const point = `{"timeUnixNano":"${AT}000000","asInt":"1"}`;
  const points = Array.from({ length: 130_000 }, () => point).join(',');
  const body = `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"g","gauge":{"dataPoints":[${points}]}}]}]}]}`;
  const outcome = decodeOtlpMetricsJson(new TextEncoder().encode(body), freshTarget());
  expect(outcome).toMatchObject({ kind: 'ok', value: { samples_count: 130_000 } });
});
