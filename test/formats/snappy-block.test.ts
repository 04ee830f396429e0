import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SnappyBlock } from '../../src/formats/snappy-block.ts';
import { joined, varint } from './protobuf-writer.ts';
import { compressSnappy, literalSnappy } from './snappy-writer.ts';

const MAX = 1_048_576;
const ascii = (text: string): Uint8Array => new TextEncoder().encode(text);

function unpacked(input: Uint8Array, bytes_max = MAX): string | { kind: string; code: string } {
  const outcome = new SnappyBlock(bytes_max).decompress(input);
  if (outcome.kind === 'ok') return new TextDecoder().decode(outcome.value);
  return { kind: outcome.kind, code: outcome.code };
}

test.each([
  // google/snappy format_description.txt: tag & 3 = 0 literal of (tag >> 2) + 1; 1 copy, 11-bit offset; 2 copy, 16-bit; 3 copy, 32-bit
  ['nothing', [0], ''],
  ['a literal', [3, 2 << 2, 0x61, 0x62, 0x63], 'abc'],
  ['a literal with its length in a byte', [3, 60 << 2, 2, 0x61, 0x62, 0x63], 'abc'],
  ['a literal with its length in four bytes', [3, 63 << 2, 2, 0, 0, 0, 0x61, 0x62, 0x63], 'abc'],
  ['a copy of 4 from 2 back, which overlaps itself', [6, 1 << 2, 0x61, 0x62, 1, 2], 'ababab'],
  ['a copy of 5 with 16 bits of offset', [8, 2 << 2, 0x61, 0x62, 0x63, (4 << 2) | 2, 3, 0], 'abcabcab'],
  ['a copy of 5 with 32 bits of offset', [8, 2 << 2, 0x61, 0x62, 0x63, (4 << 2) | 3, 3, 0, 0, 0], 'abcabcab'],
])('%s is unpacked', (_, input, output) => {
  expect(unpacked(Uint8Array.from(input))).toBe(output);
});

test.each([
  ['no bytes', []],
  ['a length that does not end', [0x80]],
  ['a length of 33 bits', [0xff, 0xff, 0xff, 0xff, 0x1f]],
  ['a literal that ends early', [3, 2 << 2, 0x61]],
  ['a literal beyond the length', [1, 1 << 2, 0x61, 0x62]],
  ['a literal length cut off', [3, 61 << 2, 2]],
  ['a literal of 4 GiB', [3, 63 << 2, 0xff, 0xff, 0xff, 0xff, 0x61]],
  ['a copy before the start', [6, 1 << 2, 0x61, 0x62, 1, 3]],
  ['a copy with offset 0', [6, 1 << 2, 0x61, 0x62, 1, 0]],
  ['a copy beyond the length', [5, 1 << 2, 0x61, 0x62, 1, 2]],
  ['a copy without its offset', [6, 1 << 2, 0x61, 0x62, 1]],
  ['a 32-bit offset cut off', [6, 1 << 2, 0x61, 0x62, 3, 1, 0, 0]],
  ['an offset of 4 GiB', [6, 1 << 2, 0x61, 0x62, 3, 0xff, 0xff, 0xff, 0xff]],
  ['fewer bytes than announced', [9, 2 << 2, 0x61, 0x62, 0x63]],
])('%s is refused', (_, input) => {
  expect(unpacked(Uint8Array.from(input))).toEqual({ kind: 'reject', code: 'LW-BODY' });
});

test('a body over the cap is refused by its first bytes alone', () => {
  expect(unpacked(literalSnappy(new Uint8Array(101)), 100)).toEqual({ kind: 'reject', code: 'LW-BODY-SIZE' });
  expect(unpacked(literalSnappy(new Uint8Array(100)), 100)).toHaveLength(100);
});

test('a bomb that announces more than the format can hold takes no memory', () => {
  const before = process.memoryUsage().arrayBuffers;
  expect(unpacked(joined(varint(30_000_000), new Uint8Array(100)), 32_000_000)).toEqual({
    kind: 'reject',
    code: 'LW-BODY',
  });
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1_000_000);
});

test('the densest honest body, copies of 64 bytes, is under the ratio cap', () => {
  const zeros = new Uint8Array(1_000_000);
  const packed = compressSnappy(zeros);
  expect(zeros.length / packed.length).toBeGreaterThan(20); // 64 / 3 = 21.3
  expect(unpacked(packed)).toHaveLength(1_000_000);
});

test('whatever was packed comes back, in one buffer used again', () => {
  const block = new SnappyBlock(MAX);
  const repeating = fc
    .array(fc.constantFrom('up', 'job="gpu"', 'instance', 'aaaaaaaaaaaa', '\n'), { maxLength: 300 })
    .map((parts) => ascii(parts.join('')));
  fc.assert(
    fc.property(fc.oneof(repeating, fc.uint8Array({ maxLength: 500 })), (input) => {
      for (const packed of [compressSnappy(input), literalSnappy(input)]) {
        const outcome = block.decompress(packed);
        expect(outcome.kind === 'ok' && Buffer.compare(outcome.value, input) === 0).toBe(true);
      }
    }),
    { numRuns: 300 },
  );
});

test('damaged bodies give an outcome, never an exception', () => {
  const packed = compressSnappy(ascii('up{job="gpu"} 1\n'.repeat(200)));
  const block = new SnappyBlock(MAX);
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(packed.length - 1), fc.nat(255)), { maxLength: 6 }),
      fc.nat(packed.length),
      (changes, length) => {
        const damaged = packed.slice(0, length);
        for (const [at, byte] of changes) if (at < length) damaged[at] = byte;
        expect(['ok', 'reject']).toContain(block.decompress(damaged).kind);
      },
    ),
    { numRuns: 2_000 },
  );
});
