import { upperIncompleteGamma } from './incomplete-gamma.ts';

/** Upper tail probability of the standard normal law; relative accuracy holds far into the tail. */
export function normalSf(z: number): number {
  const tail = 0.5 * upperIncompleteGamma(0.5, (z * z) / 2);
  return z >= 0 ? tail : 1 - tail;
}

/**
 * Quantile of the standard normal law, 0 < p < 1: the z with P(Z <= z) = p, to about 1e-14.
 * Source: bisection on the symmetric tail, which needs no table of coefficients.
 */
export function normalQuantile(p: number): number {
  if (p === 0.5) return 0;
  const tail = Math.min(p, 1 - p);
  let low = 0;
  let high = 40;
  for (let step = 0; step < 80; step++) {
    const middle = (low + high) / 2;
    if (normalSf(middle) > tail) low = middle;
    else high = middle;
  }
  return p < 0.5 ? -low : low;
}
