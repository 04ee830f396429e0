import type { SampleRows } from '../core/samples.ts';
import { POWERS_OF_TEN, RAW_EXPONENT } from './scaled-value.ts';
import { idText } from './series-labels.ts';

const TWO_32 = 4_294_967_296;

/** Reads SampleRows row by row: the numbers that were put into the columns. */
export class SampleReader {
  readonly rows: number;
  /** Two words a row, low first. */
  readonly ids: Int32Array;
  /** Times, Unix ms, as two words a row, low first. */
  readonly times: Int32Array;
  readonly #mantissa: Int16Array | Int32Array;
  readonly #isWide: boolean;
  readonly #exponent: Int8Array;
  readonly #bits = new DataView(new ArrayBuffer(8));

  constructor({ rows, id, at_ms, mantissa, mantissa_type, exponent }: SampleRows) {
    this.rows = rows;
    this.ids = new Int32Array(id.buffer, id.byteOffset, rows * 2);
    this.times = new Int32Array(at_ms.buffer, at_ms.byteOffset, rows * 2);
    this.#isWide = mantissa_type === 'Int64';
    this.#mantissa =
      mantissa_type === 'Int16'
        ? new Int16Array(mantissa.buffer, mantissa.byteOffset, rows)
        : new Int32Array(mantissa.buffer, mantissa.byteOffset, this.#isWide ? rows * 2 : rows);
    this.#exponent = new Int8Array(exponent.buffer, exponent.byteOffset, rows);
  }

  /** The decimal digits of a row's series id. */
  id(row: number): string {
    return idText({ low: this.ids[row * 2] ?? 0, high: this.ids[row * 2 + 1] ?? 0 });
  }

  /** Time of a row, Unix ms. */
  at_ms(row: number): number {
    return (this.times[row * 2 + 1] as number) * TWO_32 + ((this.times[row * 2] as number) >>> 0); // row < rows
  }

  /** Value of a row; a 64-bit integer above 2^53 as the nearest double. */
  value(row: number): number {
    const exponent = this.#exponent[row] ?? 0;
    if (exponent === RAW_EXPONENT) {
      const [low, high] = this.words(row);
      this.#bits.setInt32(0, high);
      this.#bits.setInt32(4, low);
      return this.#bits.getFloat64(0);
    }
    const [low, high] = this.words(row);
    return (high * TWO_32 + (low >>> 0)) / (POWERS_OF_TEN[exponent] ?? 1);
  }

  /** The mantissa of a row as two words, low first. */
  words(row: number): readonly [low: number, high: number] {
    if (this.#isWide) return [this.#mantissa[row * 2] ?? 0, this.#mantissa[row * 2 + 1] ?? 0];
    const mantissa = this.#mantissa[row] ?? 0;
    return [mantissa, mantissa >> 31];
  }

  /** Whether the value of a row is its Float64 bits. */
  isRaw(row: number): boolean {
    return this.#exponent[row] === RAW_EXPONENT;
  }

  /** Whether the value of a row is its mantissa. */
  isInteger(row: number): boolean {
    return this.#exponent[row] === 0;
  }

  /** The value of a row as decimal digits: exact for 64-bit integers, the shortest that give the double back for others. */
  text(row: number): string {
    if (this.#exponent[row] !== 0 || !this.#isWide) return String(this.value(row));
    const [low, high] = this.words(row);
    return ((BigInt(high) << 32n) | BigInt(low >>> 0)).toString();
  }
}
