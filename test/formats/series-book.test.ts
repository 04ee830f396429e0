import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeOtlpMetrics } from '../../src/formats/otlp-metrics.ts';
import { decodeRemoteWrite2 } from '../../src/formats/remote-write-2.ts';
import { decodeRemoteWrite } from '../../src/formats/remote-write.ts';
import { SeriesBook, UNDESCRIBED } from '../../src/formats/series-book.ts';
import { canonicalBytes, canonicalLabels, idText, type LabelPair, seriesId } from '../../src/formats/series-labels.ts';
import { numberPoint, otlpRequest } from './otlp-messages.ts';
import { request2, writeRequest } from './remote-write-messages.ts';
import { freshTarget, readable, rowsOf, seriesText, taken } from './sample-rows.ts';

const AT = 1_763_596_800_000;

/** FNV-1a, 64 bits, as draft-eastlake-fnv writes it down. */
function fnv1a64(bytes: Uint8Array): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of bytes) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash;
}

const labels = (metric: string, extra: Readonly<Record<string, string>> = {}): LabelPair[] => [
  ['__name__', metric],
  ...Object.entries(extra),
];

test.each([
  // the authors' own test vectors (isthe.com/chongo/src/fnv/test_fnv.c)
  ['', 0xcbf29ce484222325n],
  ['a', 0xaf63dc4c8601ec8cn],
  ['foobar', 0x85944171f73967e8n],
])('the hash of %j is the published one', (text, hash) => {
  expect(idText(seriesId(new TextEncoder().encode(text)))).toBe(hash.toString());
});

test('the id is FNV-1a of the sorted labels, and does not depend on their order', () => {
  const bytes = Buffer.concat([
    Buffer.from('__name__'),
    Buffer.of(255),
    Buffer.from('up'),
    Buffer.of(255),
    Buffer.from('job'),
    Buffer.of(255),
    Buffer.from('é'),
    Buffer.of(255),
  ]);
  for (const pairs of [labels('up', { job: 'é' }), labels('up', { job: 'é' }).toReversed()]) {
    const canonical = canonicalLabels(pairs);
    if (!('labels' in canonical)) throw new Error(canonical.fault.reason);
    expect(idText(seriesId(canonicalBytes(canonical.labels)))).toBe(fnv1a64(bytes).toString());
  }
});

test('any bytes hash as the definition says', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => idText(seriesId(bytes)) === fnv1a64(bytes).toString()),
  );
});

test('a series is announced once, with a label named __proto__ kept as a label', () => {
  const book = new SeriesBook();
  const hostile: LabelPair[] = [
    ['__name__', 'up'],
    ['__proto__', 'x'],
    ['constructor', 'y'],
  ];
  const series = book.resolve(hostile, UNDESCRIBED);
  expect(book.resolve(hostile, UNDESCRIBED)).toBe(series);
  const [row, ...more] = book.drainNew();
  expect(more).toEqual([]);
  expect(Object.entries(row?.labels ?? {})).toEqual(hostile);
  expect(Object.getPrototypeOf(row?.labels)).toBeNull();
  expect(book.drainNew()).toEqual([]);
});

test('a description is kept up to 2 KiB, whole characters, when it comes first and when it comes again', () => {
  const book = new SeriesBook();
  const help = `${'é'.repeat(1_022)}€uro`; // 2 bytes each: 3 bytes of what is kept are the ellipsis
  const series = book.resolve(labels('a'), { kind: 'gauge', unit: 'x'.repeat(3_000), help });
  expect(book.waiting_bytes).toBe(1 + '__name__a'.length + 2_046 + 1_023);
  book.describe(series, { kind: 'gauge', unit: 's', help });
  expect(book.waiting_bytes).toBe(1 + '__name__a'.length + 1 + 1_023);
  expect(book.drainNew()).toMatchObject([{ unit: 's', help: `${'é'.repeat(1_022)}…` }]);
  expect(book.waiting_bytes).toBe(0);
});

