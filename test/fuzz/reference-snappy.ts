/** Snappy's block format (google/snappy format_description.txt), byte by byte and unchecked: what the fast one is compared with. */
export function unsnappy(input: Uint8Array): Uint8Array {
  const out: number[] = [];
  let at = 0;
  while ((input[at++] ?? 0) >= 128);
  const little = (bytes: number): number => {
    let value = 0;
    for (let index = 0; index < bytes; index++) value += (input[at++] ?? 0) * 256 ** index;
    return value;
  };
  while (at < input.length) {
    const tag = input[at++] ?? 0;
    const kind = tag & 3;
    if (kind === 0) {
      const short = tag >>> 2;
      const length = 1 + (short < 60 ? short : little(short - 59));
      for (let index = 0; index < length; index++) out.push(input[at++] ?? 0);
      continue;
    }
    const length = kind === 1 ? 4 + ((tag >>> 2) & 7) : 1 + (tag >>> 2);
    const offset = kind === 1 ? (tag >>> 5) * 256 + little(1) : little(kind === 2 ? 2 : 4);
    for (let index = 0; index < length; index++) out.push(out[out.length - offset] ?? 0);
  }
  return Uint8Array.from(out);
}
