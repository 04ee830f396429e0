import { LeewayError } from '../core/errors.ts';

/** Groups are nested (deprecated since proto2); a hostile one could nest without end. */
const GROUP_DEPTH_MAX = 16;
const FIELD_MAX = 536_870_911;

const NO_BYTES = new Uint8Array(0);
const NO_VIEW = new DataView(NO_BYTES.buffer);

/** Wire types of protobuf's encoding; 3 and 4 begin and end a group. */
export const WIRE = { varint: 0, fixed64: 1, bytes: 2, group: 3, group_end: 4, fixed32: 5 } as const;

/**
 * A cursor over protobuf bytes (protobuf.dev/programming-guides/encoding). Every read is inside the bytes; a length
 * that leaves its message, a varint of more than 10 bytes or of more than 64 bits, a field 0, an unknown wire type and
 * a missing end throw LeewayError LW-BODY, which `decodeBody` turns into an outcome. Numbers of 64 bits come as two
 * words in `low` and `high` (int32 each), so that no value allocates.
 */
export class ProtobufReader {
  at = 0;
  low = 0;
  high = 0;
  bytes: Uint8Array = NO_BYTES;
  view: DataView = NO_VIEW;

  reset(bytes: Uint8Array): void {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.at = 0;
  }

  /** An unsigned varint of up to 32 bits: tags, lengths, uint32. */
  varint32(): number {
    const first = this.bytes[this.at];
    if (first !== undefined && first < 128) {
      this.at++;
      return first;
    }
    this.varint64();
    if (this.high !== 0) throw this.error('a number of at most 32 bits expected');
    return this.low >>> 0;
  }

  /** A varint of up to 64 bits into `low` and `high`. */
  varint64(): void {
    const { bytes } = this;
    let { at } = this;
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = bytes[at++];
      if (byte === undefined) throw this.error('ends inside a number');
      const seven = byte & 127;
      if (shift < 28) low |= seven << shift;
      else if (shift === 28) {
        low |= seven << 28;
        high = seven >>> 4;
      } else if (shift < 63) high |= seven << (shift - 32);
      else if (byte > 1) throw this.error('a number of more than 64 bits');
      else high |= byte << 31;
      if (byte < 128) {
        this.at = at;
        this.low = low;
        this.high = high | 0;
        return;
      }
    }
    throw this.error('a number of more than 10 bytes');
  }

  /** A zigzag varint of 32 bits (sint32). */
  zigzag32(): number {
    const raw = this.varint32();
    return (raw >>> 1) ^ -(raw & 1);
  }

  /** int32 and enum: negative ones are written as 64 bits. */
  int32(): number {
    this.varint64();
    return this.low;
  }

  /** Eight bytes, little-endian, into `low` and `high`. */
  fixed64(end: number): void {
    if (this.at + 8 > end) throw this.error('ends inside a 64-bit field');
    this.low = this.view.getInt32(this.at, true);
    this.high = this.view.getInt32(this.at + 4, true);
    this.at += 8;
  }

  /** Eight bytes as a double; a NaN loses its payload (read `fixed64` where that matters). */
  double(end: number): number {
    if (this.at + 8 > end) throw this.error('ends inside a 64-bit field');
    const value = this.view.getFloat64(this.at, true);
    this.at += 8;
    return value;
  }

  /** Reads a length and gives the end of what follows, which is inside `end`. */
  lengthEnd(end: number): number {
    const length = this.varint32();
    if (length > end - this.at) throw this.error('a length leads out of its message');
    return this.at + length;
  }

  /**
   * A tag: field number times 8 plus wire type. One in more bytes than it needs is refused, as no encoder writes it: readers
   * that know a field by its first byte would never meet it.
   */
  tag(): number {
    const tag = this.varint32();
    if (this.bytes[this.at - 1] === 0) throw this.error('a field number in more bytes than it needs');
    if (tag < 8 || tag >>> 3 > FIELD_MAX) throw this.error('a field with the number 0');
    return tag;
  }

  /** Passes over a field's content, whatever it is. */
  skip(tag: number, end: number, depth = 0): void {
    const wire = tag & 7;
    if (wire === WIRE.varint) this.varint64();
    else if (wire === WIRE.fixed64) this.at += 8;
    else if (wire === WIRE.bytes) this.at = this.lengthEnd(end);
    else if (wire === WIRE.fixed32) this.at += 4;
    else if (wire === WIRE.group) this.#skipGroup(tag >>> 3, end, depth);
    else throw this.error(`wire type ${wire} does not exist here`);
    this.within(end);
  }

  #skipGroup(field: number, end: number, depth: number): void {
    if (depth >= GROUP_DEPTH_MAX) throw this.error(`groups nested more than ${GROUP_DEPTH_MAX} deep`);
    while (this.at < end) {
      const tag = this.tag();
      if ((tag & 7) === WIRE.group_end) {
        if (tag >>> 3 !== field) throw this.error('a group ends that did not begin');
        return;
      }
      this.skip(tag, end, depth + 1);
    }
    throw this.error('ends inside a group');
  }

  /** Throws when the cursor has left the message that ends at `end`. */
  within(end: number): void {
    if (this.at > end) throw this.error('a field leads out of its message');
  }

  /** The failure at the cursor. */
  error(what: string): LeewayError {
    return new LeewayError('LW-BODY', `protobuf: ${what} (byte ${this.at} of ${this.bytes.length})`);
  }
}
