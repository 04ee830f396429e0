const words = new DataView(new ArrayBuffer(8));

/** The double of two 32-bit words; a NaN loses its payload. */
export function doubleOfWords(low: number, high: number): number {
  words.setInt32(0, low, true);
  words.setInt32(4, high, true);
  return words.getFloat64(0, true);
}

/** Whether the high word is that of a NaN or an infinity: a value to be kept as bits. */
export function isNotFinite(high: number): boolean {
  return (high & 0x7ff00000) === 0x7ff00000;
}
