import { describe, expect, it } from 'vitest';
import { fisherGreater, fisherLess, fisherTwoSided } from '../../src/math/fisher-exact.ts';
import { newcombeInterval, wilsonInterval } from '../../src/math/proportion-intervals.ts';
import { golden, relativeError } from './golden.ts';

type Case = {
  readonly table: readonly [number, number, number, number];
  readonly greater: number;
  readonly less: number;
  readonly wilson: readonly [number, number];
};
const { cases } = golden<{ cases: Case[] }>('proportions');

describe.each(cases)('hits and sizes $table', ({ table, greater, less, wilson }) => {
  const [hits_x, n_x, hits_y, n_y] = table;
  const proportions = { hits_x, n_x, hits_y, n_y };

  it("have scipy's one-sided Fisher p-values", () => {
    expect(relativeError(fisherGreater(proportions), greater)).toBeLessThan(1e-9);
    expect(relativeError(fisherLess(proportions), less)).toBeLessThan(1e-9);
    expect(fisherTwoSided(proportions)).toBeLessThanOrEqual(1);
  });

  it("have scipy's Wilson interval", () => {
    const interval = wilsonInterval(hits_y, n_y, 0.95);
    expect(Math.abs(interval.low - wilson[0])).toBeLessThan(1e-12);
    expect(Math.abs(interval.high - wilson[1])).toBeLessThan(1e-12);
  });
});

describe('newcombeInterval', () => {
  it('reproduces the published example 56/70 against 48/80: difference 0.20, interval 0.0524 to 0.3339', () => {
    // Newcombe 1998, table II, example (a), method 10
    const interval = newcombeInterval({ hits_x: 48, n_x: 80, hits_y: 56, n_y: 70 }, 0.95);
    expect(interval.low).toBeCloseTo(0.0524, 4);
    expect(interval.high).toBeCloseTo(0.3339, 4);
  });
});
