import { ByteWriter } from './byte-writer.ts';

/**
 * ClickHouse Native blocks as in files and HTTP bodies (revision 0): varint columns, varint rows, then per column its
 * name, its type and its values. Source: ClickHouse docs "Native", checked against engine 26.7 by the store's tests.
 * A block of zero rows ends a file silently for the engine: never write one.
 */

/** The primitives of the format. */
export class NativeWriter extends ByteWriter {
  constructor(capacity_bytes = 4096) {
    super(capacity_bytes);
  }

  /** Varint byte length, then UTF-8. */
  string(value: string): void {
    this.reserve(value.length * 3 + 8);
    const start = this.end;
    const size = this.bytes.write(value, start + 1, 'utf8');
    if (size < 128) {
      this.bytes[start] = size;
      this.end = start + 1 + size;
      return;
    }
    this.varint(size);
    const body = this.end;
    this.end = body + this.bytes.write(value, body, 'utf8');
  }

  /** Repeats the bytes [from, to) of this writer: a value equal to the one before costs no encoding. */
  repeat(from: number, to: number): void {
    this.reserve(to - from);
    this.bytes.copyWithin(this.end, from, to);
    this.end += to - from;
  }

  /** Head of a column. */
  column(name: string, type: string): void {
    this.string(name);
    this.string(type);
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
