/** A line of a body, 1-based: its text, or why it has none. */
export type BodyLine =
  | { readonly line: number; readonly text: string }
  | { readonly line: number; readonly refused: 'size' | 'encoding' };

const NEWLINE = 10;
const RETURN = 13;

/**
 * Splits a body into lines: one over `line_bytes_max` is told as refused, the lines after it are read as ever. Empty lines are
 * counted and left out. A BOM at the start is skipped.
 */
export function* splitLines(body: Buffer, line_bytes_max: number): Generator<BodyLine> {
  let line = 0;
  for (let from = 0; from < body.length; ) {
    const feed = body.indexOf(NEWLINE, from);
    const to = feed === -1 ? body.length : feed;
    line++;
    const found =
      to - from > line_bytes_max ? ({ line, refused: 'size' } as const) : decode(line, body.subarray(from, to));
    from = to + 1;
    if (found !== null) yield found;
  }
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
