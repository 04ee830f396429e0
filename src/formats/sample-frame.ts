import type { SampleRows } from '../core/samples.ts';
import { NativeReader, NativeWriter } from './native.ts';

/**
 * Samples as columns of a frame: `id` (the series), `at` (Unix ms), `mant` and `exp` (value = mant · 10^−exp; exp 127: mant
 * holds the bits of a Float64), `src` (which source of the segment sent it). `mant` is as narrow as its values allow; the
 * engine widens it.
 */

/** Columns after `id`, with the types that the engine is told. */
export const SAMPLE_COLUMNS = [
  { name: 'at', type: 'DateTime64(3)' },
  { name: 'mant', type: 'Int64' },
  { name: 'exp', type: 'Int8' },
  { name: 'src', type: 'UInt8' },
] as const;

const HEADS_BYTES = 128;

/** Everything of the block's columns between the type of `id` and the values of `src`. */
export function encodeSamples(samples: SampleRows): Buffer {
  const writer = new NativeWriter(samples.rows * 25 + HEADS_BYTES);
  writer.raw(samples.id);
  writer.column('at', 'DateTime64(3)');
  writer.raw(samples.at_ms);
  writer.column('mant', samples.mantissa_type);
  writer.raw(samples.mantissa);
  writer.column('exp', 'Int8');
  writer.raw(samples.exponent);
  writer.column('src', 'UInt8');
  return writer.take();
}

/** Where the ids and times of one block lie: 8 bytes each a row, little endian. */
export type SampleBlock = { readonly rows: number; readonly ids: number; readonly times: number };

/** The ids and times of one block after another as 32-bit words, low first: what a file holds is not aligned. */
export class SampleWords {
  #words = new Int32Array(0);

  /** Words of both, valid until the next block is read. */
  read(bytes: Buffer, { rows, ids, times }: SampleBlock): { readonly ids: Int32Array; readonly times: Int32Array } {
    if (this.#words.length < rows * 4) this.#words = new Int32Array(rows * 4);
    const aligned = new Uint8Array(this.#words.buffer);
    aligned.set(bytes.subarray(ids, ids + rows * 8));
    aligned.set(bytes.subarray(times, times + rows * 8), rows * 8);
    return { ids: this.#words.subarray(0, rows * 2), times: this.#words.subarray(rows * 2, rows * 4) };
  }
}

const WIDTHS: Readonly<Record<string, number>> = {
  'DateTime64(3)': 8,
  Int64: 8,
  Int32: 4,
  Int16: 2,
  Int8: 1,
  UInt8: 1,
};
const HEAD_BYTES_MAX = 2048;

/** The blocks of a file of samples; null for what is no such file. Does not verify checksums. */
export function sampleBlocks(bytes: Buffer): SampleBlock[] | null {
  const reader = new NativeReader(bytes);
  const blocks: SampleBlock[] = [];
  while (reader.offset < bytes.length) {
    const columns = reader.varint();
    const rows = reader.varint();
    if (columns !== SAMPLE_COLUMNS.length + 1 || rows === null || rows === 0) return null;
    let [ids, times] = [-1, -1];
    for (let column = 0; column < columns; column++) {
      const name = reader.string(HEAD_BYTES_MAX);
      const type = reader.string(HEAD_BYTES_MAX);
      if (name === 'id') ids = reader.offset;
      if (name === 'at') times = reader.offset;
      const width = name === 'id' ? 8 : WIDTHS[type ?? ''];
      if (width === undefined || reader.raw(width * rows) === null) return null;
    }
    if (ids === -1 || times === -1) return null;
    blocks.push({ rows, ids, times });
  }
  return blocks;
}
