import { LeewayError } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { type Outcome, ok, reject, retry } from '../core/outcome.ts';
import type { ExemplarRow, HistogramRow, MetadataRow, SampleRejection } from '../core/samples.ts';
import type { SampleColumns } from './sample-columns.ts';
import type { SeriesBook } from './series-book.ts';
import type { LabelFault } from './series-labels.ts';

/** Distinct codes of refusal are written in this code, so few; the cap is a seat belt. */
const REJECTION_CODES_MAX = 64;

/**
 * Parts refused of one body. One with more is no telemetry: 32 MiB of empty series are 16 M of them, and seconds of work for
 * nothing, in which nobody else is served.
 */
const REFUSED_MAX = 500_000;

/** Where a decoder puts what it takes: the tenant's book and the columns that wait for the next write. */
export type SampleTarget = { readonly book: SeriesBook; readonly columns: SampleColumns };

/**
 * What was taken from one body: `samples_count` rows now in the columns, and the rows that are not samples.
 * `rejections` tell what was not and why; their counts are samples, histograms and exemplars (1 for a series without any).
 * `rejected_points_count` leaves the exemplars out: what OTLP calls data points.
 */
export type DecodedSamples = {
  readonly samples_count: number;
  readonly histograms: readonly HistogramRow[];
  readonly exemplars: readonly ExemplarRow[];
  readonly metadata: readonly MetadataRow[];
  readonly rejections: readonly SampleRejection[];
  readonly rejected_points_count: number;
};

/** Collects what a decoder takes and refuses, within the caps of LIMITS. */
export class Decoded {
  readonly histograms: HistogramRow[] = [];
  readonly exemplars: ExemplarRow[] = [];
  readonly #metadata = new Map<string, MetadataRow>();
  readonly #rejections = new Map<string, { count: number; reason: string }>();
  #points = 0;
  #refused = 0;

  /** Refuses `count` samples or histograms. */
  refuse({ code, reason }: LabelFault, count = 1): void {
    this.#points += count;
    this.refuseExemplar({ code, reason }, count);
  }

  /** Refuses what is no data point. */
  refuseExemplar({ code, reason }: LabelFault, count = 1): void {
    this.#refused += count;
    if (this.#refused > REFUSED_MAX)
      throw new LeewayError('LW-BODY-SIZE', `more than ${REFUSED_MAX} parts are wrong, such as ${code}: ${reason}`);
    const known = this.#rejections.get(code);
    if (known !== undefined) known.count += count;
    else if (this.#rejections.size < REJECTION_CODES_MAX) this.#rejections.set(code, { count, reason });
  }

  histogram(row: HistogramRow): void {
    if (this.histograms.length < LIMITS.histograms_max) this.histograms.push(row);
    else this.refuse({ code: 'histogram_limit', reason: `more than ${LIMITS.histograms_max} histograms in a body` });
  }

  /** A histogram as its reader gave it, unless its time is implausible; an implausible start is an unknown one. */
  histogramOrFault(row: HistogramRow | LabelFault): void {
    if ('code' in row) this.refuse(row);
    else if (!isPlausible(row.at_ms)) this.refuse(TIME_FAULT);
    else this.histogram(row.start_ms === 0 || isPlausible(row.start_ms) ? row : { ...row, start_ms: 0 });
  }

  /** Time 0: not given (remote write 2.0 says so; the proto3 default elsewhere). */
  exemplar(row: ExemplarRow): void {
    if (row.at_ms !== 0 && !isPlausible(row.at_ms)) this.refuseExemplar({ ...TIME_FAULT, code: 'exemplar_time' });
    else if (this.exemplars.length < LIMITS.exemplars_max) this.exemplars.push(row);
    else this.refuseExemplar({ code: 'exemplar_limit', reason: `more than ${LIMITS.exemplars_max} in a body` });
  }

  /** Metadata is a courtesy: over the cap it is left out, and nothing is lost but words. */
  metadata(row: MetadataRow): void {
    if (this.#metadata.size < LIMITS.metadata_max || this.#metadata.has(row.metric))
      this.#metadata.set(row.metric, row);
  }

  /** Gives the histograms that carry no start time this one (2.0 up to rc.3 had it on the series). */
  startedAt(start_ms: number): this {
    if (isPlausible(start_ms))
      for (const [index, row] of this.histograms.entries())
        if (row.start_ms === 0) this.histograms[index] = { ...row, start_ms };
    return this;
  }

  /** Takes over what a part of the body held, once it is known to be taken. */
  merge(part: Decoded): void {
    for (const row of part.histograms) this.histogram(row);
    for (const row of part.exemplars) this.exemplar(row);
    for (const [code, { count, reason }] of part.#rejections) this.refuseExemplar({ code, reason }, count);
    this.#points += part.#points;
  }

  result(samples_count: number): DecodedSamples {
    return {
      samples_count,
      histograms: this.histograms,
      exemplars: this.exemplars,
      metadata: [...this.#metadata.values()],
      rejections: [...this.#rejections].map(([code, { count, reason }]) => ({ code, count, reason })),
      rejected_points_count: this.#points,
    };
  }
}

/**
 * Runs a decoder on one body: all that can be taken is in `target`, or nothing is. Malformed bytes reject with LW-BODY
 * or LW-BODY-SIZE; columns or new series over their caps ask to come again (LW-BUSY), after the next write.
 */
export function decodeBody(target: SampleTarget, decode: (decoded: Decoded) => void): Outcome<DecodedSamples> {
  const { book, columns } = target;
  const before = columns.rows;
  const decoded = new Decoded();
  try {
    book.beginBody();
    decode(decoded);
    return ok(decoded.result(columns.rows - before));
  } catch (error) {
    columns.truncate(before);
    if (!(error instanceof LeewayError)) throw error;
    return error.code === 'LW-BUSY' ? retry(error.code, error.message) : reject(error.code, error.message);
  }
}

/** Whether a time (two words of Unix ms) is one that telemetry can have. */
export function isPlausibleTime(low: number, high: number): boolean {
  return isPlausible(high * 4_294_967_296 + (low >>> 0));
}

function isPlausible(at_ms: number): boolean {
  return at_ms >= LIMITS.time_ms_min && at_ms < LIMITS.time_ms_max;
}

/** The refusal of a time outside LIMITS: the sender's unit or clock is wrong. */
export const TIME_FAULT: LabelFault = { code: 'time', reason: 'a time before 2000 or after 2100 (Unix ms expected)' };
