import { joined, varint } from './protobuf-writer.ts';

const WINDOW = 65_536;

/** A small real compressor of snappy's block format: greedy, 4-byte hash, copies with 2-byte offsets. For tests. */
export function compressSnappy(input: Uint8Array): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [varint(input.length)];
  const places = new Map<number, number>();
  let literal = 0;
  let at = 0;
  const word = (from: number): number =>
    ((input[from] ?? 0) |
      ((input[from + 1] ?? 0) << 8) |
      ((input[from + 2] ?? 0) << 16) |
      ((input[from + 3] ?? 0) << 24)) >>>
    0;
  while (at + 4 <= input.length) {
    const from = places.get(word(at));
    places.set(word(at), at);
    if (from === undefined || at - from >= WINDOW) {
      at++;
      continue;
    }
    let length = 4;
    while (length < 64 && at + length < input.length && input[from + length] === input[at + length]) length++;
    parts.push(...literals(input.subarray(literal, at)));
    const offset = at - from;
    parts.push(Uint8Array.of(((length - 1) << 2) | 2, offset & 255, offset >>> 8));
    at += length;
    literal = at;
  }
  parts.push(...literals(input.subarray(literal)));
  return joined(...parts);
}

/** The same bytes without any compression: literals only. */
export function literalSnappy(input: Uint8Array): Uint8Array<ArrayBuffer> {
  return joined(varint(input.length), ...literals(input));
}

function literals(bytes: Uint8Array): Uint8Array[] {
  if (bytes.length === 0) return [];
  const last = bytes.length - 1;
  if (last < 60) return [Uint8Array.of(last << 2), bytes];
  const size = last < 256 ? 1 : last < 65_536 ? 2 : last < 16_777_216 ? 3 : 4;
  const extra = Array.from({ length: size }, (_, index) => (last >>> (8 * index)) & 255);
  return [Uint8Array.of((59 + size) << 2, ...extra), bytes];
}
