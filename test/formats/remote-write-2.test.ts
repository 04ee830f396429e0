import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeRemoteWrite } from '../../src/formats/remote-write.ts';
import { decodeRemoteWrite2 } from '../../src/formats/remote-write-2.ts';
import { bytes, double, joined, message, packedVarints, text, uint } from './protobuf-writer.ts';
import { integerHistogram, request2, type TestSeries, writeRequest } from './remote-write-messages.ts';
import { freshTarget, readable, rowsOf, taken } from './sample-rows.ts';

const AT = 1_763_596_800_123;
const UP = [
  ['__name__', 'up'],
  ['job', 'gpu'],
] as const;
const symbols = (...all: readonly string[]) => joined(...all.map((symbol) => text(4, symbol)));
const sample = (value: number, at_ms = AT) => message(2, double(1, value), uint(2, at_ms));
const histogram = bytes(3, integerHistogram({ count: 1, sum: 1, at_ms: AT, spans: [[0, 1]], deltas: [1] }));

test('samples come out under their series, with the description in the announcement', () => {
  const target = freshTarget();
  const body = request2(
    {
      labels: UP,
      samples: [
        [AT, 1],
        [AT + 1_000, 0],
      ],
      metadata: { type: 2, help: 'Whether it is up.', unit: '1' },
    },
    { labels: [['__name__', 'temp']], samples: [[AT, 36.6]] },
  );
  expect(taken(decodeRemoteWrite2(body, target))).toMatchObject({ samples_count: 3, rejections: [], metadata: [] });
  const first = readable(target);
  expect(first.samples).toEqual({
    'up{job="gpu"}': [
      [AT, 1],
      [AT + 1_000, 0],
    ],
    'temp{}': [[AT, 36.6]],
  });
  expect(first.series).toMatchObject([
    { metric: 'up', kind: 'gauge', help: 'Whether it is up.', unit: '1' },
    { metric: 'temp', kind: 'unknown', help: '', unit: '' },
  ]);
  expect(taken(decodeRemoteWrite2(body, target)).metadata).toEqual([]);
  expect(readable(target, first.series)).toEqual({ samples: first.samples, series: [] });
});

test('a description that comes or changes after the announcement announces its own series again, once', () => {
  const target = freshTarget();
  const series = (help: string, job = 'gpu') => {
    const labels = [
      ['__name__', 'up'],
      ['job', job],
    ] as const; // prettier-ignore
    return { labels, samples: [[AT, 1]], ...(help === '' ? {} : { metadata: { type: 1, help, unit: '' } }) } as const;
  };
  const announced = (...all: readonly TestSeries[]) => {
    expect(taken(decodeRemoteWrite2(request2(...all), target))).toMatchObject({ metadata: [], rejections: [] });
    return target.book.drainNew();
  };
  const [gpu, cpu] = announced(series(''), series('other', 'cpu'));
  expect([gpu?.help, cpu?.help]).toEqual(['', 'other']);
  const described = { ...gpu, kind: 'counter', help: 'old' };
  expect(announced(series('old'), series('other', 'cpu'))).toEqual([described]);
  expect(announced(series('new'))).toEqual([{ ...described, help: 'new' }]);
  expect(announced(series('new'))).toEqual([]);
  expect(announced(series(''))).toEqual([]);
});

test('the same series by either version has one id', () => {
  const target = freshTarget();
  taken(decodeRemoteWrite(writeRequest({ labels: UP, samples: [[AT, 1]] }), target));
  taken(decodeRemoteWrite2(request2({ labels: UP, samples: [[AT, 2]] }), target));
  expect(readable(target).samples).toEqual({
    'up{job="gpu"}': [
      [AT, 1],
      [AT, 2],
    ],
  });
});

