import { expect, test } from 'vitest';
import { decodeRemoteWrite } from '../../src/formats/remote-write.ts';
import { bytes, double, fixed, joined, message, text, uint } from './protobuf-writer.ts';
import { integerHistogram, series1, writeRequest } from './remote-write-messages.ts';
import { bitsOf, freshTarget, readable, rowsOf, taken } from './sample-rows.ts';

const AT = 1_763_596_800_123;
const UP = [
  ['__name__', 'up'],
  ['job', 'gpu'],
] as const;

test('samples come out under their series with value and time, and the second body needs no announcement', () => {
  const target = freshTarget();
  const body = writeRequest(
    {
      labels: UP,
      samples: [
        [AT, 1],
        [AT + 1_000, 0],
      ],
    },
    {
      labels: [
        ['__name__', 'temp'],
        ['gpu', '0'],
      ],
      samples: [[AT, 36.6]],
    },
  );
  expect(taken(decodeRemoteWrite(body, target))).toMatchObject({ samples_count: 3, rejections: [] });
  const first = readable(target);
  expect(first.samples).toEqual({
    'up{job="gpu"}': [
      [AT, 1],
      [AT + 1_000, 0],
    ],
    'temp{gpu="0"}': [[AT, 36.6]],
  });
  taken(decodeRemoteWrite(body, target));
  const second = readable(target, first.series);
  expect(second.series).toEqual([]);
  expect(second.samples).toEqual(first.samples);
});

test("a body of the format's own bytes, written out by hand, is read", () => {
  // TimeSeries { labels { "__name__": "a" } samples { value: 1.5, timestamp: 1763596800123 } }
  const at: number[] = [];
  for (let rest = AT; rest > 0; rest = Math.floor(rest / 128)) at.push((rest % 128) + (rest >= 128 ? 128 : 0));
  const sample = [0x09, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0x10, ...at]; // 1.5 = 0x3ff8000000000000
  const label = [0x0a, 13, 0x0a, 8, ...Buffer.from('__name__'), 0x12, 1, 0x61];
  const series = [...label, 0x12, sample.length, ...sample];
  const target = freshTarget();
  taken(decodeRemoteWrite(Uint8Array.from([0x0a, series.length, ...series]), target));
  expect(readable(target).samples).toEqual({ 'a{}': [[AT, 1.5]] });
});

test('labels in any order are the same series', () => {
  const target = freshTarget();
  taken(
    decodeRemoteWrite(
      writeRequest({ labels: UP, samples: [[AT, 1]] }, { labels: UP.toReversed(), samples: [[AT, 2]] }),
      target,
    ),
  );
  expect(readable(target).samples).toEqual({
    'up{job="gpu"}': [
      [AT, 1],
      [AT, 2],
    ],
  });
});

test('labels after and between the samples are found, as protobuf leaves the order free', () => {
  const label = (name: string, value: string) => message(1, text(1, name), text(2, value));
  const sample = (value: number) => message(2, double(1, value), uint(2, AT));
  const target = freshTarget();
  const scattered = joined(
    message(1, sample(1), label('__name__', 'up'), label('job', 'gpu')),
    message(1, label('__name__', 'up'), sample(2), label('job', 'gpu'), sample(3)),
    message(
      1,
      label('__name__', 'up'),
      bytes(4, integerHistogram({ count: 0, sum: 0, at_ms: AT })),
      label('job', 'gpu'),
    ),
  );
  const decoded = taken(decodeRemoteWrite(scattered, target));
  const { samples, series } = readable(target);
  expect(samples['up{job="gpu"}']).toEqual([
    [AT, 1],
    [AT, 2],
    [AT, 3],
  ]);
  expect(decoded.histograms.map((row) => row.series)).toEqual([series.find((row) => row.labels['job'] === 'gpu')?.id]);
});

test('a label whose field number takes two bytes is refused, and is not looked for without end', () => {
  const label = joined(text(1, '__name__'), text(2, 'up'));
  const overlong = joined(Uint8Array.of(0x8a, 0x00, label.length), label);
  const sample = message(2, double(1, 1), uint(2, AT));
  for (const series of [joined(overlong, sample), joined(message(1, label), sample, overlong, sample)])
    expect(decodeRemoteWrite(message(1, series), freshTarget())).toMatchObject({ kind: 'reject', code: 'LW-BODY' });
});

test('the stale marker and other special values keep every bit', () => {
  const special = [
    0x7ff0000000000002n,
    bitsOf(Infinity),
    bitsOf(-Infinity),
    bitsOf(-0),
    bitsOf(5e-324),
    0xfff8000000000001n,
  ];
  const target = freshTarget();
  taken(decodeRemoteWrite(writeRequest({ labels: UP, samples: special.map((bits) => [AT, bits] as const) }), target));
  expect(rowsOf(target.columns.take()).map((row) => row.bits)).toEqual(special);
});

test('a sample whose value is left out is 0, as proto3 has it', () => {
  const target = freshTarget();
  const body = message(1, message(1, text(1, '__name__'), text(2, 'up')), message(2, uint(2, AT)));
  taken(decodeRemoteWrite(body, target));
  expect(readable(target).samples).toEqual({ 'up{}': [[AT, 0]] });
});

