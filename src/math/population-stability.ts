import { chiSquaredSf } from './incomplete-gamma.ts';

export type PopulationStability = {
  readonly value: number;
  /** value minus its mean under no change, (cells − 1)(1/n + 1/m): about 0 when nothing moved, at any size. */
  readonly debiased: number;
  readonly p_value: number;
  /** One term a cell; they add up to `value`. */
  readonly terms: readonly number[];
};

/**
 * Population stability index Σ (q − p)·ln(q/p) between two rows of counts over the same cells, each share smoothed by
 * half a count (Jeffreys). Under no change value·nm/(n+m) follows chi-squared with cells − 1 degrees of freedom when
 * cells hold about five counts or more; merge smaller ones first. Cells empty in both rows are left out (term 0).
 * Null with fewer than two cells or an empty sample.
 * Source: Yurdakul & Naranjo 2020, Statistical properties of the population stability index.
 */
export function populationStability(x: ArrayLike<number>, y: ArrayLike<number>): PopulationStability | null {
  let n = 0;
  let m = 0;
  let cells = 0;
  for (let cell = 0; cell < x.length; cell++) {
    n += x[cell] ?? 0;
    m += y[cell] ?? 0;
    if ((x[cell] ?? 0) + (y[cell] ?? 0) > 0) cells += 1;
  }
  if (n === 0 || m === 0 || cells < 2) return null;
  const terms: number[] = [];
  let value = 0;
  for (let cell = 0; cell < x.length; cell++) {
    const a = x[cell] ?? 0;
    const b = y[cell] ?? 0;
    const p = (a + 0.5) / (n + cells / 2);
    const q = (b + 0.5) / (m + cells / 2);
    const term = a + b === 0 ? 0 : (q - p) * Math.log(q / p);
    terms.push(term);
    value += term;
  }
  const debiased = value - (cells - 1) * (1 / n + 1 / m);
  return { value, debiased, p_value: chiSquaredSf((value * n * m) / (n + m), cells - 1), terms };
}
