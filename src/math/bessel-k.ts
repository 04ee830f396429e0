/**
 * Modified Bessel function of the second kind K_order(z), times exp(z), z > 0, |order| <= 2.
 * Source: DLMF 10.32.9, ∫ exp(−z(cosh t − 1))·cosh(order·t) dt over t >= 0, by the trapezoidal rule, whose error falls
 * as exp(−π²/step) for this integrand and, where z makes it narrow, as exp(−2π²/(z·step²)): below 1e-30 for both.
 */
export function scaledBesselK(order: number, z: number): number {
  const step = Math.min(0.1, 0.5 / Math.sqrt(z));
  let sum = 0.5;
  for (let t = step; t < 80; t += step) {
    const term = Math.exp(-z * (Math.cosh(t) - 1)) * Math.cosh(order * t);
    sum += term;
    if (term < sum * 1e-18) break;
  }
  return sum * step;
}
