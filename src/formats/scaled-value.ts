/** Exponent of a value that is kept as its Float64 bits: NaN, infinities, −0, and what is no short decimal. */
export const RAW_EXPONENT = 127;
const EXPONENT_MAX = 15;
const MANTISSA_MAX = Number.MAX_SAFE_INTEGER;

/** 10^0 … 10^15, all exact in a Float64. */
export const POWERS_OF_TEN = Float64Array.from({ length: EXPONENT_MAX + 1 }, (_, exponent) => 10 ** exponent);

/** `round(value · 10^exponent)`: the mantissa, when `isScalable(value, exponent)`. */
export function mantissaOf(value: number, exponent: number): number {
  return Math.round(value * (POWERS_OF_TEN[exponent] ?? 1));
}

/** Whether `mantissaOf(value, exponent) / 10^exponent` gives back the very same double, with |mantissa| < 2^53. */
export function isScalable(value: number, exponent: number): boolean {
  const power = POWERS_OF_TEN[exponent] ?? 1;
  const mantissa = Math.round(value * power);
  if (mantissa / power !== value || mantissa > MANTISSA_MAX || mantissa < -MANTISSA_MAX) return false;
  return mantissa !== 0 || 1 / value > 0;
}

/**
 * The exponent under which `value` is an exact integer: `sticky` (the series' last) when that does, else the smallest
 * above it, else the smallest of all; RAW_EXPONENT when none does.
 *
 * A double that is a decimal of e places with |mantissa| < 2^53 passes at the largest exponent E that keeps its
 * mantissa below 2^53, or at E − 1: if e < E, the mantissa there is below 2^53/10, the product's error below 1/2, and
 * the quotient of two exact integers is rounded once. So a value without a short decimal costs two tests, not sixteen.
 */
export function exponentOf(value: number, sticky: number): number {
  if (sticky <= EXPONENT_MAX && isScalable(value, sticky)) return sticky;
  const size = Math.abs(value);
  if (!(size <= MANTISSA_MAX)) return RAW_EXPONENT;
  let largest = EXPONENT_MAX;
  while (largest > 0 && size * (POWERS_OF_TEN[largest] ?? 1) > MANTISSA_MAX) largest--;
  if (!isScalable(value, largest) && !(largest > 0 && isScalable(value, largest - 1))) return RAW_EXPONENT;
  for (let exponent = sticky < largest ? sticky + 1 : 0; exponent <= largest; exponent++)
    if (isScalable(value, exponent)) return exponent;
  for (let exponent = 0; exponent < sticky && exponent <= largest; exponent++)
    if (isScalable(value, exponent)) return exponent;
  return RAW_EXPONENT;
}

const words = new DataView(new ArrayBuffer(8));

/** The inverse: the Float64 bits of the value that a row of SampleRows holds. */
export function bitsOfScaled(mantissa: bigint, exponent: number): bigint {
  if (exponent === RAW_EXPONENT) return BigInt.asUintN(64, mantissa);
  words.setFloat64(0, Number(mantissa) / (POWERS_OF_TEN[exponent] ?? 1));
  return words.getBigUint64(0);
}