test.each([
  ['a reference out of range', packedVarints(1, [1, 99]), [sample(1)], 'symbol_ref', 1],
  ['an odd number of references', packedVarints(1, [1, 2, 3]), [sample(1)], 'label_refs', 1],
  ['no references', joined(), [sample(1), sample(2)], 'missing_name', 2],
  ['samples and histograms', packedVarints(1, [1, 2]), [sample(1), histogram], 'mixed_series', 2],
  ['neither samples nor histograms', packedVarints(1, [1, 2]), [], 'empty_series', 1],
  [
    'a description out of range',
    packedVarints(1, [1, 2]),
    [sample(1), message(5, uint(1, 1), uint(3, 77))],
    'symbol_ref',
    1,
  ],
  ['a label twice', packedVarints(1, [1, 2, 3, 4, 3, 4]), [sample(1)], 'duplicate_label', 1],
  ['an empty label name', packedVarints(1, [1, 2, 0, 4]), [sample(1)], 'empty_label_name', 1],
  ['no metric name', packedVarints(1, [3, 4]), [sample(1)], 'missing_name', 1],
])('a series with %s is refused, its neighbours are taken', (_, refs, parts, code, count) => {
  const good = message(5, packedVarints(1, [1, 2, 3, 4]), sample(7));
  const body = joined(symbols('', '__name__', 'up', 'job', 'gpu'), good, message(5, refs, ...parts), good);
  const target = freshTarget();
  const decoded = taken(decodeRemoteWrite2(body, target));
  expect(decoded).toMatchObject({ samples_count: 2, histograms: [], rejections: [{ code, count }] });
  expect(readable(target).samples).toEqual({
    'up{job="gpu"}': [
      [AT, 7],
      [AT, 7],
    ],
  });
});

test('a first symbol that is not empty rejects the body', () => {
  const body = joined(symbols('__name__', 'up'), message(5, packedVarints(1, [0, 1]), sample(1)));
  expect(decodeRemoteWrite2(body, freshTarget())).toMatchObject({
    kind: 'reject',
    code: 'LW-BODY',
    reason: expect.stringContaining('first symbol'),
  });
});

test('a body of version 1.0 sent as 2.0 holds no series: nothing is taken, nothing is refused in silence', () => {
  const body = writeRequest({ labels: UP, samples: [[AT, 1]] });
  expect(taken(decodeRemoteWrite2(body, freshTarget()))).toMatchObject({ samples_count: 0, rejections: [] });
});

test('symbols after their series, references not packed, split or late are read', () => {
  const refs = (...values: readonly number[]) => joined(...values.map((value) => uint(1, value)));
  const body = joined(
    message(5, refs(1, 2, 3, 4), sample(1)),
    message(5, sample(2), packedVarints(1, [1, 2, 3, 4])),
    message(5, packedVarints(1, [1, 2]), sample(3), packedVarints(1, [3, 4])),
    message(5, packedVarints(1, [1, 2]), packedVarints(1, [3]), refs(4), sample(4)),
    symbols('', '__name__', 'up', 'job', 'gpu'),
  );
  const target = freshTarget();
  expect(taken(decodeRemoteWrite2(body, target)).rejections).toEqual([]);
  expect(readable(target).samples).toEqual({ 'up{job="gpu"}': [1, 2, 3, 4].map((value) => [AT, value]) });
});

test('symbols that are not UTF-8 cost the series that use them', () => {
  const body = joined(
    symbols('', '__name__', 'up'),
    bytes(4, Uint8Array.of(0xff)),
    message(5, packedVarints(1, [1, 3]), sample(1)),
    message(5, packedVarints(1, [1, 2]), sample(2)),
  );
  expect(taken(decodeRemoteWrite2(body, freshTarget()))).toMatchObject({
    samples_count: 1,
    rejections: [{ code: 'utf8', count: 1 }],
  });
});

