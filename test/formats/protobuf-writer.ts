/** Protobuf bytes, written field by field: what the tests encode with, apart from anything in src. */
export type Field = Uint8Array;

/** A varint of any non-negative bigint or number; negative ones as 64 bits, as int64 is written. */
export function varint(value: number | bigint): Uint8Array {
  let rest = BigInt.asUintN(64, BigInt(value));
  const bytes: number[] = [];
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}

export function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

export const tag = (field: number, wire: number): Uint8Array => varint(field * 8 + wire);
export const uint = (field: number, value: number | bigint): Field => joined(tag(field, 0), varint(value));
export const sint = (field: number, value: number | bigint): Field => uint(field, zigzag(value));
export const bytes = (field: number, value: Uint8Array): Field => joined(tag(field, 2), varint(value.length), value);
export const text = (field: number, value: string): Field => bytes(field, new TextEncoder().encode(value));
export const message = (field: number, ...parts: readonly Field[]): Field => bytes(field, joined(...parts));
export const double = (field: number, value: number): Field => joined(tag(field, 1), doubleBytes(value));
export const fixed = (field: number, bits: bigint): Field => joined(tag(field, 1), fixedBytes(bits));
export const packedVarints = (field: number, values: readonly (number | bigint)[]): Field =>
  bytes(field, joined(...values.map(varint)));
export const packedSints = (field: number, values: readonly (number | bigint)[]): Field =>
  packedVarints(field, values.map(zigzag));
export const packedDoubles = (field: number, values: readonly number[]): Field =>
  bytes(field, joined(...values.map(doubleBytes)));
export const packedFixed = (field: number, values: readonly bigint[]): Field =>
  bytes(field, joined(...values.map(fixedBytes)));

function zigzag(value: number | bigint): bigint {
  const wide = BigInt(value);
  return wide < 0n ? -wide * 2n - 1n : wide * 2n;
}

function doubleBytes(value: number): Uint8Array {
  const out = new Uint8Array(8);
  new DataView(out.buffer).setFloat64(0, value, true);
  return out;
}

function fixedBytes(bits: bigint): Uint8Array {
  const out = new Uint8Array(8);
  new DataView(out.buffer).setBigUint64(0, BigInt.asUintN(64, bits), true);
  return out;
}
