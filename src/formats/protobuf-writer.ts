const FIRST_BYTES = 4_096;

/**
 * Writes protobuf from its end to its start: what a message holds comes first, so its length is known when it is written
 * before it, and nothing is copied from a buffer of its own. Fields and the items of lists are written last to first.
 */
export class ProtobufWriter {
  #bytes = new Uint8Array(FIRST_BYTES);
  #view = new DataView(this.#bytes.buffer);
  #at = FIRST_BYTES;

  /** Bytes written so far. */
  get length(): number {
    return this.#bytes.length - this.#at;
  }

  /** The message, in one piece. */
  take(): Uint8Array {
    return this.#bytes.subarray(this.#at);
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#at);
  }

  double(value: number): void {
    this.#reserve(8);
    this.#view.setFloat64(this.#at, value, true);
  }

  fixed64(value: bigint): void {
    this.#reserve(8);
    this.#view.setBigUint64(this.#at, BigInt.asUintN(64, value), true);
  }

  /** A varint; negative numbers take 64 bits, as int64 does. */
  varint(value: bigint): void {
    let rest = BigInt.asUintN(64, value);
    if (rest < 0x8000_0000n) return this.#small(Number(rest));
    let size = 1;
    for (let left = rest >> 7n; left > 0n; left >>= 7n) size++;
    this.#reserve(size);
    for (let index = 0; index < size; index++, rest >>= 7n)
      this.#bytes[this.#at + index] = Number(rest & 127n) | (index < size - 1 ? 128 : 0);
  }

  /** Ends a field of wire type `wire` that began when `length` was `mark`: its tag and, of wire type 2, its length. */
  field(number: number, wire: number, mark: number): void {
    if (wire === 2) this.#small(this.length - mark);
    this.#small(number * 8 + wire);
  }

  /** A varint below 2^31. */
  #small(value: number): void {
    const size = value < 128 ? 1 : Math.ceil((32 - Math.clz32(value)) / 7);
    this.#reserve(size);
    for (let index = 0, rest = value; index < size; index++, rest >>>= 7)
      this.#bytes[this.#at + index] = (rest & 127) | (index < size - 1 ? 128 : 0);
  }

  #reserve(size: number): void {
    if (size > this.#at) {
      const written = this.take();
      const larger = new Uint8Array(Math.max(this.#bytes.length * 2, written.length + size));
      this.#at = larger.length - written.length;
      larger.set(written, this.#at);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    this.#at -= size;
  }
}
