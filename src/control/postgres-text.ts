/**
 * PostgreSQL's text holds no NUL and no half of a surrogate pair, JavaScript's strings and JSON's escapes do. Those code
 * units travel as U+0001 and four hex digits, U+0001 itself as U+0001 `0001`: reversible, the same in documents and in
 * values that are compared with them, and NUL still sorts before U+0001 before everything else.
 */
const MARK = '\u0001';
/** Control characters and surrogates without their other half: in unicode mode a whole pair is no surrogate. */
const SUSPECT = /[\p{Cc}\p{Cs}]/gu;
const MARKED = new RegExp(`${MARK}([0-9a-f]{4})`, 'g');
/** JSON.stringify writes the same code units, and only them and other control characters, as \uXXXX (ECMA-262 25.5.2.3). */
const RARE_ESCAPE = /\\u(?:000[01]|d[89a-f])/;
const ESCAPE = /\\(?:u([0-9a-f]{4})|[^u])/g;
const MARKED_ESCAPE = /\\(?:u0001([0-9a-f]{4})|u[0-9a-f]{4}|[^u])/g;

/** A string as PostgreSQL's `text` can hold it; most come back as they are. */
export function holdableText(text: string): string {
  return text.replace(SUSPECT, (unit) => {
    const code = unit.charCodeAt(0);
    return code <= 1 || code >= 0xd800 ? MARK + code.toString(16).padStart(4, '0') : unit;
  });
}

/** The string that `holdableText` was given. */
export function originalText(held: string): string {
  return held.replace(MARKED, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** The text of JSON.stringify as PostgreSQL's `json` can hold it and as its operators can read it. O(length). */
export function holdableJson(json: string): string {
  if (!RARE_ESCAPE.test(json)) return json;
  return json.replace(ESCAPE, (whole, hex: string | undefined) =>
    hex !== undefined && /^(000[01]|d[89a-f])/.test(hex) ? `\\u0001${hex}` : whole,
  );
}

/** The text that `holdableJson` was given. */
export function originalJson(held: string): string {
  if (!held.includes('\\u0001')) return held;
  return held.replace(MARKED_ESCAPE, (whole, hex: string | undefined) => (hex === undefined ? whole : `\\u${hex}`));
}
