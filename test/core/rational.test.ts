import fc from 'fast-check';
import { expect, test } from 'vitest';
import { scaledDecimal, subtractFrom, sumFractions } from '../../src/core/rational.ts';

test('A sum of fractions is exact whatever the denominators', () => {
  // 1/2 + 1/3 + 1/7 + 1/42 = 21/42 + 14/42 + 6/42 + 1/42 = 1
  const sum = sumFractions([2n, 3n, 7n, 42n].map((denominator) => ({ numerator: 1n, denominator })));
  expect(sum.numerator).toBe(sum.denominator);
  expect(sumFractions([])).toEqual({ numerator: 0n, denominator: 1n });
});

test('The order of the terms does not change the value of a sum', () => {
  const fraction = fc.record({ numerator: fc.bigInt(0n, 1000n), denominator: fc.bigInt(1n, 1000n) });
  fc.assert(
    fc.property(fc.array(fraction, { maxLength: 30 }), (terms) => {
      const [a, b] = [sumFractions(terms), sumFractions(terms.toReversed())];
      expect(a.numerator * b.denominator).toBe(b.numerator * a.denominator);
    }),
  );
});

test('What is left of a whole keeps the denominator', () => {
  expect(subtractFrom(2n, { numerator: 1n, denominator: 3n })).toEqual({ numerator: 5n, denominator: 3n });
});

test('Decimals are scaled as written, halves up', () => {
  expect(scaledDecimal(1.0005, 3)).toBe(1001n); // 1000.5; in binary 1.0005 × 1000 is 1000.4999…
  expect(scaledDecimal(0.0004, 3)).toBe(0n);
  expect(scaledDecimal(0.0005, 3)).toBe(1n);
  expect(scaledDecimal(1e-7, 9)).toBe(100n);
  expect(scaledDecimal(2.5e-10, 9)).toBe(0n);
  expect(scaledDecimal(5e-10, 9)).toBe(1n);
  expect(scaledDecimal(1 / 3, 9)).toBe(333_333_333n);
  expect(scaledDecimal(253_402_300_799_999, 3)).toBe(253_402_300_799_999_000n);
});
