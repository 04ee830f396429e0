import { expect, it } from 'vitest';
import { kolmogorovSf } from '../../src/math/kolmogorov-law.ts';
import { golden, relativeError } from './golden.ts';

const { rows } = golden<{ rows: [n: number, d: number, sf: number][] }>('kstwo');

it.each(rows)('equals scipy kstwo.sf for n = %d at d = %d', (n, d, sf) => {
  expect(Math.abs(kolmogorovSf(n, d) - sf)).toBeLessThan(n > 100_000 ? 1e-8 : 1e-10);
  if (sf > 1e-30) expect(relativeError(kolmogorovSf(n, d), sf)).toBeLessThan(n > 100_000 ? 1e-5 : 1e-8);
});

it('is 1 at distance 0 and 0 at distance 1', () => {
  expect([kolmogorovSf(10, 0), kolmogorovSf(10, 0.05), kolmogorovSf(10, 1)]).toEqual([1, 1, 0]);
});
