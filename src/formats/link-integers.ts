import { damaged, type LinkReader, type LinkWriter } from './link-bytes.ts';

/**
 * A column of safe integers in few bits. A value is written as it is, or less the one `lag` rows before it (lag 1: the row
 * before; lag 8: the same GPU a tick ago). Runs of at most BLOCK_ROWS share a base, their smallest, and the width of their
 * range:
 *
 *   of each block: byte width in bits, + 64 where all values are multiples of 2^shift, + 128 in the first where there is a lag
 *     varint lag, where so · byte shift, where so · signed base in units of the width's grain ·
 *     the values less their base, packed (width 63: as 8-byte doubles)
 *
 * Where there is a lag, blocks of the rows before it come first and those of the differences of the others after them.
 */

/** A load that rises or falls costs its own block wide numbers and no other. 64 to 256 are within 2 % of each other. */
const BLOCK_ROWS = 128;
const RAW_WIDTH = 63;
const WIDTH_MAX = 53;
const WORD = 2 ** 32;
const GRAIN_BITS = 3;
/** Bytes of memory come in MiB, clocks in steps. */
const SHIFTED = 64;
const LAGGED = 128;
const SHIFT_MIN = 3;
const SHIFT_MAX = 31;

/** Writes `values`. `period`: rows after which the same subject may come again; 0 where that is not known. */
export function writeIntegers(writer: LinkWriter, values: Float64Array, period: number): void {
  const lag = bestLag(values, period);
  if (lag === 0) return writeBlocks(writer, values);
  writeBlocks(writer, values.subarray(0, lag), lag);
  writeBlocks(writer, differences(values, lag));
}

/** Reads `rows` values; the caller has counted their memory. */
export function readIntegers(reader: LinkReader, rows: number): Float64Array {
  const values = new Float64Array(rows);
  let lag = 0;
  let end = rows;
  for (let from = 0; from < rows; ) {
    if (from === end) end = rows;
    const head = reader.byte();
    if (head >= LAGGED) {
      lag = reader.varint();
      if (from > 0 || lag === 0 || lag >= rows) throw damaged(`a lag of ${lag} in ${rows} rows`);
      end = lag;
    }
    const to = Math.min(end, from + BLOCK_ROWS);
    readBlock(reader, values.subarray(from, to), head % LAGGED);
    from = to;
  }
  if (lag > 0)
    for (let index = lag; index < rows; index++) values[index] = (values[index] ?? 0) + (values[index - lag] ?? 0);
  return values;
}

function bestLag(values: Float64Array, period: number): number {
  let best = 0;
  let bits = bitsOf(values);
  for (const lag of period > 1 ? [1, period] : [1]) {
    if (lag >= values.length) continue;
    const cost = bitsOf(values.subarray(0, lag)) + bitsOf(differences(values, lag));
    if (cost < bits) {
      best = lag;
      bits = cost;
    }
  }
  return best;
}

/** NaN where a difference is no safe integer: its block is then written as doubles, and costs as much. */
function differences(values: Float64Array, lag: number): Float64Array {
  const found = new Float64Array(values.length - lag);
  for (let index = lag; index < values.length; index++) {
    const difference = (values[index] ?? 0) - (values[index - lag] ?? 0);
    found[index - lag] = Number.isSafeInteger(difference) ? difference : Number.NaN;
  }
  return found;
}

/** Bits of `values` in blocks; Infinity where they cannot be written. */
function bitsOf(values: Float64Array): number {
  let bits = 0;
  for (let from = 0; from < values.length; from += BLOCK_ROWS) {
    const { base, shift, width, isWritable } = shapeOf(values, from);
    if (!isWritable) return Infinity;
    const head = 16 + (shift > 0 ? 8 : 0) + Math.ceil(Math.log2(Math.abs(base / grainOf(width)) + 1));
    bits += width * Math.min(BLOCK_ROWS, values.length - from) + head;
  }
  return bits;
}

type Shape = { readonly base: number; readonly shift: number; readonly width: number; readonly isWritable: boolean };
const RAW: Shape = { base: 0, shift: 0, width: RAW_WIDTH, isWritable: true };

/** How the block at `from` is written: `base`, the least, is that of the shifted values. */
function shapeOf(values: Float64Array, from: number): Shape {
  const to = Math.min(values.length, from + BLOCK_ROWS);
  let min = values[from] ?? 0;
  let max = min;
  let bits = 0;
  for (let index = from; index < to; index++) {
    const value = values[index] ?? 0;
    if (Number.isNaN(value)) return { ...RAW, isWritable: false };
    if (value < min) min = value;
    if (value > max) max = value;
    bits |= Math.abs(value) % WORD;
  }
  if (!Number.isSafeInteger(max - min)) return RAW;
  const zeros = bits === 0 ? 0 : 31 - Math.clz32(bits & -bits);
  const shift = zeros >= SHIFT_MIN ? zeros : 0;
  const scale = 2 ** shift;
  return { ...fitted(min / scale, max / scale), shift, isWritable: true };
}

/** A base that is a multiple of its width's grain, at most `min`, and the bits from there to `max`. */
function fitted(min: number, max: number): { readonly base: number; readonly width: number } {
  for (let width = widthOf(max - min); ; width++) {
    const grain = grainOf(width);
    const base = Math.floor(min / grain) * grain;
    if (width > WIDTH_MAX || !Number.isSafeInteger(base)) return { base: 0, width: RAW_WIDTH };
    if (widthOf(max - base) <= width) return { base, width };
  }
}

/** Bases are multiples of an eighth of their range: its low bits would cost bytes and save at most a bit a value. */
function grainOf(width: number): number {
  return width > GRAIN_BITS && width !== RAW_WIDTH ? 2 ** (width - GRAIN_BITS) : 1;
}

function widthOf(range: number): number {
  if (range < WORD) return 32 - Math.clz32(range);
  return 64 - Math.clz32(Math.floor(range / WORD));
}

function writeBlocks(writer: LinkWriter, values: Float64Array, lag = 0): void {
  for (let from = 0; from < values.length; from += BLOCK_ROWS) {
    const to = Math.min(values.length, from + BLOCK_ROWS);
    const { base, shift, width } = shapeOf(values, from);
    const isFirst = from === 0 && lag > 0;
    writer.byte(width + (shift > 0 ? SHIFTED : 0) + (isFirst ? LAGGED : 0));
    if (isFirst) writer.varint(lag);
    if (shift > 0) writer.byte(shift);
    if (width !== RAW_WIDTH) writer.signed(base / grainOf(width));
    const block = shift > 0 ? values.slice(from, to).map((value) => value / 2 ** shift) : values.subarray(from, to);
    if (width === RAW_WIDTH) for (const value of block) writer.float64(value);
    else writer.packed(block, base, width);
  }
}

function readBlock(reader: LinkReader, block: Float64Array, head: number): void {
  const width = head % SHIFTED;
  if (width > WIDTH_MAX && width !== RAW_WIDTH) throw damaged(`numbers of ${width} bits`);
  const shift = head >= SHIFTED ? reader.byte() : 0;
  if (shift > SHIFT_MAX) throw damaged(`numbers shifted by ${shift} bits`);
  if (width === RAW_WIDTH) for (let index = 0; index < block.length; index++) block[index] = reader.float64();
  else reader.packed(block, reader.signed() * grainOf(width), width);
  if (shift > 0) for (let index = 0; index < block.length; index++) block[index] = (block[index] ?? 0) * 2 ** shift;
}
