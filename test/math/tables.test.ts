import { describe, expect, it } from 'vitest';
import { chiSquared, cramersV } from '../../src/math/chi-squared.ts';
import { populationStability } from '../../src/math/population-stability.ts';
import { shareDistances } from '../../src/math/share-distances.ts';
import { golden, relativeError } from './golden.ts';

type Case = {
  readonly x: number[];
  readonly y: number[];
  readonly chi2: readonly [number, number, number];
  readonly cramers_v: number;
  readonly jensen_shannon: number;
  readonly hellinger: number;
  readonly l_infinity: number;
};
const { cases } = golden<{ cases: Case[] }>('tables');
const sum = (counts: readonly number[]): number => counts.reduce((total, count) => total + count, 0);

describe.each(cases)('counts $x against $y', (table) => {
  it('give the chi-squared test of scipy chi2_contingency without correction, and its Cramér V', () => {
    const result = chiSquared(table.x, table.y);
    const [value, p_value, df] = table.chi2;
    expect(relativeError(result?.value ?? Number.NaN, value)).toBeLessThan(1e-12);
    expect(relativeError(result?.p_value ?? Number.NaN, p_value)).toBeLessThan(1e-9);
    expect(result?.df).toBe(df);
    expect(relativeError(cramersV(value, sum(table.x) + sum(table.y)), table.cramers_v)).toBeLessThan(1e-12);
  });

  it('give the Jensen–Shannon distance of scipy in base 2, Hellinger and L-infinity of numpy', () => {
    const result = shareDistances(table.x, table.y);
    expect(relativeError(result?.jensen_shannon ?? Number.NaN, table.jensen_shannon)).toBeLessThan(1e-9);
    expect(relativeError(result?.hellinger ?? Number.NaN, table.hellinger)).toBeLessThan(1e-12);
    expect(relativeError(result?.l_infinity ?? Number.NaN, table.l_infinity)).toBeLessThan(1e-12);
  });
});

describe('population stability index', () => {
  it('is the smoothed sum by hand: shares 30.5/81 and 50.5/81 against 40.5/101 and 60.5/101', () => {
    const [p, q] = [30.5 / 81, 40.5 / 101];
    const expected = (q - p) * Math.log(q / p) + (p - q) * Math.log((1 - q) / (1 - p));
    const result = populationStability([30, 50], [40, 60]);
    expect(result?.value).toBeCloseTo(expected, 14);
    expect(result?.debiased).toBeCloseTo(expected - (1 / 80 + 1 / 100), 14);
    expect(sum(result?.terms ?? [])).toBeCloseTo(expected, 14);
  });

  it('leaves out cells that are empty in both samples and is null when one cell is left', () => {
    expect(populationStability([3, 0, 5], [4, 0, 6])?.value).toBe(populationStability([3, 5], [4, 6])?.value);
    expect(populationStability([3, 0], [4, 0])).toBeNull();
    expect(populationStability([0, 0], [4, 1])).toBeNull();
    expect(chiSquared([3, 0], [4, 0])).toBeNull();
    expect(shareDistances([0], [1])).toBeNull();
  });
});