test('series of a refused batch are announced again', () => {
  const book = new SeriesBook();
  book.resolve(labels('a'), UNDESCRIBED);
  const refused = book.drainNew();
  book.resolve(labels('b'), UNDESCRIBED);
  book.returnNew(refused);
  book.returnNew(refused);
  expect(book.drainNew().map((row) => row.metric)).toEqual(['b', 'a']);
});

test('series over the cap become one overflow series a metric, and the offending label is named', () => {
  const target = freshTarget({ series_max: 10 });
  const series = Array.from({ length: 110 }, (_, index) => ({
    labels: labels('requests', { code: index % 2 === 0 ? '200' : '500', user: `u${index}` }),
    samples: [[AT, index]] as const,
  }));
  for (let round = 0; round < 2; round++)
    expect(taken(decodeRemoteWrite(writeRequest(...series), target)).samples_count).toBe(110);
  const { samples, series: announced } = readable(target);
  expect(announced).toHaveLength(11);
  expect(samples['requests{__overflow__="true"}']).toHaveLength(200); // 100 over the cap, twice
  expect(target.book.overflow_count).toBe(200);
  const [worst] = target.book.offenders(5);
  expect(worst).toMatchObject({
    metric: 'requests',
    refused_count: 200,
    labels: [{ name: 'user' }, { name: 'code', values_count: 2 }],
  });
  expect(worst?.labels[0]?.values_count).toBeGreaterThan(80); // 100 values, estimated
  expect(worst?.labels[0]?.values_count).toBeLessThan(120);
});

test('series below the cap keep their identity while others overflow', () => {
  const target = freshTarget({ series_max: 2 });
  const one = { labels: labels('a'), samples: [[AT, 1]] as const };
  taken(
    decodeRemoteWrite(
      writeRequest(one, { labels: labels('b'), samples: [[AT, 2]] }, { labels: labels('c'), samples: [[AT, 3]] }, one),
      target,
    ),
  );
  expect(readable(target).samples).toEqual({
    'a{}': [
      [AT, 1],
      [AT, 1],
    ],
    'b{}': [[AT, 2]],
    'c{__overflow__="true"}': [[AT, 3]],
  });
});

test('endless metric names over the cap do not become endless series', () => {
  const book = new SeriesBook({ series_max: 1 });
  for (let index = 0; index < 5_000; index++) book.resolve(labels(`m${index}`), UNDESCRIBED);
  expect(book.series_count).toBe(1 + 1_000 + 1); // the one, 1,000 overflow series, and the one of all others
});

test('more new series than may wait ask the sender to come again, and the next try goes on where it ended', () => {
  const target = freshTarget({ new_max: 3 });
  const body = writeRequest(
    ...['a', 'b', 'c', 'd', 'e'].map((name) => ({ labels: labels(name), samples: [[AT, 1]] as const })),
  );
  expect(decodeRemoteWrite(body, target)).toMatchObject({ kind: 'retry', code: 'LW-BUSY' });
  expect(target.columns.rows).toBe(0);
  expect(target.book.drainNew().map((row) => row.metric)).toEqual(['a', 'b', 'c']);
  taken(decodeRemoteWrite(body, target));
  expect(target.book.drainNew().map((row) => row.metric)).toEqual(['d', 'e']);
});

test('idle series are forgotten and make room; those that stay keep id and exponent', () => {
  const target = freshTarget({ series_max: 3 });
  const stays = { labels: labels('stays'), samples: [[AT, 0.25]] as const };
  const goes = ['x', 'y'].map((name) => ({ labels: labels(name), samples: [[AT, 1]] as const }));
  taken(decodeRemoteWrite(writeRequest(stays, ...goes), target));
  const before = readable(target);
  expect(target.book.evictIdle()).toBe(0);
  taken(decodeRemoteWrite(writeRequest(stays), target));
  expect(target.book.evictIdle()).toBe(2);
  taken(
    decodeRemoteWrite(
      writeRequest({ ...stays, samples: [[AT, 1]] }, { labels: labels('new'), samples: [[AT, 1]] }),
      target,
    ),
  );
  const rows = rowsOf(target.columns.take());
  expect(rows.map((row) => row.exponent)).toEqual([2, 2, 0]); // 0.25, then 1 at the exponent that 0.25 left
  expect(target.book.drainNew().map(seriesText)).toEqual(['new{}']);
  expect(rows[1]?.id).toBe(before.series.find((row) => row.metric === 'stays')?.id);
});