test.each([
  ['no metric name', [['job', 'gpu']], 'missing_name'],
  [
    'an empty metric name',
    [
      ['__name__', ''],
      ['job', 'gpu'],
    ],
    'missing_name',
  ],
  [
    'an empty label name',
    [
      ['', 'x'],
      ['__name__', 'up'],
    ],
    'empty_label_name',
  ],
  [
    'a label twice',
    [
      ['__name__', 'up'],
      ['a', '1'],
      ['a', '2'],
    ],
    'duplicate_label',
  ],
  ['65 labels', [['__name__', 'up'], ...Array.from({ length: 64 }, (_, i) => [`l${i}`, 'x'])], 'label_limit'],
  [
    'a value of 2,049 bytes',
    [
      ['__name__', 'up'],
      ['a', 'x'.repeat(2_049)],
    ],
    'label_size',
  ],
  ['no labels', [], 'missing_name'],
] as const)('a series with %s is refused, its neighbours are taken', (_, labels, code) => {
  const target = freshTarget();
  const body = writeRequest(
    { labels: UP, samples: [[AT, 1]] },
    {
      labels: labels as readonly (readonly [string, string])[],
      samples: [
        [AT, 2],
        [AT, 3],
      ],
    },
    { labels: UP, samples: [[AT + 1, 4]] },
  );
  const decoded = taken(decodeRemoteWrite(body, target));
  expect(decoded.samples_count).toBe(2);
  expect(decoded.rejections).toMatchObject([{ code, count: 2 }]);
  expect(readable(target).samples).toEqual({
    'up{job="gpu"}': [
      [AT, 1],
      [AT + 1, 4],
    ],
  });
});

test('a label that is not UTF-8 is refused', () => {
  const body = message(
    1,
    message(1, text(1, '__name__'), bytes(2, Uint8Array.of(0xc3, 0x28))),
    message(2, uint(2, AT)),
  );
  expect(taken(decodeRemoteWrite(body, freshTarget())).rejections).toMatchObject([{ code: 'utf8', count: 1 }]);
});

test('a label with an empty value is no label', () => {
  const target = freshTarget();
  taken(decodeRemoteWrite(writeRequest({ labels: [...UP, ['zone', '']], samples: [[AT, 1]] }), target));
  expect(readable(target).samples).toEqual({ 'up{job="gpu"}': [[AT, 1]] });
});

test('samples of an implausible time are refused one by one: seconds instead of milliseconds, 0, negative', () => {
  const target = freshTarget();
  const times = [AT, 1_763_596_800, 0, -1, AT + 1];
  const decoded = taken(
    decodeRemoteWrite(writeRequest({ labels: UP, samples: times.map((at) => [at, 1] as const) }), target),
  );
  expect(decoded).toMatchObject({
    samples_count: 2,
    rejections: [{ code: 'time', count: 3 }],
    rejected_points_count: 3,
  });
});

test('metadata is told by metric, with its kind', () => {
  const body = message(3, uint(1, 1), text(2, 'requests_total'), text(4, 'How many.'), text(5, 'requests'));
  expect(taken(decodeRemoteWrite(body, freshTarget())).metadata).toEqual([
    { metric: 'requests_total', kind: 'counter', unit: 'requests', help: 'How many.' },
  ]);
});

test('exemplars come out with their series, labels and a value that JSON keeps', () => {
  const target = freshTarget();
  const body = writeRequest({
    labels: UP,
    samples: [[AT, 1]],
    exemplars: [{ labels: { trace_id: 'abc' }, value: NaN, at_ms: AT }],
  });
  const { exemplars } = taken(decodeRemoteWrite(body, target));
  const [series] = readable(target).series;
  expect(exemplars).toEqual([{ series: series?.id, at_ms: AT, value: 'NaN', labels: { trace_id: 'abc' } }]);
});

test('a body that ends in the middle leaves nothing behind', () => {
  const body = writeRequest({ labels: UP, samples: [[AT, 1]] }, { labels: UP, samples: [[AT, 2]] });
  for (let length = 1; length < body.length; length++) {
    const target = freshTarget();
    const outcome = decodeRemoteWrite(body.subarray(0, length), target);
    if (outcome.kind === 'ok')
      expect(outcome.value.samples_count).toBe(1); // cut between the two series
    else expect([outcome.code, target.columns.rows]).toEqual(['LW-BODY', 0]);
  }
});

test('unknown fields of every wire type are passed over', () => {
  const unknown = joined(
    uint(99, 5n),
    fixed(98, 7n),
    text(97, 'x'),
    Uint8Array.of(0x9b, 6, 0x9c, 6),
    Uint8Array.of(0x95, 6, 1, 2, 3, 4),
  );
  const target = freshTarget();
  const series = series1({ labels: UP, samples: [[AT, 1]] });
  const inner = message(
    1,
    message(1, text(1, '__name__'), text(2, 'x')),
    unknown,
    message(2, unknown, uint(2, AT)),
    unknown,
  );
  expect(taken(decodeRemoteWrite(joined(unknown, series, inner, unknown), target))).toMatchObject({
    samples_count: 2,
    rejections: [],
  });
});

test('an exemplar without a time is taken with 0, one of an implausible time is refused alone', () => {
  const exemplars = [0, 5].map((at_ms) => ({ labels: { t: '1' }, value: 1, at_ms }));
  const decoded = taken(decodeRemoteWrite(writeRequest({ labels: UP, samples: [[AT, 1]], exemplars }), freshTarget()));
  expect(decoded).toMatchObject({
    samples_count: 1,
    exemplars: [{ at_ms: 0 }],
    rejections: [{ code: 'exemplar_time', count: 1 }],
    rejected_points_count: 0,
  });
});
