import { type MetricName, metricOf } from '../core/catalog.ts';
import { LeewayError } from '../core/errors.ts';
import type { AbsentReason, Quality } from '../core/quality.ts';

export type Attributes = Readonly<Record<string, string>>;

/** A value in base units; a bigint only where a number would not hold the integer exactly. */
export type Value = number | bigint;

/** One value as the source said it. `at_ms` only when the source stamps it with a time of known zone. */
export type Sample = {
  readonly metric: string;
  readonly value: Value;
  readonly unit: string;
  readonly attributes: Attributes;
  readonly quality: Quality;
  readonly at_ms?: number;
};

/** A value that the source says it does not have, or that could not be understood. Never 0. */
export type Absent = { readonly metric: string; readonly attributes: Attributes; readonly reason: AbsentReason };

export type MigDevice = Readonly<Record<string, string | number>>;

/** A device: its vendor id (masked ids are not unique), name and driver as printed, MIG devices, further texts. */
export type InventoryItem = {
  readonly 'hw.id': string;
  readonly name: string | null;
  readonly driver: string | null;
  readonly mig: readonly MigDevice[];
  readonly [detail: string]: unknown;
};

/** What can be odd about a source without being the end of it. Codes never change meaning. */
export const DECODE_WARNINGS = {
  'LW-DECODE-EMPTY': 'the source holds nothing of what was asked',
  'LW-DECODE-SOURCE-ERROR': 'the source printed an error instead of values',
  'LW-DECODE-UNKNOWN-FIELD': 'a field without a metric in the catalog; its value is not passed on',
  'LW-DECODE-LINE': 'a line that could not be understood was skipped',
  'LW-DECODE-COLUMNS': 'a row has another number of columns than its header',
  'LW-DECODE-UNIT': 'header and value name different units',
  'LW-DECODE-ENCODING': 'bytes that are not valid in their encoding were replaced',
  'LW-DECODE-TRUNCATED': 'the end of the source may be missing',
  'LW-DECODE-GPU-COUNT': 'the source announces another number of GPUs than it holds',
  'LW-DECODE-NO-IDENTITY': 'a value names no device it belongs to',
  'LW-DECODE-IMPLAUSIBLE': 'a value contradicts its neighbours or its range',
  'LW-DECODE-NOT-FINITE': 'NaN or infinity is no value',
  'LW-DECODE-DUPLICATE': 'a series occurs twice; the first value counts',
  'LW-DECODE-REPAIRED': 'the source breaks its own format and was repaired',
  'LW-DECODE-VERSION': 'a format version that is not known here; read by field names',
  'LW-DECODE-LIMIT': 'a limit was reached; the rest was not read',
} as const;
export type DecodeWarningCode = keyof typeof DECODE_WARNINGS;
export type DecodeWarning = { readonly code: DecodeWarningCode; readonly message: string };

/** What a source said: pure function of its text or files. */
export type DecodeResult = {
  readonly samples: readonly Sample[];
  readonly absent: readonly Absent[];
  readonly inventory: readonly InventoryItem[];
  readonly warnings: readonly DecodeWarning[];
};

/** Values of one source: a 16 MiB exposition of 40-byte lines has 400,000. */
const SAMPLES_MAX = 1_000_000;
/** Listed warnings of one code; the rest is only counted. */
const WARNINGS_LISTED_MAX = 20;
/** Text of a source quoted in a message. */
const QUOTED_CHARACTERS_MAX = 60;

/** Collects what a decoder finds, in order; units and honest ranges come from the catalog. */
export class Decoding {
  readonly #samples: Sample[] = [];
  readonly #absent: Absent[] = [];
  readonly #inventory: InventoryItem[] = [];
  readonly #warnings: DecodeWarning[] = [];
  readonly #warned = new Map<DecodeWarningCode, number>();

  /** A value of one of our metrics, in its base unit. Outside its range it is suspect. */
  sample(
    metric: MetricName,
    value: Value,
    attributes: Attributes,
    options: { quality?: Quality; at_ms?: number } = {},
  ): void {
    const { unit, range } = metricOf(metric);
    const inside = value >= range[0] && value <= range[1];
    if (!inside) this.warn('LW-DECODE-IMPLAUSIBLE', `${metric} = ${value} is outside ${range[0]}…${range[1]}`);
    const quality = options.quality ?? (inside ? 'ok' : 'suspect');
    this.foreign({
      metric,
      value,
      unit,
      attributes,
      quality,
      ...(options.at_ms === undefined ? {} : { at_ms: options.at_ms }),
    });
  }

  /** A value under the source's own name. Not finite: absent. */
  foreign(sample: Sample): void {
    if (this.#full()) return;
    if (typeof sample.value === 'number' && !Number.isFinite(sample.value)) {
      this.warn('LW-DECODE-NOT-FINITE', `${sample.metric} is ${sample.value}`);
      this.absent(sample.metric, sample.attributes, 'parse_error');
    } else this.#samples.push(sample);
  }

  absent(metric: string, attributes: Attributes, reason: AbsentReason): void {
    if (!this.#full()) this.#absent.push({ metric, attributes, reason });
  }

  device(item: InventoryItem): void {
    if (this.#inventory.length < SAMPLES_MAX) this.#inventory.push(item);
  }

  warn(code: DecodeWarningCode, message: string): void {
    const count = (this.#warned.get(code) ?? 0) + 1;
    this.#warned.set(code, count);
    if (count <= WARNINGS_LISTED_MAX) this.#warnings.push({ code, message });
  }

  result(): DecodeResult {
    const warnings = [...this.#warnings];
    for (const [code, count] of this.#warned)
      if (count > WARNINGS_LISTED_MAX)
        warnings.push({ code, message: `${count - WARNINGS_LISTED_MAX} more of this kind` });
    return { samples: this.#samples, absent: this.#absent, inventory: this.#inventory, warnings };
  }

  #full(): boolean {
    if (this.#samples.length + this.#absent.length < SAMPLES_MAX) return false;
    this.warn('LW-DECODE-LIMIT', `more than ${SAMPLES_MAX} values`);
    return true;
  }
}

/** A piece of a source fit for a message: one line, no control characters, cut. */
export function quoted(text: string): string {
  const line = text.slice(0, QUOTED_CHARACTERS_MAX).replace(/[\p{Cc}\p{Cf}]/gu, '·');
  return `"${line}${text.length > QUOTED_CHARACTERS_MAX ? '…' : ''}"`;
}

/** The failure of a source that is not what it was said to be. `expected` names what should have been there. */
export function notDecodable(what: string, expected: string): LeewayError {
  return new LeewayError('LW-INPUT', `${what}, expected ${expected}; is --source the one that wrote it?`);
}
