import type { ExactNumber } from '../core/samples.ts';

const words = new DataView(new ArrayBuffer(8));
const CANONICAL_NAN = 0x7ff8000000000000n;

/** A double given as its two 32-bit words, in the form that JSON gives back bit for bit (ExactNumber). */
export function exactBits(low: number, high: number): ExactNumber {
  words.setUint32(0, high);
  words.setUint32(4, low);
  const bits = words.getBigUint64(0);
  const value = words.getFloat64(0);
  if (!Number.isNaN(value)) return exactDouble(value);
  return bits === CANONICAL_NAN ? 'NaN' : `nan:${bits.toString(16).padStart(16, '0')}`;
}

/** A double in the form that JSON gives back bit for bit. A NaN with a payload needs `exactBits`. */
export function exactDouble(value: number): ExactNumber {
  if (Object.is(value, -0)) return '-0';
  return Number.isFinite(value) ? value : String(value);
}

/** A 64-bit integer in the form that JSON gives back exactly: a number up to 2^53 − 1, else its decimal digits. */
export function exactInteger(value: bigint): ExactNumber {
  const near = Number(value);
  return Number.isSafeInteger(near) ? near : value.toString();
}

/** The Float64 bits of what `exactBits` or `exactDouble` wrote; of a large integer, those of the nearest double. */
export function bitsOfExact(number: ExactNumber): bigint {
  if (typeof number === 'string' && number.startsWith('nan:')) return BigInt(`0x${number.slice(4)}`);
  if (number === 'NaN') return CANONICAL_NAN;
  words.setFloat64(0, Number(number));
  return words.getBigUint64(0);
}
