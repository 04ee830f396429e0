/** The p-quantile (0..1) of unsorted finite values, linear between order statistics (type 7: numpy, R). Empty: null. */
export function quantile(values: readonly number[], p: number): number | null {
  return quantileSorted([...values].sort(ascending), p);
}

/** As `quantile`, for values already sorted ascending: no copy. */
export function quantileSorted(sorted: readonly number[], p: number): number | null {
  const position = p * (sorted.length - 1);
  const below = Math.floor(position);
  const low = sorted[below];
  if (low === undefined) return null;
  const high = sorted[below + 1] ?? low;
  return low + (high - low) * (position - below);
}

/** The median of finite values. Empty: null. */
export function median(values: readonly number[]): number | null {
  return quantile(values, 0.5);
}

/** Standard deviation estimated as 1.4826 × median absolute deviation from `center` (consistent under normality). */
export function robustScale(values: readonly number[], center: number): number {
  return 1.4826 * (median(values.map((value) => Math.abs(value - center))) ?? 0);
}

/** Mean of what is left after dropping `share` (0..0.5) of the values at each end. Empty: null. */
export function trimmedMean(values: readonly number[], share: number): number | null {
  const sorted = [...values].sort(ascending);
  const cut = Math.min(Math.floor(sorted.length * share), Math.floor((sorted.length - 1) / 2));
  return mean(sorted.slice(cut, sorted.length - cut));
}

/** Arithmetic mean. Empty: null. */
export function mean(values: readonly number[]): number | null {
  if (values.length === 0) return null;
  let sum = 0;
  for (const value of values) sum += value;
  return sum / values.length;
}

/** Sum of the values, 0 for none. */
export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function ascending(a: number, b: number): number {
  return a - b;
}
