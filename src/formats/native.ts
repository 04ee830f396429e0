/**
 * ClickHouse Native blocks as in files and HTTP bodies (revision 0): varint columns, varint rows, then per column its
 * name, its type and its values. Source: ClickHouse docs "Native", checked against engine 26.7 by the store's tests.
 * A block of zero rows ends a file silently for the engine: never write one.
 */

/** A growing buffer with the primitives of the format. Not reused: `take` hands its bytes over without a copy. */
export class NativeWriter {
  #bytes: Buffer;
  #length = 0;

  constructor(capacity_bytes = 4096) {
    this.#bytes = Buffer.allocUnsafeSlow(capacity_bytes);
  }

  get length(): number {
    return this.#length;
  }

  /** Unsigned LEB128 of an integer in 0..2^53. */
  varint(value: number): void {
    this.#reserve(8);
    let rest = value;
    while (rest > 127) {
      this.#bytes[this.#length++] = (rest % 128) | 128;
      rest = Math.floor(rest / 128);
    }
    this.#bytes[this.#length++] = rest;
  }

  /** Varint byte length, then UTF-8. */
  string(value: string): void {
    this.#reserve(value.length * 3 + 8);
    const start = this.#length;
    const size = this.#bytes.write(value, start + 1, 'utf8');
    if (size < 128) {
      this.#bytes[start] = size;
      this.#length = start + 1 + size;
      return;
    }
    this.varint(size);
    const body = this.#length;
    this.#length = body + this.#bytes.write(value, body, 'utf8');
  }

  /** Repeats the bytes [from, to) of this writer: a value equal to the one before costs no encoding. */
  repeat(from: number, to: number): void {
    this.#reserve(to - from);
    this.#bytes.copyWithin(this.#length, from, to);
    this.#length += to - from;
  }

  /** Bytes as they are: the values of a fixed-width column (little endian, as every supported platform). */
  raw(view: ArrayBufferView): void {
    this.#reserve(view.byteLength);
    this.#bytes.set(new Uint8Array(view.buffer, view.byteOffset, view.byteLength), this.#length);
    this.#length += view.byteLength;
  }

  /** Head of a column. */
  column(name: string, type: string): void {
    this.string(name);
    this.string(type);
  }

  take(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  #reserve(size: number): void {
    if (this.#length + size <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(this.#bytes.length * 2, this.#length + size));
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
  }
}

/** Reads the primitives back; every read is bounds-checked and answers null at a torn end, never throws. */
export class NativeReader {
  readonly #bytes: Buffer;
  offset: number;

  constructor(bytes: Buffer, offset = 0) {
    this.#bytes = bytes;
    this.offset = offset;
  }

  varint(): number | null {
    let value = 0;
    let scale = 1;
    for (let index = 0; index < 8; index++) {
      const byte = this.#bytes[this.offset];
      if (byte === undefined) return null;
      this.offset++;
      value += (byte & 127) * scale;
      if (byte < 128) return value <= Number.MAX_SAFE_INTEGER ? value : null;
      scale *= 128;
    }
    return null;
  }

  /** A string of at most `bytes_max` bytes. */
  string(bytes_max: number): string | null {
    const size = this.varint();
    if (size === null || size > bytes_max) return null;
    return this.raw(size)?.toString('utf8') ?? null;
  }

  raw(size: number): Buffer | null {
    if (this.offset + size > this.#bytes.length) return null;
    const bytes = this.#bytes.subarray(this.offset, this.offset + size);
    this.offset += size;
    return bytes;
  }
}
