import { baseUnit, scaled } from './quantity.ts';
import type { Value } from './decode-result.ts';

/** The type a `# TYPE` line gives its family; `untyped` without one. */
export type FamilyType =
  | 'counter'
  | 'gauge'
  | 'histogram'
  | 'summary'
  | 'untyped'
  | 'info'
  | 'stateset'
  | 'gaugehistogram';

/** One line `name{labels} value [timestamp]`. */
export type ExpositionSample = {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** The value as printed: exact where a double is not. */
  readonly text: string;
  /** The value: NaN and infinities as they are, an integer above 2^53 as bigint. */
  readonly value: Value;
  /** Unix ms, when the line carries a time. */
  readonly timestamp_ms: number | null;
  /** The family it belongs to: `x` of `x_bucket`, `x_sum`, `x_total`, … */
  readonly family: string;
  readonly type: FamilyType;
  readonly line: number;
};

/** A line that was skipped. */
export type ExpositionProblem = {
  readonly line: number;
  readonly kind: 'syntax' | 'limit' | 'duplicate' | 'truncated';
  readonly reason: string;
};

export type Exposition = {
  readonly samples: readonly ExpositionSample[];
  readonly problems: readonly ExpositionProblem[];
};

/** Characters of a line: the longest honest one (ray, dcgm with pod labels) has under 2,000. */
const LINE_CHARACTERS_MAX = 65_536;
/** Labels of a sample: Prometheus's own default limit is 64. */
const LABELS_MAX = 64;
/** Samples of a scrape: a hundred times a large exporter. */
const SAMPLES_MAX = 500_000;
/** Problems kept one by one; a file of another kind is told by its first ones. */
const PROBLEMS_MAX = 1_000;

/**
 * Reads the Prometheus text format 0.0.4 and OpenMetrics 1.0 (exemplars dropped, `# EOF` ends it): names with colons
 * and quoted UTF-8 names, trailing commas, escapes, timestamps (ms in Prometheus, seconds in OpenMetrics).
 * A line that cannot be read is skipped and told in `problems`; of a repeated series the first counts. Never throws.
 * O(length). Source: prometheus.io/docs/instrumenting/exposition_formats, OpenMetrics 1.0 sections 4 and 5.
 */
export function parseExposition(text: string): Exposition {
  const reader = new ExpositionReader();
  let from = 0;
  let line = 0;
  while (from < text.length && !reader.ended) {
    const newline = text.indexOf('\n', from);
    const end = newline === -1 ? text.length : newline;
    reader.line(++line, text.slice(from, text[end - 1] === '\r' && end > from ? end - 1 : end));
    if (newline === -1) reader.problem(line, 'truncated', 'the last line has no line end and may be cut');
    from = end + 1;
  }
  return reader.result();
}

const SUFFIXES = /_(total|bucket|sum|count|created|info|gcount|gsum)$/;
const TYPES: ReadonlySet<string> = new Set([
  'counter',
  'gauge',
  'histogram',
  'summary',
  'untyped',
  'info',
  'stateset',
  'gaugehistogram',
]);

class ExpositionReader {
  readonly #samples: ExpositionSample[] = [];
  readonly #problems: ExpositionProblem[] = [];
  readonly #types = new Map<string, FamilyType>();
  readonly #seen = new Set<string>();
  #openMetrics = false;
  ended = false;

  line(number: number, text: string): void {
    if (text.length > LINE_CHARACTERS_MAX) return this.problem(number, 'limit', `a line of ${text.length} characters`);
    if (text.trim() === '') return;
    if (text.trimStart().startsWith('#')) return this.#comment(text.trim());
    if (this.#samples.length >= SAMPLES_MAX) {
      this.ended = true;
      return this.problem(number, 'limit', `more than ${SAMPLES_MAX} samples`);
    }
    const parsed = parseSample(text);
    if (typeof parsed === 'string') this.problem(number, 'syntax', parsed);
    else this.#add(number, parsed);
  }

  problem(line: number, kind: ExpositionProblem['kind'], reason: string): void {
    if (this.#problems.length < PROBLEMS_MAX) this.#problems.push({ line, kind, reason });
  }

  result(): Exposition {
    return { samples: this.#samples, problems: this.#problems };
  }

  #comment(text: string): void {
    if (text === '# EOF') {
      this.ended = true;
      return;
    }
    const match = /^#\s+(TYPE|UNIT)\s+("[^"]{1,512}"|\S{1,512})\s+(\S{1,32})/.exec(text);
    if (match === null) return;
    const family = (match[2] ?? '').replaceAll('"', '');
    if (match[1] === 'UNIT') this.#openMetrics = true;
    else this.#types.set(family, typeWord(match[3] ?? ''));
  }

  #add(line: number, sample: ParsedLine): void {
    const key = `${sample.name}\u0000${Object.entries(sample.labels).toSorted(byKey).join('\u0000')}\u0000${sample.time}`;
    if (this.#seen.has(key)) return this.problem(line, 'duplicate', sample.name.slice(0, 200));
    this.#seen.add(key);
    const trimmed = sample.name.replace(SUFFIXES, '');
    const family = !this.#types.has(sample.name) && this.#types.has(trimmed) ? trimmed : sample.name;
    this.#samples.push({
      name: sample.name,
      labels: sample.labels,
      text: sample.value,
      value: exposedValue(sample.value) ?? Number.NaN,
      timestamp_ms: timeOf(sample.time, this.#openMetrics),
      family,
      type: this.#types.get(family) ?? 'untyped',
      line,
    });
  }
}

