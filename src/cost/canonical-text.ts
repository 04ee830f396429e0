import { compareUtf8 } from '../core/canonical.ts';

/** Nesting that a record may have (contract: api.md, "depth 64"). */
export const DEPTH_MAX = 64;

const UNSAFE_INTEGER = /^-?\d{16,}$/;
const MAYBE_UNSAFE = /\d{16}/;
const NOT_BASIC_ORDER = /[\ud800-\uffff]/;

/**
 * JSON text as a value, where an integer beyond 2⁵³ becomes a BigInt instead of its nearest double: counts go up to
 * 2⁶³−1. Throws SyntaxError when the text is not JSON.
 */
export function parseExactJson(text: string): unknown {
  if (!MAYBE_UNSAFE.test(text)) return JSON.parse(text);
  return JSON.parse(text, exactInteger);
}

function exactInteger(_key: string, value: unknown, context?: { source?: string }): unknown {
  if (typeof value !== 'number' || Number.isSafeInteger(value)) return value;
  const source = context?.source;
  return source !== undefined && UNSAFE_INTEGER.test(source) ? BigInt(source) : value;
}

/**
 * Canonical JSON (keys by UTF-8 bytes, no spaces) of a value of `parseExactJson`; null when it nests deeper than
 * DEPTH_MAX. As core/canonical.ts, for the hot path: BigInt is written as an integer and plain keys sort natively.
 */
export function canonicalText(value: unknown, depth = 0): string | null {
  if (typeof value === 'bigint') return value.toString();
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  if (depth >= DEPTH_MAX) return null;
  const parts: string[] = [];
  if (Array.isArray(value)) {
    for (const item of value) {
      const text = canonicalText(item, depth + 1);
      if (text === null) return null;
      parts.push(text);
    }
    return `[${parts.join(',')}]`;
  }
  const fields = new Map(Object.entries(value));
  for (const key of sortedKeys([...fields.keys()])) {
    const text = canonicalText(fields.get(key), depth + 1);
    if (text === null) return null;
    parts.push(`${JSON.stringify(key)}:${text}`);
  }
  return `{${parts.join(',')}}`;
}

/** UTF-16 order equals UTF-8 order below U+D800; only other keys need the slow comparison. */
function sortedKeys(keys: string[]): string[] {
  return keys.some((key) => NOT_BASIC_ORDER.test(key)) ? keys.sort(compareUtf8) : keys.sort();
}
