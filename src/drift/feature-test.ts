import { fisherTwoSided } from '../math/fisher-exact.ts';
import {
  KS_EXACT_CELLS_MAX,
  kolmogorovSmirnov,
  kolmogorovSmirnovExactP,
  kolmogorovSmirnovP,
} from '../math/kolmogorov-smirnov.ts';
import { populationStability } from '../math/population-stability.ts';
import { mergedCells } from './merged-cells.ts';
import type { FeatureCounts, ReferenceFeature } from './reference.ts';

/** The strongest evidence against "this feature is as it was", with a p-value that covers all tests made on it. */
export type FeatureTest = {
  /** ks: Kolmogorov–Smirnov distance; l_infinity: largest change of a region's or category's share; missing_ratio. */
  readonly statistic: 'ks' | 'l_infinity' | 'missing_ratio';
  readonly value: number;
  readonly p_value: number;
  /** PSI minus its mean under no change, on bins merged to hold enough rows; null when one bin is left. */
  readonly psi_debiased: number | null;
};

type Part = Omit<FeatureTest, 'psi_debiased'>;

/** Regions of equal reference share of a numeric feature whose share is tested. */
const REGIONS = 8;

/**
 * Tests one feature of a window against the reference, for small windows and very small p-values.
 *
 * Every part is an exact conditional test of exchangeability, so that p = 1e-8 means that at 100 rows too, where
 * chi-squared and the limiting Kolmogorov law do not: the Kolmogorov–Smirnov distance (numeric; half of the error
 * allowance), the share of each region or category (Fisher), and the share of missing values (Fisher; a quarter where
 * any is missing). Parts are combined by weighted Bonferroni, valid under any dependence.
 *
 * Both samples are random: the reference's own error is in every p-value (two-sample, never one-sample). That the same
 * reference rows chose the edges is harmless: the edges sit at reference ranks, so a region's share of new rows follows
 * the same hypergeometric law (exceedance statistics; Gastwirth 1968).
 *
 * Rows are taken as exchangeable; strongly autocorrelated traffic needs longer windows. Null when a side has no rows.
 */
export function testFeature(reference: ReferenceFeature, window: FeatureCounts): FeatureTest | null {
  if (reference.n === 0 || window.n === 0 || window.counts.length !== reference.counts.length) return null;
  const missing = missingPart(reference, window);
  const weight = missing === null ? 1 : 2;
  const parts = missing === null ? [] : [missing];
  const numeric = reference.binning.kind === 'numeric';
  const distance = numeric ? distancePart(reference.counts, window.counts) : null;
  if (distance !== null) parts.push({ ...distance, p_value: Math.min(1, 2 * weight * distance.p_value) });
  const share = sharePart(numeric, reference.counts, window.counts);
  if (share !== null) parts.push({ ...share, p_value: Math.min(1, (numeric ? 2 : 1) * weight * share.p_value) });
  const strongest = parts.reduce<Part | null>(
    (best, part) => (best && best.p_value <= part.p_value ? best : part),
    null,
  );
  if (strongest === null) return null;
  const cells = mergedCells(reference.counts, window.counts, { ordered: numeric, expected_min: 5, cells_max: 20 });
  return { ...strongest, psi_debiased: populationStability(cells.x, cells.y)?.debiased ?? null };
}

function missingPart(reference: FeatureCounts, window: FeatureCounts): Part | null {
  if (reference.missing + window.missing === 0) return null;
  const p = fisherTwoSided({
    hits_x: reference.missing,
    n_x: reference.n,
    hits_y: window.missing,
    n_y: window.n,
  });
  const value = Math.abs(window.missing / window.n - reference.missing / reference.n);
  return { statistic: 'missing_ratio', value, p_value: Math.min(1, 2 * p) };
}

function distancePart(x: readonly number[], y: readonly number[]): Part | null {
  const value = kolmogorovSmirnov(x, y);
  if (value === null) return null;
  const n = sum(x);
  const m = sum(y);
  const exact = n * m <= KS_EXACT_CELLS_MAX;
  return {
    statistic: 'ks',
    value,
    p_value: exact ? kolmogorovSmirnovExactP(value, n, m) : kolmogorovSmirnovP(value, n, m),
  };
}

/** The largest change of share over regions (numeric) or categories, with Bonferroni over those that could show one. */
function sharePart(numeric: boolean, x: readonly number[], y: readonly number[]): Part | null {
  const n_x = sum(x);
  const n_y = sum(y);
  if (n_x === 0 || n_y === 0) return null;
  const cells = numeric ? regions(x, y) : x.map((count, bin): [number, number] => [count, y[bin] ?? 0]);
  const tested = cells.filter(([a, b]) => a + b > 0);
  let value = 0;
  let p_value = 1;
  for (const [hits_x, hits_y] of tested) {
    const p = fisherTwoSided({ hits_x, n_x, hits_y, n_y });
    if (p < p_value) {
      p_value = p;
      value = Math.abs(hits_y / n_y - hits_x / n_x);
    }
  }
  return { statistic: 'l_infinity', value, p_value: Math.min(1, p_value * Math.max(1, tested.length)) };
}

/**
 * The outer bins (values never seen before), the bins between joined into regions of about equal reference share, and
 * the outer quarter on both sides together (spread).
 */
function regions(x: readonly number[], y: readonly number[]): [number, number][] {
  const cells = x.map((count, bin): [number, number] => [count, y[bin] ?? 0]);
  const below = cells[0];
  const above = cells.at(-1);
  if (below === undefined || above === undefined || cells.length < 6) return cells;
  const inner = joinedCells(cells.slice(1, -1));
  const first = inner[0];
  const last = inner.at(-1);
  if (first === undefined || last === undefined || inner.length < 4) return [below, ...inner, above];
  const outer = [below, first, last, above].reduce((sum, cell) => [sum[0] + cell[0], sum[1] + cell[1]], [0, 0]);
  return [below, ...inner, above, outer];
}

function joinedCells(cells: readonly (readonly [number, number])[]): [number, number][] {
  const total = cells.reduce((all, [count]) => all + count, 0);
  const joined: [number, number][] = [];
  let held: [number, number] = [0, 0];
  let passed = 0;
  cells.forEach(([count, other], index) => {
    held = [held[0] + count, held[1] + other];
    passed += count;
    if (passed < ((joined.length + 1) * total) / REGIONS && index + 1 < cells.length) return;
    joined.push(held);
    held = [0, 0];
  });
  return joined;
}

function sum(counts: readonly number[]): number {
  return counts.reduce((total, count) => total + count, 0);
}
