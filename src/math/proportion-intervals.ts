import type { Proportions } from './fisher-exact.ts';
import { normalQuantile } from './normal-law.ts';

export type Interval = { readonly low: number; readonly high: number };

/**
 * Wilson score interval of a proportion, `hits` of `n` > 0, at `confidence` (0..1, two-sided).
 * Source: Wilson 1927; as scipy's `binomtest(hits, n).proportion_ci(method="wilson")`.
 */
export function wilsonInterval(hits: number, n: number, confidence: number): Interval {
  const z = normalQuantile(1 - (1 - confidence) / 2);
  const p = hits / n;
  const centre = (p + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const half = (z / (1 + (z * z) / n)) * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  return { low: Math.max(0, centre - half), high: Math.min(1, centre + half) };
}

/**
 * Newcombe's hybrid score interval of the difference share(y) − share(x).
 * Source: Newcombe 1998, Interval estimation for the difference between independent proportions, method 10.
 */
export function newcombeInterval(table: Proportions, confidence: number): Interval {
  const x = wilsonInterval(table.hits_x, table.n_x, confidence);
  const y = wilsonInterval(table.hits_y, table.n_y, confidence);
  const p = table.hits_x / table.n_x;
  const q = table.hits_y / table.n_y;
  return {
    low: q - p - Math.hypot(q - y.low, x.high - p),
    high: q - p + Math.hypot(y.high - q, p - x.low),
  };
}
