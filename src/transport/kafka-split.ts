import { assert } from '../core/assert.ts';
import { SAMPLES, type TableName } from '../core/tables.ts';
import { NativeReader } from '../formats/native.ts';
import type { Part } from './segment.ts';

/** Head of a frame, generously. */
const HEAD_BYTES = 512;
const NAME_BYTES_MAX = 256;

/** Bytes of the frame that `part` becomes, at most. */
export function frameBytes(part: Pick<Part, 'rows' | 'body'>): number {
  return part.body.length + part.rows * 8 + HEAD_BYTES;
}

/**
 * `part` as parts of at most `bytes_max` as frames, each a range of its rows, in order: the same bytes cut between rows,
 * nothing is encoded again. A single row stays whole, however large. O(bytes · log parts).
 */
export function splitPart(part: Part, bytes_max: number): Part[] {
  if (frameBytes(part) <= bytes_max || part.rows === 1) return [part];
  const middle = part.rows >>> 1;
  const [low, high] = [cutRows(part, 0, middle), cutRows(part, middle, part.rows)];
  return [...splitPart(low, bytes_max), ...splitPart(high, bytes_max)];
}

/** Rows [from, to) of a part, cut out of its columns (layout: transport/frame.ts). */
function cutRows(part: Part, from: number, to: number): Part {
  const cut: Cut = { reader: new NativeReader(part.body), body: part.body, rows: part.rows, from, to };
  const pieces: Buffer[] = [];
  if (part.table === SAMPLES) pieces.push(...cutValues(cut, 'UInt64')); // the ids: their head is the frame's
  while (cut.reader.offset < part.body.length) {
    const start = cut.reader.offset;
    const name = cut.reader.string(NAME_BYTES_MAX);
    const type = cut.reader.string(NAME_BYTES_MAX);
    assert(name !== null && type !== null, `a column of ${part.table} has a name and a type`);
    pieces.push(part.body.subarray(start, cut.reader.offset));
    if (!isHeadOnly(part.table, name)) pieces.push(...cutValues(cut, type));
  }
  return { ...part, rows: to - from, body: Buffer.concat(pieces) };
}

/** The last column of samples is filled in with the frame. */
function isHeadOnly(table: TableName, column: string): boolean {
  return table === SAMPLES && column === 'src';
}

type Cut = {
  readonly reader: NativeReader;
  readonly body: Buffer;
  readonly rows: number;
  readonly from: number;
  readonly to: number;
};

function cutValues(cut: Cut, type: string): Buffer[] {
  const inner = /^Nullable\((.+)\)$/.exec(type)?.[1];
  if (inner !== undefined) return [...cutFixed(cut, 1), ...cutValues(cut, inner)];
  return type === 'String' ? cutStrings(cut) : cutFixed(cut, widthOf(type));
}

function widthOf(type: string): number {
  if (type === 'Bool') return 1;
  if (type.startsWith('DateTime64(')) return 8;
  const bits = Number(/^(?:U?Int|Float)(8|16|32|64)$/.exec(type)?.[1]);
  assert(bits > 0, `the width of ${type} is known`);
  return bits / 8;
}

function cutFixed({ reader, rows, from, to }: Cut, width: number): Buffer[] {
  const values = reader.raw(rows * width);
  assert(values !== null, 'a column is whole');
  return [values.subarray(from * width, to * width)];
}

function cutStrings({ reader, body, rows, from, to }: Cut): Buffer[] {
  let start = reader.offset;
  let end = reader.offset;
  for (let row = 0; row < rows; row++) {
    if (row === from) start = reader.offset;
    const size = reader.varint();
    assert(size !== null && reader.raw(size) !== null, 'a column is whole');
    if (row === to - 1) end = reader.offset;
  }
  return [body.subarray(start, end)];
}