test('histograms take the start of their series (rc.3), unless they carry their own (rc.4)', () => {
  const own = bytes(3, integerHistogram({ count: 0, sum: 0, at_ms: AT, start_ms: AT - 1 }));
  const without = bytes(3, integerHistogram({ count: 0, sum: 0, at_ms: AT }));
  const body = joined(
    symbols('', '__name__', 'h'),
    message(5, packedVarints(1, [1, 2]), own, without, uint(6, AT - 9)),
  );
  expect(taken(decodeRemoteWrite2(body, freshTarget())).histograms.map((row) => row.start_ms)).toEqual([
    AT - 1,
    AT - 9,
  ]);
});

test('a start timestamp on a sample (rc.4) is passed over', () => {
  const body = joined(
    symbols('', '__name__', 'up'),
    message(5, packedVarints(1, [1, 2]), message(2, double(1, 3), uint(2, AT), uint(3, AT - 5))),
  );
  const target = freshTarget();
  taken(decodeRemoteWrite2(body, target));
  expect(readable(target).samples).toEqual({ 'up{}': [[AT, 3]] });
});

test('exemplars come out with their labels; one without labels, or with wrong references, is refused alone', () => {
  const good = message(4, packedVarints(1, [3, 4]), double(2, 0.5), uint(3, AT));
  const bad = [message(4, double(2, 1)), message(4, packedVarints(1, [3])), message(4, packedVarints(1, [3, 99]))];
  const body = joined(
    symbols('', '__name__', 'up', 'trace_id', 'abc'),
    message(5, packedVarints(1, [1, 2]), sample(1), good, ...bad),
  );
  const target = freshTarget();
  const decoded = taken(decodeRemoteWrite2(body, target));
  expect(decoded).toMatchObject({
    samples_count: 1,
    rejected_points_count: 0,
    rejections: [
      { code: 'exemplar_labels', count: 1 },
      { code: 'label_refs', count: 1 },
      { code: 'symbol_ref', count: 1 },
    ],
  });
  expect(decoded.exemplars).toEqual([
    { series: target.book.drainNew()[0]?.id, at_ms: AT, value: 0.5, labels: { trace_id: 'abc' } },
  ]);
});

test('a truncated body leaves nothing behind', () => {
  const body = request2({ labels: UP, samples: [[AT, 1]], exemplars: [{ labels: { t: '1' }, value: 1, at_ms: AT }] });
  const series_at = body.lastIndexOf(42); // the tag of the series, the last field
  for (let length = series_at + 1; length < body.length; length++) {
    const target = freshTarget();
    expect(decodeRemoteWrite2(body.subarray(0, length), target)).toMatchObject({ kind: 'reject', code: 'LW-BODY' });
    expect(target.columns.rows).toBe(0);
  }
});

const name = fc.constantFrom('up', 'temp', 'é', '__proto__');
const series: fc.Arbitrary<TestSeries> = fc.record({
  labels: fc
    .tuple(
      name,
      fc.dictionary(fc.constantFrom('a', 'b', 'job'), fc.string({ minLength: 1, maxLength: 3, unit: 'grapheme' })),
    )
    .map(([metric, rest]) => [['__name__', metric] as const, ...Object.entries(rest)]),
  samples: fc.array(fc.tuple(fc.integer({ min: 1e12, max: 4e12 }), fc.double()), { minLength: 1, maxLength: 3 }),
});

test('both versions of a message give the same series and the same rows', () => {
  const [first, second] = [freshTarget(), freshTarget()];
  fc.assert(
    fc.property(fc.array(series, { maxLength: 8 }), (message1) => {
      const one = taken(decodeRemoteWrite(writeRequest(...message1), first));
      const two = taken(decodeRemoteWrite2(request2(...message1), second));
      expect(two).toEqual(one);
      expect(one.samples_count).toBe(message1.reduce((sum, { samples }) => sum + (samples?.length ?? 0), 0));
      expect(second.book.drainNew()).toEqual(first.book.drainNew());
      expect(rowsOf(second.columns.take())).toEqual(rowsOf(first.columns.take()));
    }),
    { numRuns: 300 },
  );
});
