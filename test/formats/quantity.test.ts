import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { absentReason, baseUnit, readQuantity, scaled } from '../../src/formats/quantity.ts';

describe('scaled', () => {
  test.each([
    ['0.1', 'GB/s', 100_000_000],
    ['26.562', 'GB/s', 26_562_000_000],
    ['128996013', 'mJ', 128_996.013],
    ['7', '%', 0.07],
    ['29', '%', 0.29], // 29 × 0.01 is 0.29000000000000004 in doubles
    ['1.1', 'MiB', 1_153_433.6],
    ['0.5', 'MiB', 524_288],
    ['-5', 'C', -5],
    ['1e3', 'MHz', 1_000_000_000],
    ['18446744073709551615', '', 18_446_744_073_709_551_615n],
    ['17592186044416', 'MiB', 18_446_744_073_709_551_616], // 2^64: no 64-bit counter, so a double
    ['-9223372036854775808', '', -9_223_372_036_854_775_808n],
    ['9007199254740991', 'B', 9_007_199_254_740_991],
    ['00012', '', 12],
  ])('%s %s is %s', (text, unit, expected) => {
    expect(scaled(text, unit)).toBe(expected);
  });

  test.each([
    ['', ''],
    ['.', ''],
    ['1.2.3', ''],
    ['1,5', ''],
    ['0x10', ''],
    ['NaN', ''],
    ['Infinity', ''],
    ['1e400', ''],
    ['- 1', ''],
    ['١', ''],
    ['1', 'parsec'],
    ['9'.repeat(400), ''],
  ])('%j %j is no value', (text, unit) => {
    expect(scaled(text, unit)).toBeNull();
  });

  test('an integer in MiB is exactly its multiple of 2^20', () => {
    fc.assert(
      fc.property(fc.bigInt(0n, 2n ** 43n), (mebibytes) => {
        expect(BigInt(scaled(String(mebibytes), 'MiB') ?? -1)).toBe(mebibytes * 1_048_576n);
      }),
    );
  });

  test('a decimal comes back as the double nearest to it', () => {
    fc.assert(
      fc.property(fc.integer({ min: -1e9, max: 1e9 }), fc.integer({ min: 0, max: 6 }), (digits, places) => {
        const text = `${digits < 0 ? '-' : ''}${String(Math.abs(digits)).padStart(places + 1, '0')}`;
        const point = places === 0 ? text : `${text.slice(0, -places)}.${text.slice(-places)}`;
        expect(scaled(point, 'W')).toBe(Number(point));
      }),
    );
  });

  test('no text makes it throw or return anything but a finite value', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.stringMatching(/^[+-]?[0-9.eE+-]{0,400}$/)),
        fc.constantFrom('', '%', 'MiB', 'GB/s'),
        (text, unit) => {
          const value = scaled(text, unit);
          expect(value === null || typeof value === 'bigint' || Number.isFinite(value)).toBe(true);
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe('readQuantity', () => {
  test('the unit of the value must measure what is asked for', () => {
    expect(readQuantity('2 GiB', 'MiB')).toEqual({ kind: 'value', value: 2 ** 31, unit: 'GiB' });
    expect(readQuantity('2 W', 'MiB')).toEqual({ kind: 'absent', reason: 'parse_error' });
    expect(readQuantity('2', 'MiB')).toEqual({ kind: 'value', value: 2 ** 21, unit: 'MiB' });
    expect(readQuantity('200', 'NVIDIA')).toEqual({ kind: 'absent', reason: 'parse_error' });
  });

  test('a model name is no quantity', () => {
    expect(readQuantity('NVIDIA H200', '')).toEqual({ kind: 'absent', reason: 'parse_error' });
    expect(readQuantity('200 H', '')).toEqual({ kind: 'absent', reason: 'parse_error' });
  });
});

describe('absentReason', () => {
  test('numbers and words are no absence', () => {
    for (const text of ['0', '0 MiB', 'Enabled', 'None', 'P0', '[', ']']) expect(absentReason(text), text).toBeNull();
  });

  test('case and blanks do not matter', () => {
    expect(absentReason(' [not supported] ')).toBe('unsupported');
    expect(absentReason('[ GPU is lost ]')).toBe('lost');
  });
});

test('units of one quantity share their base', () => {
  expect(['MiB', 'GiB', 'B'].map(baseUnit)).toEqual(['By', 'By', 'By']);
  expect(baseUnit('furlong')).toBeNull();
});
