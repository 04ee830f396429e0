import { compareUtf8 } from '../core/canonical.ts';
import { LIMITS } from '../core/limits.ts';

/** Labels of a series as (name, value) pairs in any order, `__name__` among them. */
export type LabelPair = readonly [name: string, value: string];

export const NAME_LABEL = '__name__';
/** Marks the series that stands for those over the cap. */
export const OVERFLOW_LABEL = '__overflow__';

const SURROGATE = /[\ud800-\udfff]/;
const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Text of UTF-8 bytes, or null when they are not valid UTF-8. */
export function utf8Text(bytes: Uint8Array): string | null {
  if (bytes.length <= SHORT_BYTES) {
    const text = asciiText(bytes);
    if (text !== null) return text;
  }
  try {
    return decoder.decode(bytes);
  } catch (error) {
    if (error instanceof TypeError) return null; // what a fatal decoder throws (encoding standard, 4.1)
    throw error;
  }
}

/** Most names and values: a call into the decoder costs more than they do. */
const SHORT_BYTES = 64;

function asciiText(bytes: Uint8Array): string | null {
  let text = '';
  for (let index = 0; index < bytes.length; index++) {
    const byte = bytes[index] ?? 0;
    if (byte > 127) return null;
    text += String.fromCharCode(byte);
  }
  return text;
}

/** Why a label set was refused. Codes never change meaning. */
export type LabelFault = { readonly code: string; readonly reason: string };

/**
 * Sorted labels without empty values (in the Prometheus data model a label with an empty value is an absent one), or
 * the fault. Order on the wire is not insisted on: sorted, they are the same series. Checked: a metric name, no empty
 * and no repeated name, no 0xff-confusable text (all is valid UTF-8 by then), the caps of LIMITS.
 */
export function canonicalLabels(pairs: readonly LabelPair[]): { labels: LabelPair[] } | { fault: LabelFault } {
  const labels = pairs.filter(([, value]) => value !== '').toSorted(([a], [b]) => byUtf8(a, b));
  const metric = labels.find(([name]) => name === NAME_LABEL)?.[1];
  if (metric === undefined) return fault('missing_name', `no label ${NAME_LABEL}`);
  if (labels.length > LIMITS.series_labels_max)
    return fault('label_limit', `${short(metric)}: ${labels.length} labels, at most ${LIMITS.series_labels_max}`);
  for (const [index, [name, value]] of labels.entries()) {
    if (name === '') return fault('empty_label_name', `${short(metric)}: a label without a name`);
    if (labels[index + 1]?.[0] === name)
      return fault('duplicate_label', `${short(metric)}: label ${short(name)} twice`);
    if (encodedLength(name) > LIMITS.label_name_bytes_max)
      return fault('label_size', `${short(metric)}: a label name of more than ${LIMITS.label_name_bytes_max} bytes`);
    if (encodedLength(value) > LIMITS.label_value_bytes_max)
      return fault('label_size', `${short(metric)}: label ${short(name)} over ${LIMITS.label_value_bytes_max} bytes`);
  }
  return { labels };
}

/** Order by UTF-8 bytes: that of UTF-16 units, which is quicker to tell, unless a surrogate is in it. */
function byUtf8(a: string, b: string): number {
  if (SURROGATE.test(a) || SURROGATE.test(b)) return compareUtf8(a, b);
  return a < b ? -1 : a > b ? 1 : 0;
}

function fault(code: string, reason: string): { fault: LabelFault } {
  return { fault: { code, reason } };
}

/** A text of a stranger, short enough for a message. */
export function short(text: string): string {
  return JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}…` : text);
}

/** A text of at most `bytes_max` bytes of UTF-8, whole characters, with an ellipsis where something was cut. */
export function cutText(text: string, bytes_max: number): string {
  if (text.length * 3 <= bytes_max || encodedLength(text) <= bytes_max) return text;
  const { read } = encoder.encodeInto(text, new Uint8Array(bytes_max - ELLIPSIS_BYTES));
  return `${text.slice(0, read)}…`;
}

const ELLIPSIS_BYTES = 3;

function encodedLength(text: string): number {
  return text.length > 340 ? encoder.encode(text).length : text.length; // 3 bytes a unit at most: below 341 it fits any cap
}

let scratch = new Uint8Array(4_096);

/**
 * The bytes that name a series: `name 0xff value 0xff …`, sorted by name. 0xff occurs in no UTF-8 text. Valid until the
 * next call: they are only hashed.
 */
export function canonicalBytes(labels: readonly LabelPair[]): Uint8Array {
  let at = 0;
  for (const pair of labels) {
    for (const text of pair) {
      at = writeUtf8(text, at);
      scratch[at++] = 0xff;
    }
  }
  return scratch.subarray(0, at);
}

/** Writes a text into `scratch` at `at`, with room for one byte more; where it ends. */
function writeUtf8(text: string, at: number): number {
  const needed = at + text.length * 3 + 1;
  if (needed > scratch.length) {
    const larger = new Uint8Array(needed * 2);
    larger.set(scratch);
    scratch = larger;
  }
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    if (unit > 127) return at + encoder.encodeInto(text, scratch.subarray(at)).written; // from its start again
    scratch[at + index] = unit;
  }
  return at + text.length;
}

/** A 64-bit number as two words (int32 each). */
export type Words = { readonly low: number; readonly high: number };

/**
 * The id of a series: FNV-1a with 64 bits (offset basis cbf29ce484222325, prime 100000001b3; Fowler, Noll, Vo, draft-eastlake-fnv)
 * over `canonicalBytes` of its labels. It depends on nothing else and never changes with a version. Of 10 million
 * series two share an id with probability 3·10⁻⁶ (n²/2^65); it is no defence against a sender who seeks collisions in its
 * own data.
 */
export function seriesId(canonical: Uint8Array): Words {
  let low = 0x84222325;
  let high = 0xcbf29ce4;
  for (const byte of canonical) {
    low = (low ^ byte) >>> 0;
    const product = low * 0x1b3; // the prime is 2^40 + 0x1b3: the first term only reaches the high word
    high = (Math.imul(high, 0x1b3) + Math.floor(product / 4_294_967_296) + (low << 8)) >>> 0;
    low = product >>> 0;
  }
  return { low: low | 0, high: high | 0 };
}

/** The decimal digits of an id. */
export function idText({ low, high }: Words): string {
  return ((BigInt(high >>> 0) << 32n) | BigInt(low >>> 0)).toString();
}

/** Labels as an object that a label named `__proto__` cannot touch. */
export function labelRecord(labels: readonly LabelPair[]): Record<string, string> {
  const record: Record<string, string> = Object.create(null) as Record<string, string>; // a fresh object without prototype
  for (const [name, value] of labels) record[name] = value;
  return record;
}
