import { kolmogorovSf } from './kolmogorov-law.ts';

/** Lattice cells up to which the exact law is computed: 4e6 multiplications are about 10 ms. */
export const KS_EXACT_CELLS_MAX = 4_000_000;

/**
 * Two-sample Kolmogorov–Smirnov statistic: the largest distance of the two cumulative shares over cells in ascending
 * order of value. Cells are distinct values (then D is exact) or bins (then D is at most the exact one).
 * Returns null when either sample is empty.
 */
export function kolmogorovSmirnov(x: ArrayLike<number>, y: ArrayLike<number>): number | null {
  const n = total(x);
  const m = total(y);
  if (n === 0 || m === 0) return null;
  let left = 0;
  let right = 0;
  let largest = 0;
  for (let cell = 0; cell < x.length; cell++) {
    left += x[cell] ?? 0;
    right += y[cell] ?? 0;
    largest = Math.max(largest, Math.abs(left / n - right / m));
  }
  return largest;
}

/** p-value of the two-sample statistic `d`, as scipy's `ks_2samp(method="asymp")`: kstwo at n·m/(n+m), rounded. */
export function kolmogorovSmirnovP(d: number, n: number, m: number): number {
  // numpy rounds halves to even; Math.round does not
  const size = (n * m) / (n + m);
  const floor = Math.floor(size);
  const rounded = size - floor === 0.5 ? floor + (floor % 2) : Math.round(size);
  return kolmogorovSf(Math.max(1, rounded), d);
}

/**
 * Exact p-value of the two-sample statistic: the share of all orderings of n + m exchangeable values whose distance
 * reaches `d`. Holds for any sample size and keeps its relative accuracy at 1e-12 (only positive terms are added);
 * with ties or bins the true p-value is at most this. O(n·m) time, O(m) memory.
 * Source: Hodges 1958, The significance probability of the Smirnov two-sample test; equals scipy's method="exact".
 */
export function kolmogorovSmirnovExactP(d: number, n: number, m: number): number {
  const reach = Math.round(d * n * m); // |i·m − j·n| is an integer: rounding repairs the floating quotient
  if (reach <= 0) return 1;
  // share of the paths to (i, j) that touched the boundary: 1 outside the band |i·m − j·n| < reach, computed inside
  const touched = new Float64Array(m + 1).fill(1);
  for (let i = 0; i <= n; i++) {
    const first = Math.max(0, Math.floor((i * m - reach) / n) + 1);
    const last = Math.min(m, Math.ceil((i * m + reach) / n) - 1);
    let left = first > 0 ? 1 : 0;
    for (let j = first; j <= last; j++) {
      const above = i > 0 ? (touched[j] ?? 1) : 0;
      left = i + j === 0 ? 0 : (above * i + left * j) / (i + j);
      touched[j] = left;
    }
  }
  return touched[m] ?? 1;
}

function total(counts: ArrayLike<number>): number {
  let sum = 0;
  for (let cell = 0; cell < counts.length; cell++) sum += counts[cell] ?? 0;
  return sum;
}
