import { scaledBesselK } from './bessel-k.ts';
import { logGamma } from './log-gamma.ts';

export type TestResult = { readonly value: number; readonly p_value: number };

/** scipy takes the exact law up to this size of either sample. */
const EXACT_MAX = 20;

/**
 * Two-sample Cramér–von Mises test from counts at the distinct values in ascending order (one entry a value, both
 * samples). Ties get mid-ranks. Statistic and p-value as scipy's `cramervonmises_2samp`: exact law up to 20 a sample,
 * else Anderson's moments on the limiting law (whose series scipy cuts at terms of 1e-7: where the statistic runs into
 * the hundreds it reports up to 2e-6 for what is 0). Null when a sample has fewer than two values.
 * Source: Anderson 1962, On the distribution of the two-sample Cramér–von Mises criterion.
 */
export function cramerVonMises(x: ArrayLike<number>, y: ArrayLike<number>): TestResult | null {
  let n = 0;
  let m = 0;
  let squaresX = 0;
  let squaresY = 0;
  for (let cell = 0; cell < x.length; cell++) {
    const a = x[cell] ?? 0;
    const b = y[cell] ?? 0;
    const middle = n + m + (a + b + 1) / 2;
    squaresX += squaredDistances(middle - n, a);
    squaresY += squaredDistances(middle - m, b);
    n += a;
    m += b;
  }
  if (n < 2 || m < 2) return null;
  const product = n * m;
  const u = n * squaresX + m * squaresY;
  const value = u / (product * (n + m)) - (4 * product - 1) / (6 * (n + m));
  return { value, p_value: Math.max(n, m) <= EXACT_MAX ? exactP(u, n, m) : cramerVonMisesP(value, n, m) };
}

/** Σ (rank − k)² over k = 1..count. */
function squaredDistances(rank: number, count: number): number {
  return count * rank * rank - rank * count * (count + 1) + (count * (count + 1) * (2 * count + 1)) / 6;
}

/**
 * The same statistic from bins: nm/(n+m)² Σ pooled share difference squared, the difference running straight through
 * each bin. Mid-ranks would count the ties inside a bin as evidence when the samples differ in size.
 */
export function cramerVonMisesBinned(x: ArrayLike<number>, y: ArrayLike<number>): TestResult | null {
  const n = sum(x);
  const m = sum(y);
  if (n < 2 || m < 2) return null;
  let before = 0;
  let left = 0;
  let right = 0;
  let area = 0;
  for (let cell = 0; cell < x.length; cell++) {
    const a = x[cell] ?? 0;
    const b = y[cell] ?? 0;
    left += a;
    right += b;
    const after = left / n - right / m;
    area += ((a + b) * (before * before + before * after + after * after)) / 3;
    before = after;
  }
  const value = (area * n * m) / (n + m) ** 2;
  return { value, p_value: cramerVonMisesP(value, n, m) };
}

/** Asymptotic p-value of the statistic `t` for sample sizes n and m (Anderson 1962, equations 11, 14 and 15). */
export function cramerVonMisesP(t: number, n: number, m: number): number {
  const k = n * m;
  const size = n + m;
  const mean = (1 + 1 / size) / 6;
  const variance = ((size + 1) * (4 * k * size - 3 * (n * n + m * m) - 2 * k)) / (45 * size * size * 4 * k);
  return cramerVonMisesSf(1 / 6 + (t - mean) / Math.sqrt(45 * variance));
}

/** Beyond this the series' rounding shows; the tail goes on as x^(−1/2)·exp(−π²x/2), its largest eigenvalue's law. */
const SERIES_X_MAX = 3;

/** Upper tail of the limiting law. Source: Csörgő & Faraway 1996, equation 1.2. */
function cramerVonMisesSf(x: number): number {
  if (x < 0.003) return 1;
  if (x > SERIES_X_MAX) {
    const decay = Math.exp((-(x - SERIES_X_MAX) * Math.PI ** 2) / 2) * Math.sqrt(SERIES_X_MAX / x);
    return cramerVonMisesSf(SERIES_X_MAX) * decay;
  }
  let cdf = 0;
  for (let k = 0; k < 100; k++) {
    const y = 4 * k + 1;
    const q = (y * y) / (16 * x);
    const factor = Math.exp(logGamma(k + 0.5) - logGamma(k + 1) - 2 * q) / (Math.PI ** 1.5 * Math.sqrt(x));
    const term = factor * Math.sqrt(y) * scaledBesselK(0.25, q);
    cdf += term;
    if (term < 1e-18) break;
  }
  return Math.min(1, Math.max(0, 1 - cdf));
}

/** Share of orderings whose statistic reaches u. Source: Xiao, Gordon & Yakovlev 2006 (J. Stat. Softw. 17(8)), eq. 11. */
function exactP(u: number, m: number, n: number): number {
  const multiple = (m * n) / greatestCommonDivisor(m, n);
  const a = multiple / m;
  const b = multiple / n;
  const zeta = Math.floor((multiple ** 2 * (m + n) * (6 * u - m * n * (4 * m * n - 1))) / (6 * (m * n) ** 2) + 1e-9);
  let rows: Map<number, number>[] = Array.from({ length: m + 1 }, () => new Map<number, number>());
  rows[0]?.set(0, 1);
  for (let row = 0; row <= n; row++) {
    const next: Map<number, number>[] = [];
    let running = new Map<number, number>();
    rows.forEach((above, column) => {
      running = moved(running, above, (a * column - b * row) ** 2);
      next.push(running);
    });
    rows = next;
  }
  let all = 0;
  let reached = 0;
  for (const [value, count] of rows[m] ?? []) {
    all += count;
    if (value >= zeta) reached += count;
  }
  return reached / all;
}

function moved(left: Map<number, number>, above: Map<number, number>, by: number): Map<number, number> {
  const result = new Map<number, number>();
  for (const table of [left, above])
    for (const [value, count] of table) result.set(value + by, (result.get(value + by) ?? 0) + count);
  return result;
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

function sum(counts: ArrayLike<number>): number {
  let result = 0;
  for (let cell = 0; cell < counts.length; cell++) result += counts[cell] ?? 0;
  return result;
}
