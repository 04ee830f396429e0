/**
 * Unix ms of fixed64 nanoseconds given as two words, rounded down, exact: with high·2^32 = high·(4294·10^6 + 967296),
 * everything stays below 2^53, where a plain division of the whole (1.8·10^18) would lose up to 128 ns and a millisecond.
 */
export function milliseconds(low: number, high: number): number {
  const upper = high >>> 0;
  return upper * 4_294 + Math.floor((upper * 967_296 + (low >>> 0)) / 1_000_000);
}
