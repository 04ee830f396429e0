import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { canonicalJson } from '../../src/core/canonical.ts';
import { LIMITS } from '../../src/core/limits.ts';
import { seededRandom } from '../../src/core/random.ts';
import { RECORD_TYPES } from '../../src/core/records.ts';
import {
  decodeLink,
  encodeLink,
  type LinkFrame,
  type LinkGap,
  type LinkMessage,
} from '../../src/formats/link-batch.ts';
import { LinkReader, LinkWriter } from '../../src/formats/link-bytes.ts';
import { readIntegers, writeIntegers } from '../../src/formats/link-integers.ts';
import { readValue, writeValue } from '../../src/formats/link-values.ts';
import { anyRecord } from '../contract/any-record.ts';

const NAME = { source: 'nvidia@node-1', epoch: 9_007_199_254_740_991, sequence: 1 };

function roundTrip(message: LinkMessage): LinkMessage {
  const decoded = decodeLink(encodeLink(message));
  if (decoded.kind !== 'ok') throw new Error(JSON.stringify(decoded));
  return decoded.value;
}

function recordsBack(records: readonly object[]): readonly object[] {
  return roundTrip({ frames: [{ ...NAME, records }], gaps: [] }).frames[0]?.records ?? [];
}

/** One field over rows, as records of a type that the codec knows nothing of. */
function valuesBack(values: readonly unknown[]): unknown[] {
  const rows = values.map((value) => ({ type: 'anything', value }));
  return recordsBack(rows).map((record) => Reflect.get(record, 'value') as unknown);
}

/** The least and largest numbers that are told apart, and what JSON cannot say. */
const SPECIAL = [
  Number.NaN,
  Infinity,
  -Infinity,
  -0,
  0,
  Number.MIN_VALUE,
  Number.MAX_VALUE,
  Number.MAX_SAFE_INTEGER,
  Number.MIN_SAFE_INTEGER,
  2 ** 53,
  -(2 ** 53),
  2 ** 63,
  0.1 + 0.2,
  1e-7,
  123_456.789,
];

describe('values', () => {
  test('each special number comes back bit for bit, alone and beside others', () => {
    for (const value of SPECIAL) {
      expect(valuesBack([value])).toEqual([value]);
      for (const other of SPECIAL) expect(valuesBack([value, other, value])).toEqual([value, other, value]);
    }
    expect(Object.is(valuesBack([-0])[0], -0)).toBe(true); // toEqual tells -0 from 0 too
  });

  test('counters beyond 2^53 are texts, empty texts and lone surrogates come back as they were', () => {
    const texts = ['9007199254740993', '18446744073709551615', '', '\u0000', '\ud800', 'a\udfff', 'Zürich 🚀', '日本'];
    expect(valuesBack(texts)).toEqual(texts);
    for (const text of texts) expect(valuesBack([text, text])).toEqual([text, text]);
  });

  test('a field that a record lacks is absent again, one that is null is null', () => {
    const rows = [{ type: 'x', a: 1 }, { type: 'x', b: null }, { type: 'x', a: undefined, b: false }, { type: 'x' }];
    expect(recordsBack(rows)).toEqual([
      { type: 'x', a: 1 },
      { type: 'x', b: null },
      { type: 'x', b: false },
      { type: 'x' },
    ]);
    expect(Object.hasOwn(recordsBack(rows)[2] ?? {}, 'a')).toBe(false);
  });

  test('a text and an object whose encoding is that text are told apart', () => {
    const writer = new LinkWriter();
    writeValue(writer, { a: 1 });
    const values = [{ a: 1 }, writer.take().toString('latin1'), { a: 1 }];
    expect(valuesBack(values)).toEqual(values);
  });

  test('any column of doubles comes back bit for bit', () => {
    const double = fc.oneof(fc.double(), fc.maxSafeInteger(), fc.integer(), fc.constantFrom(...SPECIAL));
    fc.assert(
      fc.property(fc.array(double, { minLength: 1, maxLength: 300 }), (values) => {
        const back = valuesBack(values);
        expect(back.every((value, index) => Object.is(value, values[index]))).toBe(true);
      }),
    );
  });

  test('any mixture of values of any shape comes back', () => {
    const leaf = [fc.double(), fc.string({ unit: 'binary' }), fc.boolean(), fc.constant(null)];
    const value = fc.anything({ maxDepth: 4, key: fc.string(), values: leaf, withNullPrototype: false });
    const json = value.filter((one) => one !== undefined);
    fc.assert(
      fc.property(fc.array(json, { minLength: 1, maxLength: 20 }), (values) => {
        expect(valuesBack(values)).toEqual(values);
      }),
    );
  });

  test('any valid record of each type comes back equal', () => {
    for (const type of RECORD_TYPES)
      fc.assert(
        fc.property(fc.array(anyRecord(type), { minLength: 1, maxLength: 10 }), (records) => {
          expect(recordsBack(records)).toEqual(records);
        }),
        { numRuns: 20 },
      );
  });
});

