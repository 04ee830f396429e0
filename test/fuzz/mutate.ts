import { integerBelow, type Random } from '../../src/core/random.ts';

/** No input is longer: decoders are linear, and more short inputs find more than few long ones. */
const BYTES_MAX = 65_536;
const STACKED_MAX = 5;
/** Numbers at the edges of what lengths, counts and times are kept in. */
const EDGES = [
  0n,
  1n,
  127n,
  128n,
  255n,
  16_383n,
  65_535n,
  65_536n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
].concat([2n ** 53n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n]); // prettier-ignore

type Material = { readonly corpus: readonly Uint8Array[]; readonly words: readonly string[] };
type Change = (bytes: Uint8Array, random: Random, material: Material) => Uint8Array;

/** An input of the corpus with one to five changes. The corpus stays as it is: a Buffer's own `slice` would share its bytes. */
export function mutated(random: Random, material: Material): Uint8Array {
  let bytes = pick(random, material.corpus);
  const changes = 1 + integerBelow(random, STACKED_MAX);
  for (let change = 0; change < changes; change++) bytes = pick(random, CHANGES)(bytes, random, material);
  return bytes.length > BYTES_MAX ? bytes.subarray(0, BYTES_MAX) : bytes;
}

function pick<Item>(random: Random, items: readonly Item[]): Item {
  return items[integerBelow(random, items.length)] as Item; // never empty: targets have seeds
}

function spliced(bytes: Uint8Array, from: number, to: number, put: Uint8Array): Uint8Array {
  const out = new Uint8Array(from + put.length + bytes.length - to);
  out.set(bytes.subarray(0, from));
  out.set(put, from);
  out.set(bytes.subarray(to), from + put.length);
  return out;
}

function spanOf(random: Random, bytes: Uint8Array, longest: number): [from: number, to: number] {
  const from = integerBelow(random, bytes.length + 1);
  return [from, Math.min(bytes.length, from + 1 + integerBelow(random, longest))];
}

function varint(value: bigint): Uint8Array {
  const out: number[] = [];
  for (let rest = value; ; rest >>= 7n) {
    if (rest < 128n) return Uint8Array.from([...out, Number(rest)]);
    out.push(Number(rest & 127n) | 128);
  }
}

const CHANGES: readonly Change[] = [
  // a bit
  (bytes, random) => {
    const copy = new Uint8Array(bytes);
    const at = integerBelow(random, Math.max(1, copy.length));
    if (copy.length > 0) copy[at] = (copy[at] ?? 0) ^ (1 << integerBelow(random, 8));
    return copy;
  },
  // a byte
  (bytes, random) => {
    const copy = new Uint8Array(bytes);
    if (copy.length > 0) copy[integerBelow(random, copy.length)] = integerBelow(random, 256);
    return copy;
  },
  // the end cut off
  (bytes, random) => bytes.subarray(0, integerBelow(random, bytes.length + 1)),
  // a piece cut out
  (bytes, random) => {
    const [from, to] = spanOf(random, bytes, 64);
    return spliced(bytes, from, to, new Uint8Array());
  },
  // a piece doubled, up to 16 times
  (bytes, random) => {
    const [from, to] = spanOf(random, bytes, 256);
    const piece = bytes.subarray(from, to);
    const copies = Array.from({ length: 1 + integerBelow(random, 16) }, () => piece);
    return bytes.length > BYTES_MAX / 4 ? bytes : spliced(bytes, to, to, Buffer.concat(copies));
  },
  // a piece of another input, over or into this one
  (bytes, random, { corpus }) => {
    const other = pick(random, corpus);
    const [from, to] = spanOf(random, other, 256);
    const at = integerBelow(random, bytes.length + 1);
    const end = integerBelow(random, 2) === 0 ? at : Math.min(bytes.length, at + to - from);
    return spliced(bytes, at, end, other.subarray(from, to));
  },
  // the head of this one, the tail of another
  (bytes, random, { corpus }) => {
    const other = pick(random, corpus);
    const at = integerBelow(random, Math.min(bytes.length, other.length) + 1);
    return spliced(bytes, at, bytes.length, other.subarray(at));
  },
  // a number at an edge, as a varint, over a byte or into the bytes
  (bytes, random) => {
    const at = integerBelow(random, bytes.length + 1);
    const put = varint(pick(random, EDGES));
    return spliced(bytes, at, Math.min(bytes.length, at + integerBelow(random, 2) * put.length), put);
  },
  // a number at an edge, as 8 bytes
  (bytes, random) => {
    const copy = new Uint8Array(bytes);
    if (copy.length < 8) return copy;
    new DataView(copy.buffer).setBigUint64(integerBelow(random, copy.length - 7), pick(random, EDGES), true);
    return copy;
  },
  // a word of the format, over or into the bytes; bytes at random where it has none
  (bytes, random, { words }) => {
    const put =
      words.length > 0
        ? Buffer.from(pick(random, words))
        : Uint8Array.from({ length: 1 + integerBelow(random, 8) }, () => integerBelow(random, 256));
    const at = integerBelow(random, bytes.length + 1);
    return spliced(bytes, at, Math.min(bytes.length, at + integerBelow(random, 2) * put.length), put);
  },
];
