/** Protobuf bytes of a value, and of fields: the little that answers need. */

/** A varint; negative numbers take 64 bits, as int64 does. */
export function varintBytes(value: bigint): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}

/** A field's tag and its content; wire type 2 with its length before it. */
export function fieldBytes(field: number, wire: number, content: Uint8Array): Uint8Array[] {
  const tag = varintBytes(BigInt(field * 8 + wire));
  return wire === 2 ? [tag, varintBytes(BigInt(content.length)), content] : [tag, content];
}

/** The parts in one piece. */
export function concatenated(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