describe('columns of integers', () => {
  function back(values: readonly number[], period: number): { readonly values: number[]; readonly bytes: number } {
    const writer = new LinkWriter();
    writeIntegers(writer, Float64Array.from(values), period);
    const bytes = writer.take();
    const reader = new LinkReader(bytes, 1_000_000);
    const read = [...readIntegers(reader, values.length)];
    expect(reader.rest_bytes).toBe(0);
    return { values: read, bytes: bytes.length };
  }

  test('any safe integers come back, with and without a period', () => {
    const column = fc.array(fc.oneof(fc.maxSafeInteger(), fc.integer({ min: -9, max: 9 })), { maxLength: 400 });
    fc.assert(
      fc.property(column, fc.integer({ min: 0, max: 20 }), (values, period) => {
        expect(back(values, period).values).toEqual(values);
      }),
    );
  });

  test('the widest range there is, and both ends of it, come back', () => {
    const values = [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, 0, -1, 1, Number.MIN_SAFE_INTEGER];
    for (const period of [0, 1, 2]) expect(back(values, period).values).toEqual(values);
  });

  test('counters that 8 subjects raise in turn cost the bits of their noise', () => {
    const random = seededRandom(1);
    const totals = Array.from({ length: 8 }, () => Math.floor(random.next() * 1e12));
    const values = Array.from({ length: 80 }, (_, row) => {
      const subject = row % 8;
      totals[subject] = (totals[subject] ?? 0) + 650_000 + Math.floor(random.next() * 1024);
      return totals[subject] ?? 0;
    });
    const { values: read, bytes } = back(values, 8);
    expect(read).toEqual(values);
    // 8 totals of 40 bits; 72 rises within 1,024 of each other: 10 bits, 11 where their base is rounded down
    expect(bytes).toBeLessThanOrEqual((8 * 40) / 8 + (72 * 11) / 8 + 16);
  });

  test('sizes that come in mebibytes cost the bits of their count', () => {
    const values = Array.from({ length: 64 }, (_, row) => (1000 + ((row * 37) % 64)) * 2 ** 20);
    expect(back(values, 0)).toMatchObject({ values, bytes: 4 + (64 * 6) / 8 }); // head: width, shift, base in two bytes
  });
});

describe('messages', () => {
  const frame = (sequence: number, records: readonly object[], source = NAME.source): LinkFrame => ({
    source,
    epoch: NAME.epoch,
    sequence,
    records,
  });

  test('frames of several sources and types keep their names, records and order within a type', () => {
    const frames = [
      frame(1, [
        { type: 'gpu', node: 'n', gpu: 0, at_ms: 1.5 },
        { type: 'gpu', node: 'n', gpu: 1, at_ms: 1.5 },
      ]),
      frame(2, [{ type: 'gpu', node: 'n', gpu: 0, at_ms: 2.5, power_w: 650.125 }]),
      frame(7, [{ type: 'step', job: 'j', rank: 0, step: 3 }], 'workload@ä 日'),
    ];
    expect(roundTrip({ frames, gaps: [] })).toEqual({ frames, gaps: [] });
  });

  test('a gap of more ranges than one may name comes back in pieces of the same name and total', () => {
    const ranges = Array.from({ length: 10_000 }, (_, index) => [2 * index, 2 * index] as const);
    const gap = { source: 's', epoch: 1, run: '', reason: 'spool_batches', records: 7, ranges };
    const { gaps } = roundTrip({ frames: [], gaps: [gap] });
    expect(gaps.map((piece) => piece.ranges.length)).toEqual([4_096, 4_096, 1_808]);
    expect(gaps.flatMap((piece) => piece.ranges)).toEqual(ranges);
    for (const piece of gaps)
      expect(piece).toMatchObject({ source: 's', epoch: 1, reason: 'spool_batches', records: 7 });
  });

  test('any gaps come back', () => {
    const gap: fc.Arbitrary<LinkGap> = fc.record({
      source: fc.string({ minLength: 1, maxLength: 40, unit: 'grapheme' }),
      epoch: fc.maxSafeNat(),
      run: fc.string(),
      reason: fc.string(),
      records: fc.maxSafeNat(),
      ranges: fc.array(fc.tuple(fc.nat(), fc.nat()).map(([from, more]) => [from, from + more] as const)),
    });
    fc.assert(
      fc.property(fc.array(gap), (gaps) => {
        expect(roundTrip({ frames: [], gaps })).toEqual({ frames: [], gaps });
      }),
    );
  });

  test('a version that is not known is refused with those that are', () => {
    const bytes = encodeLink({ frames: [], gaps: [] });
    bytes[0] = 2;
    expect(decodeLink(bytes)).toEqual({
      kind: 'reject',
      code: 'LW-MEDIA-TYPE',
      reason: 'version 2 of the batch; understood: 1',
    });
  });

  test('a field called __proto__ is one more field, and no prototype', () => {
    const record: unknown = JSON.parse('{"type":"x","__proto__":{"admin":true},"nested":{"__proto__":1}}');
    const [back] = recordsBack([record as object]);
    expect(Object.getPrototypeOf(back)).toBe(Object.prototype);
    expect(canonicalJson(back)).toBe(canonicalJson(record));
  });
});

