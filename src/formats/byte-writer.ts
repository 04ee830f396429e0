/** A growing buffer and what all binary formats here put into it. Not reused: `take` hands its bytes over without a copy. */
export class ByteWriter {
  protected bytes: Buffer;
  protected end = 0;

  constructor(capacity_bytes: number) {
    this.bytes = Buffer.allocUnsafeSlow(capacity_bytes);
  }

  get length(): number {
    return this.end;
  }

  /** Unsigned LEB128 of an integer in 0..2^53. */
  varint(value: number): void {
    this.reserve(8);
    let rest = value;
    while (rest > 127) {
      this.bytes[this.end++] = (rest % 128) | 128;
      rest = Math.floor(rest / 128);
    }
    this.bytes[this.end++] = rest;
  }

  /** Bytes as they are in memory (little endian, as every supported platform). */
  raw(view: ArrayBufferView): void {
    this.reserve(view.byteLength);
    this.bytes.set(new Uint8Array(view.buffer, view.byteOffset, view.byteLength), this.end);
    this.end += view.byteLength;
  }

  take(): Buffer {
    return this.bytes.subarray(0, this.end);
  }

  protected reserve(size: number): void {
    if (this.end + size <= this.bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(this.bytes.length * 2, this.end + size));
    this.bytes.copy(larger, 0, 0, this.end);
    this.bytes = larger;
  }
}
