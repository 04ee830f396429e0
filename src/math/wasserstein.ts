/** A weighted sample: values ascending, weights >= 0 (counts), both of one length. */
export type Weighted = { readonly values: ArrayLike<number>; readonly weights: ArrayLike<number> };

/**
 * Wasserstein-1 distance between two weighted samples, in the unit of the values: ∫ |F − G|. As scipy's
 * `wasserstein_distance`. Null when a sample has no weight or a value is not finite.
 */
export function wasserstein(x: Weighted, y: Weighted): number | null {
  const n = sum(x.weights);
  const m = sum(y.weights);
  if (n === 0 || m === 0) return null;
  let i = 0;
  let j = 0;
  let left = 0;
  let right = 0;
  let previous = 0;
  let distance = 0;
  while (i < x.values.length || j < y.values.length) {
    const a = i < x.values.length ? (x.values[i] ?? 0) : Infinity;
    const b = j < y.values.length ? (y.values[j] ?? 0) : Infinity;
    const value = Math.min(a, b);
    if (!Number.isFinite(value)) return null;
    if (left + right > 0) distance += Math.abs(left / n - right / m) * (value - previous);
    if (a <= b) left += x.weights[i++] ?? 0;
    else right += y.weights[j++] ?? 0;
    previous = value;
  }
  return distance;
}

function sum(weights: ArrayLike<number>): number {
  let result = 0;
  for (let index = 0; index < weights.length; index++) result += weights[index] ?? 0;
  return result;
}