test('many series, in changing order and with several bodies, are never mixed up', () => {
  const random = fc.shuffledSubarray(
    Array.from({ length: 300 }, (_, index) => index),
    { minLength: 1 },
  );
  const target = freshTarget();
  const known = new Map<string, number>();
  fc.assert(
    fc.property(random, (order) => {
      const series = order.map((index) => ({
        labels: labels(`m${index % 7}`, { i: String(index) }),
        samples: [[AT, index]] as const,
      }));
      taken(decodeRemoteWrite(writeRequest(...series), target));
      for (const row of target.book.drainNew()) known.set(row.id, Number(row.labels['i']));
      const rows = rowsOf(target.columns.take());
      expect(rows.map((row) => known.get(row.id))).toEqual(order);
    }),
    { numRuns: 60 },
  );
  expect(target.book.series_count).toBe(known.size);
});

test('labels are sorted by UTF-8 bytes, where UTF-16 would have another order', () => {
  // U+FF5E (ef bd 9e) is before U+1F600 (f0 9f 98 80), whose first UTF-16 unit d83d is below ff5e
  const canonical = canonicalLabels([
    ['\u{1f600}', '1'],
    ['\uff5e', '2'],
    ['__name__', 'm'],
  ]);
  expect('labels' in canonical && canonical.labels.map(([name]) => name)).toEqual(['__name__', '\uff5e', '\u{1f600}']);
});

test('any texts are named by their UTF-8 bytes, long ones and those beyond ASCII too', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 40 }), fc.nat(300), (text, times) => {
      const value = text.repeat(times);
      const bytes = Buffer.concat([Buffer.from('__name__'), Buffer.of(255), Buffer.from(value), Buffer.of(255)]);
      return Buffer.compare(canonicalBytes([['__name__', value]]), bytes) === 0;
    }),
    { numRuns: 200 },
  );
});

test('a cache that is full of other spellings of the same series still finds them, and starts again', () => {
  const target = freshTarget({ series_max: 2 }); // keys for 4 spellings
  const pairs = labels('m', { a: '1', b: '2', c: '3' });
  const spellings = pairs.map((_, first) => [...pairs.slice(first), ...pairs.slice(0, first)]);
  const all = [...spellings, ...spellings.map((one) => one.toReversed())];
  for (let round = 0; round < 3; round++) {
    const body = writeRequest(...all.map((one) => ({ labels: one, samples: [[AT, 1]] as const })));
    expect(taken(decodeRemoteWrite(body, target)).samples_count).toBe(8);
  }
  expect(target.book.series_count).toBe(1);
  expect(new Set(rowsOf(target.columns.take()).map((row) => row.id)).size).toBe(1);
});

test('contexts and symbols that were forgotten are learnt again without mixing series up', () => {
  const target = freshTarget();
  const names = new Map<string, string>();
  const check = (first: string): void => {
    for (const metric of [first, 'b', 'c']) {
      const gauge = [numberPoint({ at_ms: AT, value: 1, attributes: { gpu: '0' } })];
      taken(decodeOtlpMetrics(otlpRequest([{ metrics: [{ name: metric, gauge }] }]), target));
      const series = labels(metric, { gpu: '0' });
      taken(decodeRemoteWrite2(request2({ labels: series, samples: [[AT, 1]] }), target));
      for (const row of target.book.drainNew()) names.set(row.id, row.metric);
      expect(rowsOf(target.columns.take()).map((row) => names.get(row.id))).toEqual([metric, metric]);
    }
  };
  check('a');
  target.book.evictIdle();
  check('d'); // not a: it is evicted next, and with it all keys, contexts and symbols
  expect(target.book.evictIdle()).toBe(1);
  check('e');
});
