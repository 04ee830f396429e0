import type { TestResult } from './cramer-von-mises.ts';

/**
 * Two-sample Anderson–Darling test from counts at ascending distinct values (or bins, which then count as ties).
 * `value` is the normalised mid-rank statistic of scipy's `anderson_ksamp(variant="midrank")`; `p_value` comes from the
 * limiting law, where scipy interpolates seven points and clips to 0.001…0.25.
 * Null when a sample is empty or all values are equal.
 * Source: Scholz & Stephens 1987, equation 7; Marsaglia & Marsaglia 2004 for the law.
 */
export function andersonDarling(x: ArrayLike<number>, y: ArrayLike<number>): TestResult | null {
  let n = 0;
  let m = 0;
  let cells = 0;
  for (let cell = 0; cell < x.length; cell++) {
    const a = x[cell] ?? 0;
    const b = y[cell] ?? 0;
    if (a + b > 0) cells += 1;
    n += a;
    m += b;
  }
  const size = n + m;
  if (n === 0 || m === 0 || cells < 2 || size < 4) return null;
  const sigma = Math.sqrt(variance(n, m));
  const value = (midRankStatistic(x, y, n, m) - 1) / sigma;
  return { value, p_value: andersonDarlingSf(1 + value * LIMIT_SIGMA) };
}

/** Standard deviation of the limiting law: sqrt(2(π² − 9)/3). */
const LIMIT_SIGMA = Math.sqrt((2 * (Math.PI ** 2 - 9)) / 3);

function midRankStatistic(x: ArrayLike<number>, y: ArrayLike<number>, n: number, m: number): number {
  const size = n + m;
  let before = 0;
  let left = 0;
  let sum = 0;
  for (let cell = 0; cell < x.length; cell++) {
    const a = x[cell] ?? 0;
    const both = a + (y[cell] ?? 0);
    if (both === 0) continue;
    const middle = before + both / 2;
    // Mx − n·middle/size of one sample is minus that of the other: one difference serves both
    const difference = size * (left + a / 2) - middle * n;
    sum += (both * difference * difference) / (middle * (size - middle) - (size * both) / 4);
    before += both;
    left += a;
  }
  return ((sum / size) * (1 / n + 1 / m) * (size - 1)) / size;
}

/** Finite-sample variance of the statistic for two samples (Scholz & Stephens 1987, equation 4). */
function variance(n: number, m: number): number {
  const size = n + m;
  const inverse = 1 / n + 1 / m;
  const { h, g } = harmonicSums(size);
  const a = 4 * g - 6 + (10 - 6 * g) * inverse;
  const b = (2 * g - 4) * 4 + 16 * h + (2 * g - 14 * h - 4) * inverse - 8 * h + 4 * g - 6;
  const c = (6 * h + 2 * g - 2) * 4 + (4 * h - 4 * g + 6) * 2 + (2 * h - 6) * inverse + 4 * h;
  const d = (2 * h + 6) * 4 - 8 * h;
  return (a * size ** 3 + b * size ** 2 + c * size + d) / ((size - 1) * (size - 2) * (size - 3));
}

/** Sums grow with the pooled size: beyond this, h = ln N + γ + … and g → π²/6 are exact to 1e-12. */
const SUM_SIZE_MAX = 2_000_000;

/** Sums of the last size asked for: a thousand columns of one data set share it. */
let known = { size: 0, h: 0, g: 0 };

function harmonicSums(size: number): { readonly h: number; readonly g: number } {
  if (known.size !== size) known = { size, ...summed(size) };
  return known;
}

function summed(size: number): { h: number; g: number } {
  const last = Math.min(size, SUM_SIZE_MAX);
  let partial = 0;
  let g = 0;
  for (let i = 1; i <= last - 2; i++) {
    partial += 1 / (last - i);
    g += partial / (i + 1);
  }
  if (size > last) {
    const harmonic = (x: number): number => Math.log(x) + 0.5772156649015329 + 1 / (2 * x) - 1 / (12 * x * x);
    const tail = (x: number): number => (Math.log(x) + 1) / x;
    return { h: harmonic(size - 1), g: Math.PI ** 2 / 6 - tail(size) };
  }
  return { h: partial + 1, g };
}

/** P(A² >= z) of the limiting law, to 2e-6 absolute; beyond 6 the tail of its largest eigenvalue, z^(−1/2)·exp(−z). */
function andersonDarlingSf(z: number): number {
  if (z <= 0.01) return 1;
  if (z > 6) return andersonDarlingSf(6) * Math.exp(6 - z) * Math.sqrt(6 / z);
  if (z < 2) {
    const poly = horner([2.00012, 0.247105, -0.0649821, 0.0347962, -0.011672, 0.00168691], z);
    return Math.max(0, 1 - (Math.exp(-1.2337141 / z) / Math.sqrt(z)) * poly);
  }
  return -Math.expm1(-Math.exp(horner([1.0776, -2.30695, 0.43424, -0.082433, 0.008056, -0.0003146], z)));
}

function horner(coefficients: readonly number[], z: number): number {
  return coefficients.reduceRight((sum, coefficient) => sum * z + coefficient, 0);
}
