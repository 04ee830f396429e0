/** A line of a body, 1-based: its text, or why it has none. */
export type BodyLine =
  | { readonly line: number; readonly text: string }
  | { readonly line: number; readonly refused: 'size' | 'encoding' };

const NEWLINE = 10;
const RETURN = 13;

/**
 * Splits bytes into lines without holding more than one: a line over `line_bytes_max` is passed over and told as
 * refused, the lines after it are read as ever. Empty lines are counted and left out. A BOM at the start is skipped.
 */
export async function* splitLines(bytes: AsyncIterable<Buffer>, line_bytes_max: number): AsyncGenerator<BodyLine> {
  let held: Buffer[] = [];
  let held_bytes = 0;
  let line = 0;
  const take = (): BodyLine | null => {
    line++;
    const result =
      held_bytes > line_bytes_max ? ({ line, refused: 'size' } as const) : decode(line, Buffer.concat(held));
    held = [];
    held_bytes = 0;
    return result;
  };
  const hold = (part: Buffer): void => {
    held_bytes += part.length;
    if (held_bytes > line_bytes_max) held = [];
    else if (part.length > 0) held.push(part);
  };
  for await (const chunk of bytes) {
    let from = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, from)) {
      hold(chunk.subarray(from, end));
      from = end + 1;
      const found = take();
      if (found !== null) yield found;
    }
    hold(chunk.subarray(from));
  }
  if (held_bytes === 0) return;
  const last = take();
  if (last !== null) yield last;
}

const strict = new TextDecoder('utf-8', { fatal: true });

function decode(line: number, bytes: Buffer): BodyLine | null {
  const end = bytes.at(-1) === RETURN ? bytes.length - 1 : bytes.length;
  if (end === 0) return null;
  try {
    const text = strict.decode(bytes.subarray(0, end));
    return text.trim() === '' ? null : { line, text };
  } catch {
    return { line, refused: 'encoding' };
  }
}
