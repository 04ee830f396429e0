import { logGamma } from './log-gamma.ts';

/** Terms enough for shape up to 1e7: the series needs about 6·sqrt(shape) + 60 of them. */
const TERMS_MAX = 20_000;

/**
 * Regularised upper incomplete gamma function Q(shape, x) in [0, 1], shape > 0, x >= 0.
 * Keeps its relative accuracy in the upper tail. Source: Numerical Recipes 6.2 (series below shape + 1, Lentz's
 * continued fraction above).
 */
export function upperIncompleteGamma(shape: number, x: number): number {
  if (x <= 0) return 1;
  if (x === Infinity) return 0;
  const front = Math.exp(shape * Math.log(x) - x - logGamma(shape));
  return x < shape + 1 ? 1 - front * lowerSeries(shape, x) : front * upperFraction(shape, x);
}

function lowerSeries(shape: number, x: number): number {
  let term = 1 / shape;
  let sum = term;
  for (let index = 1; index < TERMS_MAX; index++) {
    term *= x / (shape + index);
    sum += term;
    if (term < sum * 1e-17) break;
  }
  return sum;
}

function upperFraction(shape: number, x: number): number {
  const tiny = 1e-300;
  let b = x + 1 - shape;
  let c = 1 / tiny;
  let d = 1 / b;
  let h = d;
  for (let index = 1; index < TERMS_MAX; index++) {
    const a = -index * (index - shape);
    b += 2;
    d = 1 / guarded(a * d + b, tiny);
    c = guarded(b + a / c, tiny);
    h *= d * c;
    if (Math.abs(d * c - 1) < 1e-16) break;
  }
  return h;
}

function guarded(value: number, tiny: number): number {
  return Math.abs(value) < tiny ? tiny : value;
}

/** Upper tail probability of the chi-squared law with `df` > 0 degrees of freedom at `x`. */
export function chiSquaredSf(x: number, df: number): number {
  return upperIncompleteGamma(df / 2, x / 2);
}