function byKey(a: readonly [string, string], b: readonly [string, string]): number {
  return a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0;
}

function typeWord(word: string): FamilyType {
  const lower = word.toLowerCase();
  return TYPES.has(lower) ? (lower as FamilyType) : 'untyped'; // parse door: the set holds the type's words
}

/** Prometheus prints integer milliseconds; OpenMetrics prints seconds, with a point. */
function timeOf(time: string, openMetrics: boolean): number | null {
  if (time === '') return null;
  const inSeconds = openMetrics || time.includes('.');
  return Math.round(Number(time) * (inSeconds ? 1_000 : 1));
}

/** A value as Go's ParseFloat reads it, without hexadecimal and underscores; null when it is none. */
function exposedValue(text: string): Value | null {
  if (/^[+-]?inf(inity)?$/i.test(text))
    return text.startsWith('-') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  return /^[+-]?nan$/i.test(text) ? Number.NaN : scaled(text);
}

type ParsedLine = {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: string;
  readonly time: string;
};

const NAME = /[a-zA-Z_:][a-zA-Z0-9_:.]*/y;
const LABEL = /[a-zA-Z_][a-zA-Z0-9_.]*/y;

/** One sample line, or what is wrong with it. */
function parseSample(line: string): ParsedLine | string {
  let at = blanks(line, 0);
  let name = matchAt(NAME, line, at) ?? '';
  at = blanks(line, at + name.length);
  const labels = new Map<string, string>();
  if (line[at] === '{') {
    const parsed = parseLabels(line, at + 1, labels);
    if (typeof parsed === 'string') return parsed;
    at = parsed.next;
    if (name === '' && parsed.name !== null) name = parsed.name;
  }
  if (name === '') return 'no metric name';
  const rest = line.slice(at).split(/\s+#\s/, 1)[0] ?? '';
  const words = rest.trim().split(/\s+/);
  const [value = '', time = ''] = words;
  if (words.length > 2) return 'text after value and time';
  if (exposedValue(value) === null) return `no number after ${name.slice(0, 60)}`;
  if (time !== '' && !/^-?\d{1,16}(\.\d{1,9})?$/.test(time)) return 'the time is no number';
  return { name, labels: Object.fromEntries(labels), value, time };
}

function parseLabels(
  line: string,
  from: number,
  labels: Map<string, string>,
): { readonly next: number; readonly name: string | null } | string {
  let at = from;
  let metric: string | null = null;
  for (let turn = 0; turn <= LABELS_MAX; turn++) {
    at = blanks(line, at);
    if (line[at] === '}') return { next: at + 1, name: metric };
    const key = line[at] === '"' ? quotedText(line, at) : plainLabel(line, at);
    if (key === null) return 'a label without a name';
    at = blanks(line, key.next);
    if (line[at] === '=') {
      const value = quotedText(line, blanks(line, at + 1));
      if (value === null) return `label ${key.text.slice(0, 60)} without a quoted value`;
      if (labels.has(key.text)) return `label ${key.text.slice(0, 60)} occurs twice`;
      labels.set(key.text, value.text);
      at = blanks(line, value.next);
    } else if (line[at - 1] === '"' && metric === null) metric = key.text;
    else return 'a label without "="';
    if (line[at] === ',') at++;
    else if (line[at] !== '}') return 'neither "," nor "}" after a label';
  }
  return `more than ${LABELS_MAX} labels`;
}

type Text = { readonly text: string; readonly next: number };

function plainLabel(line: string, at: number): Text | null {
  const text = matchAt(LABEL, line, at);
  return text === null ? null : { text, next: at + text.length };
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', '"': '"', '\\': '\\' };

/** A quoted text with the escapes of the format; another escape stands for itself, backslash included. */
function quotedText(line: string, from: number): Text | null {
  if (line[from] !== '"') return null;
  let text = '';
  for (let at = from + 1; at < line.length; at++) {
    const letter = line[at];
    if (letter === '"') return { text, next: at + 1 };
    if (letter === '\\') {
      const escaped = line[++at] ?? '';
      text += ESCAPES[escaped] ?? `\\${escaped}`;
    } else text += letter;
  }
  return null;
}

function matchAt(pattern: RegExp, line: string, at: number): string | null {
  pattern.lastIndex = at;
  return pattern.exec(line)?.[0] ?? null;
}

function blanks(line: string, from: number): number {
  let at = from;
  while (line[at] === ' ' || line[at] === '\t') at++;
  return at;
}

/** The unit that a metric name's ending promises (Prometheus naming), or '' when it promises none. */
export function unitOfName(name: string): string {
  const base = name.replace(SUFFIXES, '');
  for (const [ending, unit] of Object.entries(UNIT_ENDINGS)) if (base.endsWith(ending)) return unit;
  return baseUnit('') ?? '';
}

const UNIT_ENDINGS: Readonly<Record<string, string>> = {
  _seconds: 's',
  _milliseconds: 'ms',
  _ms: 'ms',
  _us: 'us',
  _microseconds: 'us',
  _bytes: 'By',
  _ratio: '1',
  _celsius: 'Cel',
  _watts: 'W',
  _joules: 'J',
  _hertz: 'Hz',
  _volts: 'V',
};
