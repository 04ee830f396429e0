import fc from 'fast-check';
import { expect, test } from 'vitest';
import { NativeReader, NativeWriter } from '../../src/formats/native.ts';

test('varints are unsigned LEB128', () => {
  const writer = new NativeWriter(1);
  for (const value of [0, 127, 128, 300]) writer.varint(value);
  // 300 = 0b10_0101100: low seven bits 0101100 with the continuation bit, then 10
  expect([...writer.take()]).toEqual([0, 127, 128, 1, 0b1010_1100, 0b10]);
});

test('integers up to 2^53 and any text come back in order', () => {
  const text = fc.string({ unit: 'binary', maxLength: 300 });
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.maxSafeNat(), text), { maxLength: 20 }), (items) => {
      const writer = new NativeWriter(1);
      for (const [number, string] of items) {
        writer.varint(number);
        writer.string(string);
      }
      const reader = new NativeReader(writer.take());
      for (const [number, string] of items) {
        expect(reader.varint()).toBe(number);
        expect(reader.string(10_000)).toBe(string);
      }
      expect(reader.offset).toBe(writer.length);
    }),
  );
});

test('texts around the width of one length byte keep their bytes', () => {
  for (const length of [0, 1, 126, 127, 128, 129, 16_383, 16_384]) {
    const writer = new NativeWriter();
    writer.string('x'.repeat(length));
    writer.string('é');
    const reader = new NativeReader(writer.take());
    expect(reader.string(20_000)?.length).toBe(length);
    expect(reader.string(2)).toBe('é');
  }
});

test('repeat copies bytes that were written before', () => {
  const writer = new NativeWriter(4);
  writer.string('abc');
  writer.repeat(0, 4);
  expect(writer.take().toString('latin1')).toBe('\u0003abc\u0003abc');
});

test('a reader answers null at a torn end, above a limit, and at a varint without an end', () => {
  const writer = new NativeWriter();
  writer.string('hello');
  const bytes = writer.take();
  for (let cut = 0; cut < bytes.length; cut++) expect(new NativeReader(bytes.subarray(0, cut)).string(100)).toBeNull();
  expect(new NativeReader(bytes).string(4)).toBeNull();
  expect(new NativeReader(Buffer.alloc(20, 0xff)).varint()).toBeNull();
  expect(new NativeReader(bytes).raw(7)).toBeNull();
});
