import { CLOCK_OFF_MS_MAX } from '../core/record-clock.ts';
import type { ExactNumber, HistogramRow, SampleRejection, SampleRows } from '../core/samples.ts';
import type { SetAside } from '../core/set-aside.ts';
import type { DecodedSamples } from './decoded-samples.ts';
import { exactBits, exactInteger } from './exact-number.ts';
import { SampleReader } from './sample-reader.ts';

/** Samples of one body that are kept for a person, about 40 bytes each. */
const KEPT_MAX = 10_000;
const HISTOGRAMS_KEPT_MAX = 1_000;
const CODE = 'clock';
const TWO_32 = 4_294_967_296;

/** A body without what the clock forbids, and that. */
export type ClockChecked = {
  readonly decoded: DecodedSamples;
  readonly samples: SampleRows;
  readonly off: readonly Omit<SetAside, 'source'>[];
};

/**
 * Takes out samples, histograms and exemplars whose time is more than a day from `now_ms`, ahead or behind: they are refused
 * with the code `clock`, the others of their body are not. Behind, too: a queue that is a day old is rarer than a clock
 * that is wrong, and what is set aside can be replayed. One look a sample; rows are copied only when one goes.
 */
export function checkClock(decoded: DecodedSamples, samples: SampleRows, now_ms: number): ClockChecked {
  const reader = new SampleReader(samples);
  const isOff = (at_ms: number): boolean => at_ms > now_ms + CLOCK_OFF_MS_MAX || at_ms < now_ms - CLOCK_OFF_MS_MAX;
  const rows = rowsOutside(reader.times, now_ms - CLOCK_OFF_MS_MAX, now_ms + CLOCK_OFF_MS_MAX);
  const histograms = decoded.histograms.filter(({ at_ms }) => isOff(at_ms));
  const exemplars = decoded.exemplars.filter(({ at_ms }) => at_ms !== 0 && isOff(at_ms));
  const points = rows.length + histograms.length;
  if (points + exemplars.length === 0) return { decoded, samples, off: [] };
  const reason = `a time more than a day from the receiver's clock (${new Date(now_ms).toISOString()}); set aside`;
  const refused: SampleRejection[] = [];
  if (points > 0) refused.push({ code: CODE, count: points, reason });
  if (exemplars.length > 0) refused.push({ code: 'exemplar_clock', count: exemplars.length, reason });
  return {
    decoded: {
      ...decoded,
      samples_count: decoded.samples_count - rows.length,
      histograms: decoded.histograms.filter(({ at_ms }) => !isOff(at_ms)),
      exemplars: decoded.exemplars.filter(({ at_ms }) => at_ms === 0 || !isOff(at_ms)),
      rejections: [...decoded.rejections, ...refused],
      rejected_points_count: decoded.rejected_points_count + points,
    },
    samples: rows.length === 0 ? samples : without(samples, rows),
    off: [...asideSamples(reader, rows, reason), ...asideHistograms(histograms, reason)],
  };
}

/** Rows whose time lies outside the closed range; two words a row, low first. */
function rowsOutside(times: Int32Array, least_ms: number, most_ms: number): number[] {
  const rows: number[] = [];
  for (let at = 0; at < times.length; at += 2) {
    const at_ms = (times[at + 1] as number) * TWO_32 + ((times[at] as number) >>> 0); // at < times.length, which is even
    if (at_ms > most_ms || at_ms < least_ms) rows.push(at >> 1);
  }
  return rows;
}

function asideSamples(reader: SampleReader, rows: readonly number[], reason: string): Omit<SetAside, 'source'>[] {
  if (rows.length === 0) return [];
  const raw = rows.slice(0, KEPT_MAX).map((row) => [reader.id(row), reader.at_ms(row), exactValue(reader, row)]);
  return [{ kind: 'samples', code: CODE, reason, count: rows.length, raw, truncated: rows.length > raw.length }];
}

function asideHistograms(rows: readonly HistogramRow[], reason: string): Omit<SetAside, 'source'>[] {
  if (rows.length === 0) return [];
  const raw = rows.slice(0, HISTOGRAMS_KEPT_MAX);
  return [{ kind: 'histograms', code: CODE, reason, count: rows.length, raw, truncated: rows.length > raw.length }];
}

function exactValue(reader: SampleReader, row: number): ExactNumber {
  const [low, high] = reader.words(row);
  if (reader.isRaw(row)) return exactBits(low, high);
  return reader.isInteger(row) ? exactInteger((BigInt(high) << 32n) | BigInt(low >>> 0)) : reader.value(row);
}

/** The rows that are not among `gone` (rising), copied. */
function without(samples: SampleRows, gone: readonly number[]): SampleRows {
  const absent = new Set(gone);
  const kept: number[] = [];
  for (let row = 0; row < samples.rows; row++) if (!absent.has(row)) kept.push(row);
  const copied = (column: ArrayBufferView, width: number): Uint8Array => {
    const from = new Uint8Array(column.buffer, column.byteOffset, samples.rows * width);
    const to = new Uint8Array(kept.length * width);
    for (const [index, row] of kept.entries()) to.set(from.subarray(row * width, (row + 1) * width), index * width);
    return to;
  };
  return {
    rows: kept.length,
    id: copied(samples.id, 8),
    at_ms: copied(samples.at_ms, 8),
    mantissa: copied(samples.mantissa, WIDTH[samples.mantissa_type]),
    mantissa_type: samples.mantissa_type,
    exponent: copied(samples.exponent, 1),
  };
}

const WIDTH = { Int16: 2, Int32: 4, Int64: 8 } as const;
