import { LeewayError } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import type { SampleRows } from '../core/samples.ts';
import { exponentOf, mantissaOf, RAW_EXPONENT } from './scaled-value.ts';

const FIRST_ROWS = 8_192;
const TWO_32 = 4_294_967_296;
const INT16 = { min: -32_768, max: 32_767 } as const;
const INT32 = { min: -2_147_483_648, max: 2_147_483_647 } as const;

/** Where the columns find a series' id and keep the exponent its values had last. */
export type SeriesWords = {
  readonly id_low: Int32Array;
  readonly id_high: Int32Array;
  readonly exponent: Int8Array;
};

/**
 * Growing columns of samples, 25 bytes a row, that `take` hands over as SampleRows. 64-bit numbers are pairs of
 * words, low first, so that adding a row allocates nothing. Over `rows_max`, throws LeewayError LW-BUSY.
 */
export class SampleColumns {
  rows = 0;
  readonly #rows_max: number;
  #capacity: number;
  #id = new Int32Array(FIRST_ROWS * 2);
  #at = new Int32Array(FIRST_ROWS * 2);
  #mantissa = new Int32Array(FIRST_ROWS * 2);
  #exponent = new Int8Array(FIRST_ROWS);
  #least = 0;
  #most = 0;
  readonly #float = new Float64Array(1);
  readonly #float_words = new Int32Array(this.#float.buffer);

  constructor(rows_max: number = LIMITS.sample_rows_max) {
    this.#rows_max = rows_max;
    this.#capacity = Math.min(FIRST_ROWS, rows_max);
  }

  /** A sample of `series` (its index in `words`) with a double that is no NaN; the time as two words. */
  put(words: SeriesWords, series: number, value: number, time_low: number, time_high: number): void {
    const sticky = words.exponent[series] as number; // an index that the book gave out
    const exponent = exponentOf(value, sticky);
    if (exponent === RAW_EXPONENT) {
      this.#float[0] = value;
      this.putBits(words, series, this.#float_words[0] as number, this.#float_words[1] as number, time_low, time_high);
      return;
    }
    if (exponent !== sticky) words.exponent[series] = exponent;
    const row = this.#row(words, series, time_low, time_high);
    const mantissa = mantissaOf(value, exponent);
    const low = mantissa | 0;
    this.#mantissa[row * 2] = low;
    this.#mantissa[row * 2 + 1] = low === mantissa ? low >> 31 : Math.floor(mantissa / TWO_32);
    this.#exponent[row] = exponent;
    if (mantissa < this.#least) this.#least = mantissa;
    else if (mantissa > this.#most) this.#most = mantissa;
  }

  /** A sample whose value is kept as its Float64 bits: NaN with a payload keeps it. */
  putBits(words: SeriesWords, series: number, low: number, high: number, time_low: number, time_high: number): void {
    const row = this.#row(words, series, time_low, time_high);
    this.#mantissa[row * 2] = low;
    this.#mantissa[row * 2 + 1] = high;
    this.#exponent[row] = RAW_EXPONENT;
    this.#most = Infinity;
  }

  /** A sample that is a 64-bit integer, kept as it is with exponent 0. */
  putInteger(words: SeriesWords, series: number, low: number, high: number, time_low: number, time_high: number): void {
    const row = this.#row(words, series, time_low, time_high);
    this.#mantissa[row * 2] = low;
    this.#mantissa[row * 2 + 1] = high;
    this.#exponent[row] = 0;
    const near = high * TWO_32 + (low >>> 0);
    if (near < this.#least) this.#least = near;
    else if (near > this.#most) this.#most = near;
  }

  /** Takes back the rows from `rows` on: what a refused series or body had put. */
  truncate(rows: number): void {
    this.rows = rows;
    if (rows === 0) this.#least = this.#most = 0;
  }

  /** All rows so far, as views that hold until the next row is put; the columns are empty afterwards. */
  take(): SampleRows {
    const { rows } = this;
    const taken: SampleRows = {
      rows,
      id: this.#id.subarray(0, rows * 2),
      at_ms: this.#at.subarray(0, rows * 2),
      ...this.#narrow(rows),
      exponent: this.#exponent.subarray(0, rows),
    };
    this.truncate(0);
    return taken;
  }

  /** The mantissas in place, as narrow as they all fit: a row is written at or before where it was read. */
  #narrow(rows: number): Pick<SampleRows, 'mantissa' | 'mantissa_type'> {
    const wide = this.#mantissa;
    if (this.#least < INT32.min || this.#most > INT32.max)
      return { mantissa: wide.subarray(0, rows * 2), mantissa_type: 'Int64' };
    const is16 = this.#least >= INT16.min && this.#most <= INT16.max;
    const narrow = is16 ? new Int16Array(wide.buffer, 0, rows) : new Int32Array(wide.buffer, 0, rows);
    for (let row = 0; row < rows; row++) narrow[row] = wide[row * 2] as number; // row < rows
    return { mantissa: narrow, mantissa_type: is16 ? 'Int16' : 'Int32' };
  }

  #row(words: SeriesWords, series: number, time_low: number, time_high: number): number {
    if (this.rows === this.#capacity) this.#grow();
    const row = this.rows++;
    this.#id[row * 2] = words.id_low[series] as number; // an index that the book gave out
    this.#id[row * 2 + 1] = words.id_high[series] as number; // as above
    this.#at[row * 2] = time_low;
    this.#at[row * 2 + 1] = time_high;
    return row;
  }

  #grow(): void {
    if (this.#capacity >= this.#rows_max)
      throw new LeewayError('LW-BUSY', `${this.rows} samples wait to be written, at most ${this.#rows_max}`);
    this.#capacity = Math.min(this.#capacity * 2, this.#rows_max);
    const grown = (old: Int32Array): Int32Array<ArrayBuffer> => {
      const larger = new Int32Array(this.#capacity * 2);
      larger.set(old);
      return larger;
    };
    this.#id = grown(this.#id);
    this.#at = grown(this.#at);
    this.#mantissa = grown(this.#mantissa);
    const exponent = new Int8Array(this.#capacity);
    exponent.set(this.#exponent);
    this.#exponent = exponent;
  }
}
