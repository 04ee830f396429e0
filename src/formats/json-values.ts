import { LIMITS } from '../core/limits.ts';

/** Readers of parsed JSON whose shape is not ours: each says what is there, or null. */
export type JsonObject = { readonly [key: string]: unknown };

/** The value as an object, or null. */
export function objectOf(value: unknown): JsonObject | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : null; // parse door
}

/** The objects of a list; other items are left out. Not a list: none. */
export function objectsOf(value: unknown, items_max: number): readonly JsonObject[] {
  if (!Array.isArray(value)) return [];
  return value
    .slice(0, items_max)
    .map(objectOf)
    .filter((item) => item !== null);
}

/** A finite number, or null. */
export function numberOf(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

/** A text or a number as text, of at most 256 characters; else null. */
export function textOf(value: unknown): string | null {
  if (typeof value === 'string') return value.slice(0, 256);
  return typeof value === 'number' && Number.isFinite(value) ? String(value) : null;
}

/** Attributes from fields of an object, each `[attribute, field]` that holds a text or number. */
export function attributesOf(object: JsonObject, names: Readonly<Record<string, string>>): Record<string, string> {
  const attributes: Record<string, string> = {};
  for (const [attribute, field] of Object.entries(names)) {
    const text = textOf(object[field]);
    if (text !== null && text !== '') attributes[attribute] = text;
  }
  return attributes;
}

/** Parses JSON; null when it is none. */
export function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // the caller says what it expected; the engine's message only repeats a position
  }
}

/** Whether brackets outside strings nest deeper than any record may, before anything recursive sees them. O(length). */
export function nestsTooDeep(text: string): boolean {
  let depth = 0;
  let inString = false;
  for (let at = 0; at < text.length; at++) {
    const letter = text[at];
    if (inString && letter === '\\') at++;
    else if (letter === '"') inString = !inString;
    else if (!inString && (letter === '{' || letter === '[')) {
      if (++depth > LIMITS.record_depth_max) return true;
    } else if (!inString && (letter === '}' || letter === ']')) depth--;
  }
  return false;
}

/** Documents that may stay open to the end of the text; after that many, a document must end in its own line. */
const UNCLOSED_MAX = 100;
/** Characters of one document. With UNCLOSED_MAX it bounds the work on hostile input to 400 MB of reading. */
const DOCUMENT_CHARACTERS_MAX = 4 * 1_048_576;

/**
 * The JSON values of a text: one document, several after each other (pretty-printed), or one a line. What is between
 * and no value comes as `bad`, to the end of its line. O(length).
 */
export function* jsonDocuments(text: string): Generator<{ readonly value: unknown } | { readonly bad: string }> {
  let from = 0;
  let unclosed = 0;
  while (from < text.length) {
    while (from < text.length && /\s/.test(text[from] ?? '')) from++;
    if (from >= text.length) return;
    const newline = text.indexOf('\n', from);
    const line = newline === -1 ? text.length : newline;
    const opens = text[from] === '{' || text[from] === '[';
    const end = opens ? closing(text, from, unclosed < UNCLOSED_MAX ? from + DOCUMENT_CHARACTERS_MAX : line) : null;
    if (opens && end === null) unclosed++;
    const piece = text.slice(from, end ?? line);
    const value = end === null || nestsTooDeep(piece) ? null : parsedJson(piece);
    yield value === null ? { bad: piece } : { value };
    from = end ?? line;
  }
}

/** The position after the bracket that closes the one at `from`, or null when nothing before `limit` does. */
function closing(text: string, from: number, limit: number): number | null {
  let depth = 0;
  let inString = false;
  for (let at = from; at < text.length && at < limit; at++) {
    const letter = text[at];
    if (inString) {
      if (letter === '\\') at++;
      else if (letter === '"' || letter === '\n') inString = false;
    } else if (letter === '"') inString = true;
    else if (letter === '{' || letter === '[') depth++;
    else if ((letter === '}' || letter === ']') && --depth === 0) return at + 1;
  }
  return null;
}
