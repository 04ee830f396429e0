import type { Chunk } from './corpus.ts';

/** Samples of a series and the sum of their hashes modulo 2^32. */
export type Sums = { readonly counts: Float64Array; readonly hashes: Uint32Array };

/** Odd, so that no bit of the upper word is lost (the golden ratio's). */
const MIX = 0x9e3779b1;
/** Odd as well: the time of a zero counts too. */
const OFFSET = 0x85ebca6b;

/** Counts and hashes of what was sent, by series: each sample's hash is made of all bits of its value and of its time. */
export class SentSums implements Sums {
  readonly counts: Float64Array;
  readonly hashes: Uint32Array;

  constructor(series: number) {
    this.counts = new Float64Array(series);
    this.hashes = new Uint32Array(series);
  }

  add({ rows, series, at_ms, value }: Chunk): void {
    const values = new Int32Array(value.buffer);
    const times = new Int32Array(at_ms.buffer);
    for (let row = 0; row < rows; row++) {
      const number = series[row] as number; // row < rows, as below
      const mixed = (values[row * 2] as number) + Math.imul(values[row * 2 + 1] as number, MIX) + OFFSET;
      this.counts[number] = (this.counts[number] as number) + 1;
      this.hashes[number] = (this.hashes[number] as number) + Math.imul(mixed, (times[row * 2] as number) * 2 + 1);
    }
  }
}

/** The same sum as an aggregate of SQL, of a Float64 and of a time in Unix ms. */
export function hashSql(value: string, at_ms: string): string {
  const bits = `reinterpretAsUInt64(${value})`;
  const mixed = `bitAnd(${bits}, 0xffffffff) + bitShiftRight(${bits}, 32) * ${MIX} + ${OFFSET}`;
  return `sum(bitAnd(bitAnd(${mixed}, 0xffffffff) * (bitAnd(toUInt64(${at_ms}), 0xffffffff) * 2 + 1), 0xffffffff)) % 4294967296`;
}

export type SumRow = { readonly metric: string; readonly uuid: string; readonly n: string; readonly hash: string };
