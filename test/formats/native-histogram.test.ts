import { expect, test } from 'vitest';
import { bitsOfExact } from '../../src/formats/exact-number.ts';
import { decodeRemoteWrite } from '../../src/formats/remote-write.ts';
import { double, fixed, joined, message, packedDoubles, packedSints, sint, uint } from './protobuf-writer.ts';
import { integerHistogram, writeRequest } from './remote-write-messages.ts';
import { freshTarget, taken } from './sample-rows.ts';

const AT = 1_763_596_800_123;
const LABELS = [['__name__', 'h']] as const;
const decode = (histogram: Uint8Array) =>
  taken(decodeRemoteWrite(writeRequest({ labels: LABELS, histograms: [histogram] }), freshTarget()));

test('an integer histogram comes out with counts for its deltas', () => {
  // positive deltas 1, 1, -1, 0 → counts 1, 2, 1, 1; negative 2, 1 → 2, 3; zero bucket 1: 1+2+1+1 + 2+3 + 1 = 11
  const histogram = integerHistogram({
    count: 11,
    sum: 18.4,
    at_ms: AT,
    schema: 1,
    zero: 1,
    spans: [
      [0, 2],
      [1, 2],
    ],
    deltas: [1, 1, -1, 0],
    negative: { spans: [[-3, 2]], deltas: [2, 1] },
    hint: 2,
    start_ms: AT - 5,
  });
  expect(decode(histogram).histograms).toEqual([
    {
      series: expect.stringMatching(/^\d+$/),
      at_ms: AT,
      count: 11,
      sum: 18.4,
      min: null,
      max: null,
      schema: 1,
      zero_threshold: 0.001,
      zero_count: 1,
      positive_spans: [
        { offset: 0, length: 2 },
        { offset: 1, length: 2 },
      ],
      positive_buckets: [1, 2, 1, 1],
      negative_spans: [{ offset: -3, length: 2 }],
      negative_buckets: [2, 3],
      custom_values: [],
      reset_hint: 'no',
      start_ms: AT - 5,
      is_float: false,
      stale: false,
    },
  ]);
});

test('counts above 2^53 stay exact', () => {
  const huge = 2n ** 60n + 1n;
  const [row] = decode(
    integerHistogram({ count: huge, sum: 1, at_ms: AT, spans: [[0, 1]], deltas: [huge] }),
  ).histograms;
  expect([row?.count, row?.positive_buckets]).toEqual([huge.toString(), [huge.toString()]]);
});

test('a float histogram comes out with its counts', () => {
  const span = message(11, sint(1, -2), uint(2, 2));
  const histogram = joined(
    double(2, 3.5),
    double(3, -1),
    sint(4, 3),
    double(7, 0.5),
    span,
    packedDoubles(13, [1.25, 1.75]),
    uint(14, 3),
    uint(15, AT),
  );
  expect(decode(histogram).histograms).toMatchObject([
    {
      count: 3.5,
      sum: -1,
      schema: 3,
      zero_count: 0.5,
      positive_buckets: [1.25, 1.75],
      reset_hint: 'gauge',
      is_float: true,
      start_ms: 0,
    },
  ]);
});

test('custom buckets come out with their bounds', () => {
  const histogram = integerHistogram({
    count: 6,
    sum: 9,
    at_ms: AT,
    schema: -53,
    custom: [0.1, 1, 5],
    spans: [[1, 3]],
    deltas: [1, 1, 1],
  });
  expect(decode(histogram).histograms).toMatchObject([
    {
      schema: -53,
      custom_values: [0.1, 1, 5],
      positive_spans: [{ offset: 1, length: 3 }],
      positive_buckets: [1, 2, 3],
    },
  ]);
});

test('numbers may be packed or not', () => {
  const unpacked = joined(
    uint(1, 3),
    double(3, 1),
    message(11, sint(1, 0), uint(2, 2)),
    sint(12, 1),
    sint(12, 1),
    uint(15, AT),
  );
  expect(decode(unpacked).histograms).toMatchObject([{ positive_buckets: [1, 2] }]);
});

test('a stale histogram is told as such and its sum keeps its bits', () => {
  const [row] = decode(joined(fixed(3, 0x7ff0000000000002n), uint(15, AT))).histograms;
  expect(row).toMatchObject({ stale: true });
  expect(bitsOfExact(row?.sum ?? 0)).toBe(0x7ff0000000000002n);
});

test('an empty histogram is one', () => {
  expect(decode(integerHistogram({ count: 0, sum: 0, at_ms: AT })).histograms).toMatchObject([
    { count: 0, positive_buckets: [] },
  ]);
});

const good = { count: 3, sum: 1, at_ms: AT, spans: [[0, 2]], deltas: [1, 1] } as const;

test.each([
  ['buckets that do not add up', integerHistogram({ ...good, count: 4 })],
  ['a bucket below zero', integerHistogram({ ...good, count: 0, deltas: [1, -2] })],
  ['fewer buckets than its spans', integerHistogram({ ...good, deltas: [1] })],
  ['more buckets than its spans', integerHistogram({ ...good, deltas: [1, 1, 1] })],
  [
    'spans that overlap',
    integerHistogram({
      ...good,
      spans: [
        [0, 1],
        [-1, 1],
      ],
    }),
  ],
  ['schema 9', integerHistogram({ ...good, schema: 9 })],
  ['schema -5', integerHistogram({ ...good, schema: -5 })],
  ['bounds without schema -53', integerHistogram({ ...good, custom: [1] })],
  ['bounds that fall', integerHistogram({ ...good, schema: -53, custom: [2, 1] })],
  ['an infinite bound', integerHistogram({ ...good, schema: -53, custom: [1, Infinity] })],
  ['buckets beyond its bounds', integerHistogram({ ...good, schema: -53, custom: [] })],
  [
    'custom and negative buckets',
    integerHistogram({ ...good, schema: -53, custom: [1], negative: { spans: [[0, 1]], deltas: [0] } }),
  ],
  ['a negative float bucket', joined(double(2, 1), message(11, uint(2, 1)), packedDoubles(13, [-1]), uint(15, AT))],
])('a histogram with %s is refused', (_, histogram) => {
  expect(decode(histogram)).toMatchObject({ histograms: [], rejections: [{ code: 'histogram', count: 1 }] });
});

test('with a sum of NaN, observations outside the buckets are allowed', () => {
  expect(decode(integerHistogram({ ...good, count: 5, sum: NaN })).histograms).toHaveLength(1);
  expect(decode(integerHistogram({ ...good, count: 2, sum: NaN })).histograms).toHaveLength(0);
});

test('a histogram of an implausible time is refused', () => {
  expect(decode(integerHistogram({ ...good, at_ms: 1 }))).toMatchObject({
    histograms: [],
    rejections: [{ code: 'time' }],
  });
});

test('an implausible start is an unknown one', () => {
  expect(decode(integerHistogram({ ...good, start_ms: 5 })).histograms).toMatchObject([{ start_ms: 0 }]);
});

test('a histogram with buckets without end rejects the body before they are kept', () => {
  const body = writeRequest({
    labels: LABELS,
    histograms: [
      packedSints(
        12,
        Array.from({ length: 5_000 }, () => 0),
      ),
    ],
  });
  expect(decodeRemoteWrite(body, freshTarget())).toMatchObject({
    kind: 'reject',
    code: 'LW-BODY',
    reason: expect.stringContaining('4096 buckets'),
  });
});
