import { logGamma } from './log-gamma.ts';

/** Above this sample size the sum over n terms gives way to its expansion: 1e5 logarithms are about 8 ms. */
const SUM_N_MAX = 100_000;

/**
 * P(D_n >= d): upper tail of the two-sided one-sample Kolmogorov–Smirnov statistic for `n` observations (integer >= 1).
 * The law scipy calls `kstwo`; with n = round(n1·n2/(n1+n2)) it is the p-value of scipy's
 * `ks_2samp(method="asymp")`. Agrees with scipy 1.17 to 1e-9 (test/math/golden).
 * Source: Simard & L'Ecuyer, Computing the two-sided Kolmogorov–Smirnov distribution, J. Stat. Softw. 39(11), 2011;
 * Marsaglia, Tsang & Wang 2003 (matrix); Pelz & Good 1976 (series).
 */
export function kolmogorovSf(n: number, d: number): number {
  const t = n * d;
  if (!(d > 0) || t <= 0.5) return 1;
  if (d >= 1) return 0;
  if (t <= 1) return 1 - Math.exp(logGamma(n + 1) + n * Math.log((2 * t - 1) / n));
  if (t >= n - 1) return 2 * (1 - d) ** n;
  const square = t * d;
  if (d >= 0.5 || square > (n <= 140 ? 4 : 2.2)) return Math.min(1, 2 * smirnovSf(n, d));
  const cdf = n <= 140 || (n <= 100_000 && n * d ** 1.5 <= 1.4) ? durbinMatrixCdf(n, d) : pelzGoodCdf(n, d);
  return Math.min(1, Math.max(0, 1 - cdf));
}

/** P(D+_n >= d), one-sided. Source: Smirnov's sum (Birnbaum & Tingey 1951); for large n its expansion in 1/n. */
function smirnovSf(n: number, d: number): number {
  if (n > SUM_N_MAX) return Math.exp(-2 * n * d * d - (2 * d) / 3 + (4 * d * d) / 9 - (4 * n * d ** 4) / 9);
  const last = Math.floor(n * (1 - d));
  let logChoose = 0;
  let sum = 0;
  for (let j = 0; j <= last; j++) {
    const rest = 1 - d - j / n;
    if (rest > 0) sum += Math.exp(logChoose + (j - 1) * Math.log(d + j / n) + (n - j) * Math.log(rest));
    else if (j === n) sum += Math.exp(logChoose + (j - 1) * Math.log(d + j / n));
    logChoose += Math.log((n - j) / (j + 1));
  }
  return Math.min(1, d * sum);
}

/** P(D_n <= d) by Durbin's matrix: exact, O(k³ log n) with k = ceil(n·d). */
function durbinMatrixCdf(n: number, d: number): number {
  const k = Math.ceil(n * d);
  const size = 2 * k - 1;
  let power = durbinMatrix(k, k - n * d, size);
  let result: Scaled = { cells: identity(size), exponent: 0 };
  let factor: Scaled = { cells: power, exponent: 0 };
  for (let rest = n; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) result = multiply(result, factor, size);
    if (rest > 1) factor = multiply(factor, factor, size);
  }
  power = result.cells;
  const cell = power[(k - 1) * size + k - 1] ?? 0;
  const logFactor = logGamma(n + 1) - n * Math.log(n) + result.exponent * Math.LN2;
  return Math.min(1, cell * Math.exp(logFactor));
}

function durbinMatrix(k: number, h: number, size: number): Float64Array {
  const cells = new Float64Array(size * size);
  const inverseFactorial = new Float64Array(size + 2);
  inverseFactorial[0] = 1;
  for (let j = 1; j <= size + 1; j++) inverseFactorial[j] = (inverseFactorial[j - 1] ?? 0) / j;
  for (let row = 0; row < size; row++)
    for (let column = 0; column < size; column++)
      if (row - column + 1 >= 0) cells[row * size + column] = inverseFactorial[row - column + 1] ?? 0;
  for (let row = 0; row < size; row++) {
    const corner = (1 - h ** (row + 1)) * (inverseFactorial[row + 1] ?? 0);
    cells[row * size] = corner;
    cells[(size - 1) * size + size - 1 - row] = corner;
  }
  const both = 1 - 2 * h ** size + Math.max(0, 2 * h - 1) ** size;
  cells[(size - 1) * size] = both * (inverseFactorial[size] ?? 0);
  return k === 1 ? Float64Array.of(both) : cells;
}

