import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compareUtf8 } from '../../src/core/canonical.ts';
import {
  divideFloor,
  divideHalfEven,
  formatCents,
  formatUsd,
  largestRemainder,
  parseUsd,
  splitByWeight,
} from '../../src/core/money.ts';

test('Money is read exactly: up to twelve digits and nine decimals', () => {
  expect(parseUsd('55.04')).toBe(55_040_000_000n);
  expect(parseUsd('0')).toBe(0n);
  expect(parseUsd('999999999999.999999999')).toBe(999_999_999_999_999_999_999n);
  expect(parseUsd('0.000000001')).toBe(1n);
});

test('Everything that is not plain decimal money is refused', () => {
  for (const text of [
    '',
    '.5',
    '1.',
    '+1',
    '1e3',
    ' 1',
    '1 ',
    '1,000',
    '-1',
    '0x1',
    '1234567890123',
    '1.0000000001',
    'NaN',
    '١',
  ])
    expect(parseUsd(text), text).toBeNull();
});

test('A leading minus is money only where a sign is allowed', () => {
  expect(parseUsd('-1.25', true)).toBe(-1_250_000_000n);
  expect(parseUsd('--1', true)).toBeNull();
});

test('Formatting and parsing are inverse', () => {
  fc.assert(
    fc.property(fc.bigInt(-(10n ** 21n) + 1n, 10n ** 21n - 1n), (nano) => {
      expect(parseUsd(formatUsd(nano), true)).toBe(nano);
    }),
  );
  expect(formatUsd(-1n)).toBe('-0.000000001');
  expect(formatCents(2219n)).toBe('22.19');
  expect(formatCents(-49n)).toBe('-0.49');
  expect(formatCents(0n)).toBe('0.00');
});

test('Halves round to the even neighbour, also below zero', () => {
  // 0.5, 1.5, 2.5, −0.5, −1.5, −2.5, 2.51, −2.51
  const halves = [1n, 3n, 5n, -1n, -3n, -5n].map((n) => divideHalfEven(n, 2n));
  expect(halves).toEqual([0n, 2n, 2n, 0n, -2n, -2n]);
  expect(divideHalfEven(251n, 100n)).toBe(3n);
  expect(divideHalfEven(-251n, 100n)).toBe(-3n);
  expect(divideFloor(-1n, 3n)).toBe(-1n);
  expect(divideFloor(-3n, 3n)).toBe(-1n);
});

test('The largest remainder gets the missing unit, ties go to the first key', () => {
  // 10 by thirds: 3.33 each, one missing, all remainders equal
  const thirds = ['c', 'a', 'b'].map((key) => ({ key, weight: 1n }));
  expect(splitByWeight(10n, thirds, compareUtf8)).toEqual([3n, 4n, 3n]);
  // 10 by 1:2:4 of 7 = 1.43, 2.86, 5.71: two missing, to .86 and .71
  const uneven = [1n, 2n, 4n].map((weight, index) => ({ key: String(index), weight }));
  expect(splitByWeight(10n, uneven, compareUtf8)).toEqual([1n, 3n, 6n]);
});

test('Remainders of different denominators are compared exactly, not as decimals', () => {
  const tiny = 10n ** 40n;
  const shares = [
    { key: 'a', numerator: tiny / 2n, denominator: tiny },
    { key: 'b', numerator: tiny / 2n + 1n, denominator: tiny },
  ];
  expect(largestRemainder(1n, shares, compareUtf8)).toEqual([0n, 1n]);
});

test('Negative shares add up too: cents of an invoice with a credit', () => {
  // −0.5, 1.7, 0.4 sum to 1.6 → 2; floors −1, 1, 0; missing 2: to .7 and .5
  const shares = [-5n, 17n, 4n].map((numerator, index) => ({ key: String(index), numerator, denominator: 10n }));
  expect(largestRemainder(2n, shares, compareUtf8)).toEqual([0n, 2n, 0n]);
});

test('Every split adds up to its total and is within one of the exact share', () => {
  const weights = fc.array(fc.bigInt(0n, 10n ** 12n), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(fc.bigInt(0n, 10n ** 18n), weights, (total, list) => {
      const sum = list.reduce((a, b) => a + b, 0n);
      fc.pre(sum > 0n);
      const parts = splitByWeight(
        total,
        list.map((weight, index) => ({ key: `${index}`, weight })),
        compareUtf8,
      );
      expect(parts.reduce((a, b) => a + b, 0n)).toBe(total);
      for (const [index, part] of parts.entries()) {
        const exact = total * (list[index] ?? 0n); // over sum
        expect(part * sum <= exact + sum && part * sum >= exact - sum).toBe(true);
      }
    }),
  );
});
