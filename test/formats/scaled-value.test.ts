import fc from 'fast-check';
import { expect, test } from 'vitest';
import { bitsOfScaled, exponentOf, mantissaOf, RAW_EXPONENT } from '../../src/formats/scaled-value.ts';
import { bitsOf, doubleOf } from './sample-rows.ts';

/** What SampleColumns does with a value, as bits in and bits out. */
function roundTrip(bits: bigint, sticky: number): bigint {
  const exponent = exponentOf(doubleOf(bits), sticky);
  if (exponent === RAW_EXPONENT) return bitsOfScaled(BigInt.asIntN(64, bits), exponent);
  return bitsOfScaled(BigInt(mantissaOf(doubleOf(bits), exponent)), exponent);
}

test.each([
  // value, sticky, exponent: the smallest e for which value · 10^e is an integer, from the sticky one up
  [0, 0, 0],
  [42, 0, 0],
  [36.6, 0, 1],
  [0.125, 0, 3],
  [0.1, 3, 3],
  [-273.15, 0, 2],
  [1e-15, 0, 15],
  [1e-16, 0, RAW_EXPONENT],
  [2 ** 53 - 1, 0, 0],
  [2 ** 53, 0, RAW_EXPONENT],
  [9e15, 6, 0], // at exponent 6 it would be above 2^53
  [1 / 3, 0, RAW_EXPONENT],
  [-0, 0, RAW_EXPONENT],
  [NaN, 0, RAW_EXPONENT],
  [Infinity, 0, RAW_EXPONENT],
  [-Infinity, 0, RAW_EXPONENT],
  [5e-324, 0, RAW_EXPONENT],
  [Number.MAX_VALUE, 0, RAW_EXPONENT],
])('%d after exponent %i is kept with exponent %i', (value, sticky, exponent) => {
  expect(exponentOf(value, sticky)).toBe(exponent);
});

test.each([
  ['the stale marker', 0x7ff0000000000002n],
  ['a NaN with sign and payload', 0xfff8000000000abcn],
  ['infinity', bitsOf(Infinity)],
  ['minus zero', bitsOf(-0)],
  ['2^53 + 2', bitsOf(2 ** 53 + 2)],
  ['the smallest subnormal', 1n],
])('%s comes back bit by bit at every exponent', (_, bits) => {
  for (let sticky = 0; sticky <= 15; sticky++) expect(roundTrip(bits, sticky)).toBe(bits);
});

test('every double comes back bit by bit, whatever came before it', () => {
  const bits = fc.oneof(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.double().map(bitsOf));
  fc.assert(
    fc.property(bits, fc.integer({ min: 0, max: 15 }), (one, sticky) => roundTrip(one, sticky) === one),
    { numRuns: 5_000 },
  );
});

test('a decimal of at most 15 digits never falls back to raw bits', () => {
  const digits = fc
    .integer({ min: -999_999_999_999_999, max: 999_999_999_999_999 })
    .filter((mantissa) => mantissa !== 0);
  fc.assert(
    fc.property(
      digits,
      fc.integer({ min: 0, max: 15 }),
      fc.integer({ min: 0, max: 15 }),
      (mantissa, places, sticky) => {
        const value = Number(`${mantissa}e-${places}`);
        const exponent = exponentOf(value, sticky);
        return exponent <= 15 && mantissaOf(value, exponent) / 10 ** exponent === value;
      },
    ),
    { numRuns: 5_000 },
  );
});
