import { expect, test } from 'vitest';
import { integerBelow, seededRandom } from '../../src/core/random.ts';
import { CLOCK_OFF_MS_MAX } from '../../src/core/record-clock.ts';
import { checkClock } from '../../src/formats/clock-check.ts';
import { decodeRemoteWrite } from '../../src/formats/remote-write.ts';
import { decodeOtlpMetrics } from '../../src/formats/otlp-metrics.ts';
import { partialSuccessOf } from '../../src/formats/otlp-response.ts';
import { histogramPoint, otlpRequest } from './otlp-messages.ts';
import { type TestSeries, writeRequest } from './remote-write-messages.ts';
import { bitsOf, freshTarget, rowsOf, taken } from './sample-rows.ts';

const NOW = 1_767_225_600_000;
const FAR = 2 * CLOCK_OFF_MS_MAX;

function checked(...series: TestSeries[]) {
  const target = freshTarget();
  const decoded = taken(decodeRemoteWrite(writeRequest(...series), target));
  return { id: target.book.drainNew()[0]?.id ?? '', ...checkClock(decoded, target.columns.take(), NOW) };
}

test('samples more than a day off, ahead or behind, go alone; what is left is as it was', () => {
  const { decoded, samples, off, id } = checked({
    labels: [['__name__', 'x']],
    samples: [
      [NOW - CLOCK_OFF_MS_MAX, 0.5],
      [NOW - CLOCK_OFF_MS_MAX - 1, 1],
      [NOW, 0x7ff0000000000002n],
      [NOW + FAR, 2 ** 53],
      [NOW + CLOCK_OFF_MS_MAX, -0],
      [NOW + FAR + 1, 0x7ff0000000000002n],
      [NOW + FAR + 2, 0.25],
    ],
  });
  expect(rowsOf(samples).map(({ at_ms, bits }) => [at_ms, bits])).toEqual([
    [NOW - CLOCK_OFF_MS_MAX, bitsOf(0.5)],
    [NOW, 0x7ff0000000000002n],
    [NOW + CLOCK_OFF_MS_MAX, bitsOf(-0)],
  ]);
  expect(decoded).toMatchObject({ samples_count: 3, rejected_points_count: 4 });
  expect(decoded.rejections).toEqual([{ code: 'clock', count: 4, reason: expect.stringContaining('2026-01-01') }]);
  expect(off).toEqual([
    {
      kind: 'samples',
      code: 'clock',
      reason: expect.any(String),
      count: 4,
      truncated: false,
      raw: [
        [id, NOW - CLOCK_OFF_MS_MAX - 1, 1],
        [id, NOW + FAR, 2 ** 53],
        [id, NOW + FAR + 1, 'nan:7ff0000000000002'],
        [id, NOW + FAR + 2, 0.25],
      ],
    },
  ]);
});

test('a body in order is given back as it is, copied by nobody', () => {
  const target = freshTarget();
  const series: TestSeries = { labels: [['__name__', 'x']], samples: [[NOW, 1]] };
  const decoded = taken(decodeRemoteWrite(writeRequest(series), target));
  const samples = target.columns.take();
  const result = checkClock(decoded, samples, NOW);
  expect(result.decoded).toBe(decoded);
  expect(result.samples).toBe(samples);
  expect(result.off).toEqual([]);
});

test('whatever the widths of the columns, each row that stays keeps its id, time and value', () => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = seededRandom(seed);
    const magnitude = [1e3, 1e6, 1e12][seed % 3] ?? 1;
    const points = Array.from({ length: 1 + integerBelow(random, 40) }, (_, index): [number, number] => [
      NOW + index + (integerBelow(random, 3) === 0 ? FAR : 0),
      Math.round(random.next() * magnitude) / (seed % 2 === 0 ? 1 : 100),
    ]);
    const { samples } = checked({ labels: [['__name__', 'x']], samples: points });
    const kept = points.filter(([at_ms]) => at_ms < NOW + FAR).map(([at_ms, value]) => [at_ms, bitsOf(value)]);
    expect(
      rowsOf(samples).map(({ at_ms, bits }) => [at_ms, bits]),
      `seed ${seed}`,
    ).toEqual(kept);
  }
});

test('histograms and exemplars are judged too; an exemplar without a time is not', () => {
  const target = freshTarget();
  const point = (at_ms: number) => histogramPoint({ at_ms, count: 1n, sum: 1, counts: [1n, 0n], bounds: [1] });
  const body = otlpRequest([
    { metrics: [{ name: 'h', histogram: { points: [point(NOW), point(NOW - FAR)], temporality: 2 } }] },
  ]);
  const { decoded, off } = checkClock(taken(decodeOtlpMetrics(body, target)), target.columns.take(), NOW);
  expect(decoded.histograms.map(({ at_ms }) => at_ms)).toEqual([NOW]);
  expect(off).toMatchObject([{ kind: 'histograms', count: 1, raw: [{ at_ms: NOW - FAR }] }]);
  expect(partialSuccessOf(decoded)).toMatchObject({
    rejected_points_count: 1,
    message: expect.stringMatching(/^1 × clock: /),
  });

  const exemplars = [0, NOW, NOW + FAR].map((at_ms) => ({ labels: { trace: 'a' }, value: 1, at_ms }));
  const told = checked({ labels: [['__name__', 'x']], samples: [[NOW, 1]], exemplars });
  expect(told.decoded.exemplars.map(({ at_ms }) => at_ms)).toEqual([0, NOW]);
  expect(told.decoded).toMatchObject({ rejected_points_count: 0, rejections: [{ code: 'exemplar_clock', count: 1 }] });
});

test('of very many only the first 10,000 are kept, all are counted', () => {
  const samples = Array.from({ length: 10_500 }, (_, index): [number, number] => [NOW + FAR + index, index]);
  const { off, samples: left } = checked({ labels: [['__name__', 'x']], samples });
  expect(left.rows).toBe(0);
  expect(off).toMatchObject([{ count: 10_500, truncated: true }]);
  expect(off[0]?.raw).toHaveLength(10_000);
});
