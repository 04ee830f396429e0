/** Uniform numbers in [0, 1). One instance a purpose, so that adding a draw elsewhere never reshuffles this one. */
export interface Random {
  next(): number;
}

/** Seeded generator mulberry32 (Ettinger 2017): period 2^32, enough for jitter, simulation and test data. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return {
    next: () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let mixed = Math.imul(state ^ (state >>> 15), state | 1);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
    },
  };
}

/** The process's own generator, for jitter and ids where no seed is given. */
export const systemRandom: Random = { next: () => Math.random() };

/** A standard normal deviate (Box–Muller). */
export function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next());
}

/** A random integer in [0, below). */
export function integerBelow(random: Random, below: number): number {
  return Math.floor(random.next() * below);
}

/** A copy of `items` in random order (Fisher–Yates). */
export function shuffled<Item>(random: Random, items: readonly Item[]): Item[] {
  const copy = [...items];
  for (let index = copy.length - 1; index > 0; index--) {
    const other = integerBelow(random, index + 1);
    const held = copy[index] as Item;
    copy[index] = copy[other] as Item;
    copy[other] = held;
  }
  return copy;
}
