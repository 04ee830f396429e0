import { joined, varint } from './protobuf-writer.ts';

const WINDOW = 65_536;
const TABLE_BITS = 14;

/** A small real compressor of snappy's block format: greedy, 4-byte hash, copies with 2-byte offsets. */
export function compressSnappy(input: Uint8Array): Uint8Array<ArrayBuffer> {
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  const places = new Int32Array(1 << TABLE_BITS).fill(-1);
  // a copy takes 3 bytes for at least 4; literals cost up to 5 bytes each, at least 4 bytes apart
  const out = new Uint8Array(16 + input.length + (input.length >> 1));
  const head = varint(input.length);
  out.set(head);
  let end = head.length;
  let literal = 0;
  let at = 0;
  const literalTo = (to: number): void => {
    for (const part of literals(input.subarray(literal, to))) {
      out.set(part, end);
      end += part.length;
    }
  };
  while (at + 4 <= input.length) {
    const word = view.getUint32(at, true);
    const slot = Math.imul(word, 0x1e35a7bd) >>> (32 - TABLE_BITS);
    const from = places[slot] ?? -1;
    places[slot] = at;
    if (from === -1 || at - from >= WINDOW || view.getUint32(from, true) !== word) {
      at++;
      continue;
    }
    let length = 4;
    while (length < 64 && at + length < input.length && input[from + length] === input[at + length]) length++;
    literalTo(at);
    const offset = at - from;
    out[end++] = ((length - 1) << 2) | 2;
    out[end++] = offset & 255;
    out[end++] = offset >>> 8;
    at += length;
    literal = at;
  }
  literalTo(input.length);
  return out.slice(0, end);
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
