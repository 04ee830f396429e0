import { describe, expect, it } from 'vitest';
import { fisherGreater, fisherLess, fisherTwoSided, type Proportions } from '../../src/math/fisher-exact.ts';
import { golden, relativeError } from './golden.ts';

type Case = {
  readonly table: readonly [number, number, number, number];
  readonly greater: number;
  readonly less: number;
};
const { cases } = golden<{ cases: Case[] }>('fisher-exact');

/** Below the smallest normal double a p-value has fewer than 53 bits: only its distance from 0 counts there. */
const NORMAL_MIN = 2 ** -1022;

function proportions([hits_x, n_x, hits_y, n_y]: Case['table']): Proportions {
  return { hits_x, n_x, hits_y, n_y };
}

function expectNear(p: number, exact: number): void {
  if (exact >= NORMAL_MIN) expect(relativeError(p, exact)).toBeLessThan(1e-9);
  else expect(Math.abs(p - exact)).toBeLessThan(NORMAL_MIN);
}

describe.each(cases)('hits and sizes $table', ({ table, greater, less }) => {
  it('have the one-sided p-values of exact rational arithmetic', () => {
    expectNear(fisherGreater(proportions(table)), greater);
    expectNear(fisherLess(proportions(table)), less);
  });

  it('have twice the smaller one as the two-sided p-value, whichever sample comes first', () => {
    const expected = Math.min(1, 2 * Math.min(greater, less));
    const [hits_x, n_x, hits_y, n_y] = table;
    expectNear(fisherTwoSided(proportions(table)), expected);
    expectNear(fisherTwoSided(proportions([hits_y, n_y, hits_x, n_x])), expected);
    expectNear(fisherTwoSided(proportions([n_x - hits_x, n_x, n_y - hits_y, n_y])), expected);
  });
});

it('never gives NaN: two shares that move apart from equal to opposite have p-values that only fall', () => {
  let last = 1;
  for (let moved = 0; moved <= 2500; moved += 50) {
    const p = fisherTwoSided({ hits_x: 2500 - moved, n_x: 5000, hits_y: 2500 + moved, n_y: 5000 });
    expect(p).toBeGreaterThanOrEqual(0);
    expect(p).toBeLessThanOrEqual(last);
    last = p;
  }
  expect(last).toBe(0); // 1 / (10,000 over 5,000), about 1e-3008: no double holds it
});
