import { LeewayError } from '../core/errors.ts';

/** Where a page ended: the order field's value of the last item and its id (core/ports.ts `Selection.after`). */
export type Position = { readonly value: string | number; readonly id: string };

/** The opaque cursor of a position in the list at `path`. */
export function encodeCursor(path: string, position: Position): string {
  return Buffer.from(JSON.stringify([path, position.value, position.id])).toString('base64url');
}

/** The position in a cursor. Throws LW-USAGE when it was not made for the list at `path`. */
export function decodeCursor(path: string, cursor: string): Position {
  const parsed = parse(Buffer.from(cursor, 'base64url').toString('utf8'));
  if (Array.isArray(parsed) && parsed.length === 3) {
    const [list, value, id]: readonly unknown[] = parsed;
    if (list === path && (typeof value === 'string' || typeof value === 'number') && typeof id === 'string')
      return { value, id };
  }
  throw notACursor();
}

/** What a list answers to a cursor that none of its answers had. */
export function notACursor(): LeewayError {
  const errors = [
    {
      path: 'query.cursor',
      got: 'a text that is no cursor of this list',
      expected: 'the next_cursor of its last answer',
    },
  ];
  return new LeewayError('LW-USAGE', 'query.cursor is not a cursor of this list; start again without it', { errors });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // not ours: the caller refuses it
  }
}
