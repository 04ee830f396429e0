import { LeewayError } from '../core/errors.ts';
import { ByteWriter } from './byte-writer.ts';

/**
 * Primitives of the collector → gateway codec: unsigned varints (LEB128), signed varints, doubles, texts and packed bits.
 * The writer grows as needed; the reader checks every read against what is there and what it may cost.
 */

const CAPACITY_BYTES = 1024;

export class LinkWriter extends ByteWriter {
  constructor(capacity_bytes = CAPACITY_BYTES) {
    super(capacity_bytes);
  }

  byte(value: number): void {
    this.reserve(1);
    this.bytes[this.end++] = value;
  }

  /** A safe integer: its sign and lowest 6 bits in the first byte, the rest as a varint after it. */
  signed(value: number): void {
    const size = Math.abs(value);
    const low = (size % 64) * 2 + (value < 0 ? 1 : 0);
    if (size < 64) return this.byte(low);
    this.byte(low | 128);
    this.varint(Math.floor(size / 64));
  }

  float64(value: number): void {
    this.reserve(8);
    this.end = this.bytes.writeDoubleLE(value, this.end);
  }

  /** UTF-8, or UTF-16 where lone surrogates make that impossible; twice the size in bytes, plus 1 for UTF-16, goes first. */
  text(value: string): void {
    const encoding = value.isWellFormed() ? 'utf8' : 'utf16le';
    const bytes = Buffer.byteLength(value, encoding);
    this.varint(bytes * 2 + (encoding === 'utf8' ? 0 : 1));
    this.reserve(bytes);
    this.end += this.bytes.write(value, this.end, encoding);
  }

  /** `value − base` in `width` bits each (0 to 53), lowest bits first. */
  packed(values: Float64Array, base: number, width: number): void {
    this.reserve(Math.ceil((values.length * width) / 8));
    let byte = 0;
    let used = 0;
    for (const value of values) {
      let rest = value - base;
      for (let left = width; left > 0; ) {
        const taken = Math.min(8 - used, left);
        const scale = 1 << taken;
        byte |= (rest % scale) << used;
        rest = Math.floor(rest / scale);
        left -= taken;
        used += taken;
        if (used < 8) continue;
        this.bytes[this.end++] = byte;
        byte = 0;
        used = 0;
      }
    }
    if (used > 0) this.bytes[this.end++] = byte;
  }
}

/** Reads what LinkWriter wrote. Every method throws LW-BODY when the bytes end early, are no such thing or cost too much. */
export class LinkReader {
  readonly #bytes: Buffer;
  #offset = 0;
  readonly #budget_bytes: number;
  #spent_bytes = 0;

  /** `budget_bytes`: what all values together may take in memory, however few bytes say them. */
  constructor(bytes: Buffer, budget_bytes: number) {
    this.#bytes = bytes;
    this.#budget_bytes = budget_bytes;
  }

  get rest_bytes(): number {
    return this.#bytes.length - this.#offset;
  }

  get spent_bytes(): number {
    return this.#spent_bytes;
  }

  /** Counts memory that is about to be taken. */
  spend(bytes: number): void {
    this.#spent_bytes += bytes;
    if (this.#spent_bytes > this.#budget_bytes)
      throw new LeewayError('LW-BODY-SIZE', 'the batch takes more memory than a body may; send smaller batches');
  }

  byte(): number {
    const byte = this.#bytes[this.#offset];
    if (byte === undefined) throw damaged('it ends early');
    this.#offset++;
    return byte;
  }

  varint(): number {
    let value = 0;
    let scale = 1;
    for (let index = 0; index < 8; index++) {
      const byte = this.byte();
      value += (byte & 127) * scale;
      if (byte < 128) {
        if (value > Number.MAX_SAFE_INTEGER) break;
        return value;
      }
      scale *= 128;
    }
    throw damaged('a number is larger than 2^53');
  }

  /** A varint that counts things: at most `max` of them. */
  count(max: number, what: string): number {
    const value = this.varint();
    if (value > max) throw damaged(`${value} ${what}, at most ${max}`);
    return value;
  }

  signed(): number {
    const first = this.byte();
    let size = (first & 127) >> 1;
    if (first >= 128) size += this.varint() * 64;
    if (size > Number.MAX_SAFE_INTEGER) throw damaged('a number is larger than 2^53');
    return first % 2 === 1 && size !== 0 ? -size : size;
  }

  float64(): number {
    return this.#take(8).readDoubleLE(0);
  }

  text(): string {
    const tagged = this.varint();
    const bytes = this.#take(Math.floor(tagged / 2));
    this.spend(bytes.length);
    return bytes.toString(tagged % 2 === 0 ? 'utf8' : 'utf16le');
  }

  /** The inverse of LinkWriter.packed: fills `into`. */
  packed(into: Float64Array, base: number, width: number): void {
    const bytes = this.#take(Math.ceil((into.length * width) / 8));
    let offset = 0;
    let held = bytes[0] ?? 0;
    let bits = 8;
    for (let index = 0; index < into.length; index++) {
      let value = 0;
      let scale = 1;
      for (let left = width; left > 0; ) {
        if (bits === 0) {
          held = bytes[++offset] ?? 0; // within the bytes taken
          bits = 8;
        }
        const taken = Math.min(bits, left);
        const size = 1 << taken;
        value += (held & (size - 1)) * scale;
        scale *= size;
        held >>= taken;
        bits -= taken;
        left -= taken;
      }
      into[index] = base + value;
    }
  }

  #take(size: number): Buffer {
    if (size > this.rest_bytes) throw damaged('it ends early');
    const bytes = this.#bytes.subarray(this.#offset, this.#offset + size);
    this.#offset += size;
    return bytes;
  }
}

/** Bytes that are no batch. */
export function damaged(why: string): LeewayError {
  return new LeewayError('LW-BODY', `the batch is damaged: ${why}`);
}
