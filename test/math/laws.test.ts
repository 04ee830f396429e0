import { expect, it } from 'vitest';
import { scaledBesselK } from '../../src/math/bessel-k.ts';
import { chiSquaredSf } from '../../src/math/incomplete-gamma.ts';
import { logChoose, logGamma } from '../../src/math/log-gamma.ts';
import { normalQuantile, normalSf } from '../../src/math/normal-law.ts';
import { golden, relativeError } from './golden.ts';

type Laws = {
  readonly gammaln: [number, number][];
  readonly chi2_sf: [number, number, number][];
  readonly normal_sf: [number, number][];
  readonly normal_ppf: [number, number][];
  readonly bessel_kve: [number, number, number][];
};
const laws = golden<Laws>('laws');

it.each(laws.gammaln)('logGamma(%d) is that of scipy', (x, expected) => {
  expect(Math.abs(logGamma(x) - expected)).toBeLessThan(1e-13 * Math.max(1, Math.abs(expected)));
});

it.each(laws.chi2_sf)('the chi-squared tail at %d with %d degrees of freedom is that of scipy', (x, df, expected) => {
  expect(relativeError(chiSquaredSf(x, df), expected)).toBeLessThan(1e-10);
});

it.each(laws.normal_sf)('the normal tail at %d is that of scipy', (z, expected) => {
  expect(relativeError(normalSf(z), expected)).toBeLessThan(1e-11);
});

it.each(laws.normal_ppf)('the normal quantile at %d is that of scipy', (p, expected) => {
  expect(Math.abs(normalQuantile(p) - expected)).toBeLessThan(1e-9);
});

it.each(laws.bessel_kve)('the scaled Bessel function K of order %d at %d is that of scipy', (order, z, expected) => {
  expect(relativeError(scaledBesselK(order, z), expected)).toBeLessThan(1e-10);
});

it('there are 10 ways to take 2 of 5', () => {
  expect(Math.exp(logChoose(5, 2))).toBeCloseTo(10, 10);
  expect([logChoose(5, 0), logChoose(5, 5)]).toEqual([0, 0]);
});
