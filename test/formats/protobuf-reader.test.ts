import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LeewayError } from '../../src/core/errors.ts';
import { ProtobufReader } from '../../src/formats/protobuf-reader.ts';
import { bytes, double, fixed, joined, tag, text, uint, varint } from './protobuf-writer.ts';

function reading(input: Uint8Array | readonly number[]): ProtobufReader {
  const reader = new ProtobufReader();
  reader.reset(Uint8Array.from(input));
  return reader;
}

const wide = ({ low, high }: ProtobufReader): bigint => (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);

test('every 64-bit number is read from its varint', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (value) => {
      const encoded = varint(value);
      const reader = reading(encoded);
      reader.varint64();
      return wide(reader) === value && reader.at === encoded.length;
    }),
    { numRuns: 2_000 },
  );
});

test.each([2n ** 28n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 35n - 1n, 2n ** 63n, 2n ** 64n - 1n])(
  '%d, at an edge of the words, is read',
  (value) => {
    const reader = reading(varint(value));
    reader.varint64();
    expect(wide(reader)).toBe(value);
  },
);

test('numbers of 32 bits, zigzag, negative enums and 8-byte fields are read', () => {
  expect(reading(varint(4_294_967_295)).varint32()).toBe(4_294_967_295);
  // zigzag: 0 → 0, 1 → -1, 2 → 1, 2^32 - 1 → -2^31
  expect([0, 1, 2, 4_294_967_295].map((raw) => reading(varint(raw)).zigzag32())).toEqual([0, -1, 1, -2_147_483_648]);
  expect(reading(varint(-1)).int32()).toBe(-1);
  expect(reading(double(1, 2.5).subarray(1)).double(8)).toBe(2.5);
  const reader = reading(fixed(1, 0x7ff0000000000002n).subarray(1));
  reader.fixed64(8);
  expect(wide(reader)).toBe(0x7ff0000000000002n);
});

test.each([
  ['a varint that does not end', [0x80], (r: ProtobufReader) => r.varint64()],
  ['a varint of 11 bytes', [...Array.from({ length: 10 }, () => 0x80), 1], (r: ProtobufReader) => r.varint64()],
  ['a varint of 65 bits', [...Array.from({ length: 9 }, () => 0xff), 2], (r: ProtobufReader) => r.varint64()],
  ['33 bits where 32 are expected', varint(2n ** 32n), (r: ProtobufReader) => r.varint32()],
  ['a length beyond the message', [5, 1, 2], (r: ProtobufReader) => r.lengthEnd(3)],
  ['a length of 4 GiB', [...varint(4_294_967_295), 1], (r: ProtobufReader) => r.lengthEnd(6)],
  ['seven bytes of a double', Array.from({ length: 7 }, () => 0), (r: ProtobufReader) => r.double(7)],
  ['a double across the end of its message', Array.from({ length: 16 }, () => 0), (r: ProtobufReader) => r.fixed64(7)],
  ['field number 0', [0x02], (r: ProtobufReader) => r.tag()],
  ['field number 1 in two bytes', [0x8a, 0x00], (r: ProtobufReader) => r.tag()],
  ['field number 1 in five bytes', [0x8a, 0x80, 0x80, 0x80, 0x00], (r: ProtobufReader) => r.tag()],
])('%s is a failure with a reason', (_, input, read) => {
  expect(() => read(reading([...input]))).toThrow(
    expect.objectContaining({ code: 'LW-BODY', message: expect.stringContaining('protobuf: ') }),
  );
});

/** Passes over all fields; the number of them. */
function skipAll(input: Uint8Array): number {
  const reader = reading(input);
  let fields = 0;
  while (reader.at < input.length) {
    reader.skip(reader.tag(), input.length);
    fields++;
  }
  reader.within(input.length);
  return fields;
}

test('fields of every wire type, groups in groups too, are passed over', () => {
  const group = joined(tag(7, 3), uint(1, 5), tag(8, 3), text(2, 'x'), tag(8, 4), tag(7, 4));
  const fixed32 = joined(tag(6, 5), Uint8Array.of(1, 2, 3, 4));
  expect(skipAll(joined(uint(1, 300), double(2, 1), bytes(3, new Uint8Array(200)), fixed32, group))).toBe(5);
});

test.each([
  ['a group that does not end', joined(tag(7, 3), uint(1, 5))],
  ['a group that ends as another', joined(tag(7, 3), tag(8, 4))],
  ['an end without a group', tag(7, 4)],
  ['groups nested 1,000 deep', joined(...Array.from({ length: 1_000 }, () => tag(7, 3)))],
  ['wire type 6', tag(1, 6)],
  ['a 32-bit field cut off', joined(tag(1, 5), Uint8Array.of(1))],
  ['a 64-bit field cut off', joined(tag(1, 1), Uint8Array.of(1))],
])('%s is a failure', (_, input) => {
  expect(() => skipAll(input)).toThrow(LeewayError);
});

test('any bytes are read or refused, and reading ends', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (input) => {
      try {
        return skipAll(input) <= input.length;
      } catch (error) {
        return error instanceof LeewayError && error.code === 'LW-BODY';
      }
    }),
    { numRuns: 3_000 },
  );
});
