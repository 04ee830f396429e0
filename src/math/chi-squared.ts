import { chiSquaredSf } from './incomplete-gamma.ts';

export type ChiSquared = { readonly value: number; readonly df: number; readonly p_value: number };

/**
 * Pearson's chi-squared test of homogeneity for two rows of counts over the same categories; categories empty in both
 * are left out. As scipy's `chi2_contingency([x, y], correction=False)`: no continuity correction at one degree of
 * freedom. Null with fewer than two categories or an empty sample.
 */
export function chiSquared(x: ArrayLike<number>, y: ArrayLike<number>): ChiSquared | null {
  const n = sum(x);
  const m = sum(y);
  if (n === 0 || m === 0) return null;
  let cells = 0;
  let value = 0;
  for (let cell = 0; cell < Math.max(x.length, y.length); cell++) {
    const a = x[cell] ?? 0;
    const b = y[cell] ?? 0;
    if (a + b === 0) continue;
    cells += 1;
    // both rows' terms share the deviation a·m − b·n
    value += (a * m - b * n) ** 2 / (n * m * (a + b));
  }
  if (cells < 2) return null;
  return { value, df: cells - 1, p_value: chiSquaredSf(value, cells - 1) };
}

/** Cramér's V of a two-row table: sqrt(chi2 / rows), 0 (same shares) to 1 (disjoint). */
export function cramersV(chi2: number, rows: number): number {
  return Math.min(1, Math.sqrt(chi2 / rows));
}

function sum(counts: ArrayLike<number>): number {
  let result = 0;
  for (let cell = 0; cell < counts.length; cell++) result += counts[cell] ?? 0;
  return result;
}
