/** Distances between two rows of counts over the same cells, on their shares. Null when a row is empty. */
export type ShareDistances = {
  /** Jensen–Shannon distance (square root of the divergence), base 2: 0 to 1. As scipy's `jensenshannon(p, q, 2)`. */
  readonly jensen_shannon: number;
  /** sqrt(½ Σ (√p − √q)²): 0 to 1. */
  readonly hellinger: number;
  /** Largest difference of one cell's share: 0 to 1. */
  readonly l_infinity: number;
};

/** All three distances in one pass. */
export function shareDistances(x: ArrayLike<number>, y: ArrayLike<number>): ShareDistances | null {
  const n = sum(x);
  const m = sum(y);
  if (n === 0 || m === 0) return null;
  let divergence = 0;
  let squares = 0;
  let largest = 0;
  for (let cell = 0; cell < x.length; cell++) {
    const p = (x[cell] ?? 0) / n;
    const q = (y[cell] ?? 0) / m;
    const middle = (p + q) / 2;
    if (p > 0) divergence += p * Math.log2(p / middle);
    if (q > 0) divergence += q * Math.log2(q / middle);
    squares += (Math.sqrt(p) - Math.sqrt(q)) ** 2;
    largest = Math.max(largest, Math.abs(p - q));
  }
  return {
    jensen_shannon: Math.sqrt(Math.max(0, divergence / 2)),
    hellinger: Math.sqrt(squares / 2),
    l_infinity: largest,
  };
}

function sum(counts: ArrayLike<number>): number {
  let result = 0;
  for (let cell = 0; cell < counts.length; cell++) result += counts[cell] ?? 0;
  return result;
}
