import { logChoose } from './log-gamma.ts';

/** `hits` of `n` in each of two samples. */
export type Proportions = {
  readonly hits_x: number;
  readonly n_x: number;
  readonly hits_y: number;
  readonly n_y: number;
};

/**
 * P(hits of y >= observed | all hits, both sizes): one-sided exact p-value that y's share is greater, any sample size.
 * As scipy's `fisher_exact(…, alternative="greater")` with y in the first row. O(hits).
 */
export function fisherGreater(table: Proportions): number {
  const hits = table.hits_x + table.hits_y;
  const last = Math.min(hits, table.n_y);
  return tail(table, last);
}

/** P(hits of y <= observed): one-sided exact p-value that y's share is smaller. */
export function fisherLess(table: Proportions): number {
  const hits = table.hits_x + table.hits_y;
  const first = Math.max(0, hits - table.n_x);
  return tail(table, first);
}

/** Twice the smaller one-sided p-value, at most 1: valid for either direction. */
export function fisherTwoSided(table: Proportions): number {
  return Math.min(1, 2 * Math.min(fisherGreater(table), fisherLess(table)));
}

/**
 * Sum of the hypergeometric probabilities from the observed hits towards `to`, from one logarithm and ratios. 0 only
 * where the sum is below the smallest double (5e-324).
 *
 * The sum, counted in first terms, overflows only when the way to `to` climbs over the mode. Then every term left out
 * lies on the other side of the first, is smaller than it (the law has one mode) and the first is below 1e-308: with at
 * most n terms left out the sum is 1 to every digit of a double.
 */
function tail({ hits_x, n_x, hits_y: from, n_y }: Proportions, to: number): number {
  const hits = hits_x + from;
  const step = to >= from ? 1 : -1;
  const first = logChoose(n_y, from) + logChoose(n_x, hits - from) - logChoose(n_x + n_y, hits);
  let term = 1;
  let sum = 1;
  for (let k = from; k !== to; k += step) {
    const ratio = ((n_y - k) * (hits - k)) / ((k + 1) * (n_x - hits + k + 1));
    const inverse = (k * (n_x - hits + k)) / ((n_y - k + 1) * (hits - k + 1));
    term *= step === 1 ? ratio : inverse;
    sum += term;
    if (sum === Infinity) return 1;
    if (term < sum * 1e-17) break;
  }
  return Math.min(1, Math.exp(first + Math.log(sum)));
}