describe('hostile bytes', () => {
  const honest = encodeLink({
    frames: [
      {
        ...NAME,
        records: Array.from({ length: 40 }, (_, row) => ({
          type: 'gpu',
          node: 'n',
          gpu: row % 8,
          at_ms: row,
          x: [row, 'a'],
        })),
      },
    ],
    gaps: [{ source: 's', epoch: 1, run: '', reason: 'spool_full_oldest', records: 3, ranges: [[1, 2]] }],
  });

  test('every beginning of a message is refused, and nothing throws', () => {
    for (let length = 0; length < honest.length; length++)
      expect(decodeLink(honest.subarray(0, length)).kind, `${length} bytes`).toBe('reject');
  });

  test('a message with any bytes changed or anything behind it decodes or is refused, and nothing else', () => {
    const random = seededRandom(7);
    for (let round = 0; round < 3_000; round++) {
      const bytes = Buffer.from(honest);
      for (let change = 0; change <= round % 4; change++)
        bytes[Math.floor(random.next() * bytes.length)] = Math.floor(random.next() * 256);
      expect(['ok', 'reject'], `seed 7, round ${round}`).toContain(decodeLink(bytes).kind);
    }
    expect(decodeLink(Buffer.concat([honest, Buffer.of(0)]))).toMatchObject({ code: 'LW-BODY' });
  });

  test('random bytes are refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(['ok', 'reject']).toContain(decodeLink(Buffer.from([1, ...bytes])).kind);
      }),
    );
  });

  test('rows, frames and text that few bytes claim are refused before they are made', () => {
    const claim = (write: (writer: LinkWriter) => void): ReturnType<typeof decodeLink> => {
      const writer = new LinkWriter();
      for (const byte of [1, 1, 1]) writer.byte(byte); // version 1, one group, of gpu
      write(writer);
      return decodeLink(writer.take());
    };
    expect(claim((writer) => writer.varint(2 ** 40))).toMatchObject({ code: 'LW-BODY' }); // frames
    const named = (rows: number) => (writer: LinkWriter) => {
      writer.varint(1);
      writer.byte(5); // the same source for all
      writeValue(writer, 's');
      for (const value of [1, 1, rows]) writeIntegers(writer, Float64Array.of(value), 0);
    };
    expect(claim(named(LIMITS.link_rows_max + 1))).toMatchObject({ code: 'LW-BODY-SIZE' });
    const constant = 'x'.repeat(100_000);
    const amplified = claim((writer) => {
      named(LIMITS.link_rows_max)(writer);
      writer.varint(1);
      writer.varint(2); // the field of that number
      writer.byte(5);
      writeValue(writer, constant);
    });
    expect(amplified).toMatchObject({ code: 'LW-BODY-SIZE' }); // 6.5 GB of text in 100 kB
  });

  test('values that nest deeper than a record may are refused', () => {
    const nested = (depth: number): LinkReader => {
      const writer = new LinkWriter();
      for (let level = 0; level < depth; level++) {
        writer.byte(7);
        writer.varint(1);
      }
      writer.byte(0);
      return new LinkReader(writer.take(), 1_000_000);
    };
    expect(readValue(nested(64))).toBeDefined();
    expect(() => readValue(nested(65))).toThrow(/deeper/);
  });
});
