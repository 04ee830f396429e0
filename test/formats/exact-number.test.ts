import fc from 'fast-check';
import { expect, test } from 'vitest';
import { bitsOfExact, exactBits, exactDouble, exactInteger } from '../../src/formats/exact-number.ts';
import { bitsOf } from './sample-rows.ts';

const throughJson = (bits: bigint): bigint => {
  const exact = exactBits(Number(bits & 0xffffffffn), Number(bits >> 32n));
  return bitsOfExact(JSON.parse(JSON.stringify(exact)));
};

test.each([
  [1.5, 1.5],
  [-0, '-0'],
  [Infinity, 'Infinity'],
  [-Infinity, '-Infinity'],
  [NaN, 'NaN'],
])('%d is written as %j', (value, written) => {
  expect(exactDouble(value)).toBe(written);
});

test('the stale marker is written with its bits', () => {
  expect(exactBits(2, 0x7ff00000)).toBe('nan:7ff0000000000002');
});

test('every double goes through JSON bit by bit', () => {
  const bits = fc.oneof(
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    fc.double().map(bitsOf),
    fc.constant(0x7ff0000000000002n),
  );
  fc.assert(
    fc.property(bits, (one) => throughJson(one) === one),
    { numRuns: 3_000 },
  );
});

test('integers are numbers up to 2^53 - 1 and digits above', () => {
  expect([0n, 2n ** 53n - 1n, 2n ** 53n, -(2n ** 63n), 2n ** 64n - 1n].map(exactInteger)).toEqual([
    0,
    9007199254740991,
    '9007199254740992',
    '-9223372036854775808',
    '18446744073709551615',
  ]);
});
