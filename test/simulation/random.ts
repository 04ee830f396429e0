import type { Random } from '../../src/core/random.ts';

/** Rounds that mix the seed in before the first draw. */
const WARM_UP = 12;

/** Numbers of a 64-bit seed: sfc32 (Doty-Humphrey, PractRand), 128 bits of state, of which the seed gives the first 64. */
export function random64(seed: bigint): Random {
  let [a, b, c, counter] = [Number(seed & 0xffff_ffffn), Number((seed >> 32n) & 0xffff_ffffn), 0x9e3779b9, 1];
  const next = (): number => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    return (sum >>> 0) / 4_294_967_296;
  };
  for (let round = 0; round < WARM_UP; round++) next();
  return { next };
}
