import { type Outcome, ok, reject } from '../core/outcome.ts';

/**
 * The densest element of the format, a copy of 64 bytes, takes 3: nothing unpacks to more than 64/3 of its size.
 * A preamble that says more is a lie, and is found out before any memory is taken for it.
 */
const RATIO_MAX = 22;
/** Copies move 8 bytes a step and may write up to 7 past their end. */
const SLACK_BYTES = 64;
const FIRST_BYTES = 65_536;

/**
 * Unpacks snappy's block format (google/snappy format_description.txt) into one buffer that is used again and again:
 * what `decompress` returns is valid until the next call.
 */
export class SnappyBlock {
  #out = new Uint8Array(FIRST_BYTES);
  #view = new DataView(this.#out.buffer);
  readonly #bytes_max: number;

  constructor(bytes_max: number) {
    this.#bytes_max = bytes_max;
  }

  /** The unpacked bytes. Rejects LW-BODY-SIZE over `bytes_max`, LW-BODY for anything that is not whole snappy. */
  decompress(input: Uint8Array): Outcome<Uint8Array> {
    const preamble = readPreamble(input);
    if (preamble === null) return reject('LW-BODY', 'snappy: no valid length at the start');
    const { length, at } = preamble;
    if (length > this.#bytes_max)
      return reject('LW-BODY-SIZE', `snappy: unpacks to ${length} bytes, at most ${this.#bytes_max} are taken`);
    if (length > input.length * RATIO_MAX)
      return reject('LW-BODY', `snappy: ${input.length} bytes cannot unpack to ${length}`);
    if (length + SLACK_BYTES > this.#out.length) {
      this.#out = new Uint8Array(Math.min(length * 2, this.#bytes_max) + SLACK_BYTES);
      this.#view = new DataView(this.#out.buffer);
    }
    const written = unpack({ input, at }, { out: this.#out, view: this.#view, length });
    if (written !== length) return reject('LW-BODY', 'snappy: corrupt');
    return ok(this.#out.subarray(0, length));
  }
}

function readPreamble(input: Uint8Array): { length: number; at: number } | null {
  let length = 0;
  for (let at = 0; at < 5; at++) {
    const byte = input[at];
    if (byte === undefined) return null;
    length += (byte & 127) * 2 ** (7 * at);
    if (byte < 128) return length > 0xffffffff ? null : { length, at: at + 1 };
  }
  return null;
}

type Target = { readonly out: Uint8Array; readonly view: DataView; readonly length: number };

/** Bytes written, or −1: every read and every copy is inside its bounds or not made. */
function unpack(source: { readonly input: Uint8Array; readonly at: number }, target: Target): number {
  const { input } = source;
  const { out, view, length } = target;
  const from = new DataView(input.buffer, input.byteOffset, input.length);
  const end = input.length;
  let at = source.at;
  let to = 0;
  while (at < end) {
    const tag = from.getUint8(at++);
    const kind = tag & 3;
    if (kind === 0) {
      let size = (tag >>> 2) + 1;
      if (size > 60) {
        const extra = size - 60;
        if (at + extra > end) return -1;
        size = 1 + littleEndian(from, at, extra);
        at += extra;
      }
      if (size > end - at || size > length - to) return -1;
      if (size <= 64 && at + size + 8 <= end) {
        for (let moved = 0; moved < size; moved += 8) {
          view.setInt32(to + moved, from.getInt32(at + moved, true), true);
          view.setInt32(to + moved + 4, from.getInt32(at + moved + 4, true), true);
        }
      } else out.set(input.subarray(at, at + size), to);
      at += size;
      to += size;
      continue;
    }
    const offset_bytes = kind === 3 ? 4 : kind;
    if (at + offset_bytes > end) return -1;
    const size = kind === 1 ? ((tag >>> 2) & 7) + 4 : (tag >>> 2) + 1;
    const offset = kind === 1 ? ((tag >>> 5) << 8) | from.getUint8(at) : littleEndian(from, at, offset_bytes);
    at += offset_bytes;
    if (offset === 0 || offset > to || size > length - to) return -1;
    copyBack(target, to, { offset, size });
    to += size;
  }
  return to;
}

function littleEndian(from: DataView, at: number, bytes: number): number {
  if (bytes === 1) return from.getUint8(at);
  if (bytes === 2) return from.getUint16(at, true);
  if (bytes === 3) return from.getUint16(at, true) | (from.getUint8(at + 2) << 16);
  return from.getUint32(at, true);
}

function copyBack({ out, view }: Target, to: number, copy: { readonly offset: number; readonly size: number }): void {
  const end = to + copy.size;
  let from = to - copy.offset;
  if (copy.offset >= 8) {
    for (let at = to; at < end; at += 8, from += 8) {
      view.setInt32(at, view.getInt32(from, true), true);
      view.setInt32(at + 4, view.getInt32(from + 4, true), true);
    }
    return;
  }
  for (let at = to; at < end; at++, from++) out[at] = out[from] ?? 0;
}