type Scaled = { readonly cells: Float64Array; readonly exponent: number };

function identity(size: number): Float64Array {
  const cells = new Float64Array(size * size);
  for (let index = 0; index < size; index++) cells[index * size + index] = 1;
  return cells;
}

/** Product of two scaled matrices, scaled back by a power of two when its middle outgrows 2^400. */
function multiply(left: Scaled, right: Scaled, size: number): Scaled {
  const cells = new Float64Array(size * size);
  for (let row = 0; row < size; row++)
    for (let inner = 0; inner < size; inner++) {
      const factor = left.cells[row * size + inner] ?? 0;
      if (factor === 0) continue;
      for (let column = 0; column < size; column++) {
        const at = row * size + column;
        cells[at] = (cells[at] ?? 0) + factor * (right.cells[inner * size + column] ?? 0);
      }
    }
  const middle = (size - 1) / 2;
  const largest = cells[middle * size + middle] ?? 0;
  const exponent = left.exponent + right.exponent;
  if (largest < 2 ** 400) return { cells, exponent };
  return { cells: cells.map((cell) => cell * 2 ** -400), exponent: exponent + 400 };
}

/** P(D_n <= d) by the Pelz–Good series in 1/sqrt(n), written with Jacobi theta sums. */
function pelzGoodCdf(n: number, d: number): number {
  const z = Math.sqrt(n) * d;
  const pi2 = Math.PI ** 2;
  const log = -pi2 / (8 * z * z);
  if (log < -708) return 0;
  const terms = Math.ceil((16 * z) / Math.PI);
  const k = [0, 0, 0, 0];
  for (let index = terms; index > 0; index--) {
    const m2 = (2 * index - 1) ** 2;
    const weight = Math.exp(log * m2);
    pelzGoodTerms(z, m2).forEach((term, order) => {
      k[order] = (k[order] ?? 0) + term * weight;
    });
  }
  const root = Math.sqrt(2 * Math.PI);
  const scale = [z, 6 * z ** 4, 72 * z ** 7, 6480 * z ** 10];
  const extra = pelzGoodExtra(z, terms);
  let sum = 0;
  for (let order = 0; order < 4; order++) {
    const value = ((k[order] ?? 0) * root) / (scale[order] ?? 1) + (extra[order] ?? 0);
    sum += value / n ** (order / 2);
  }
  return sum;
}

function pelzGoodTerms(z: number, m2: number): readonly [number, number, number, number] {
  const pi2 = Math.PI ** 2;
  const z2 = z * z;
  const z4 = z2 * z2;
  const z6 = z4 * z2;
  return [
    1,
    -z2 + (pi2 / 4) * m2,
    6 * z6 + 2 * z4 + (((2 * z4 - 5 * z2) * pi2) / 4) * m2 + ((pi2 * pi2 * (1 - 2 * z2)) / 16) * m2 * m2,
    -30 * z6 -
      90 * z4 * z4 +
      ((pi2 * (135 * z4 - 96 * z6)) / 4) * m2 +
      ((pi2 * pi2 * (-60 * z2 + 212 * z4)) / 16) * m2 * m2 +
      ((pi2 ** 3 * (5 - 30 * z2)) / 64) * m2 ** 3,
  ];
}

function pelzGoodExtra(z: number, terms: number): readonly [number, number, number, number] {
  const pi2 = Math.PI ** 2;
  let second = 0;
  let third = 0;
  for (let index = terms; index > 0; index--) {
    const k2 = index * index;
    const weight = Math.exp((-pi2 / (2 * z * z)) * k2);
    second += k2 * weight;
    third += (3 * z * z - pi2 * k2) * k2 * weight;
  }
  const root = Math.sqrt(2 * Math.PI);
  return [0, 0, (second * pi2 * root) / (-36 * z ** 3), (third * pi2 * root) / (216 * z ** 6)];
}
