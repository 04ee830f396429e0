const STIRLING = [1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156];

/**
 * Natural logarithm of the gamma function for x > 0. Relative error about 1e-15.
 * Source: Stirling's series (Abramowitz & Stegun 6.1.41), moved up to x >= 10 by the recurrence.
 */
export function logGamma(x: number): number {
  let shift = 1;
  let at = x;
  while (at < 10) {
    shift *= at;
    at += 1;
  }
  const inverse = 1 / at;
  let series = 0;
  for (let index = STIRLING.length - 1; index >= 0; index--)
    series = series * inverse * inverse + (STIRLING[index] ?? 0);
  return (at - 0.5) * Math.log(at) - at + 0.5 * Math.log(2 * Math.PI) + series * inverse - Math.log(shift);
}

/** Logarithm of the binomial coefficient "n over k", 0 <= k <= n. */
export function logChoose(n: number, k: number): number {
  if (k === 0 || k === n) return 0;
  return logGamma(n + 1) - logGamma(k + 1) - logGamma(n - k + 1);
}
