import type { FrameHeader } from '../core/ports.ts';
import { SAMPLES, type TableName } from '../core/tables.ts';
import { NativeReader, NativeWriter } from '../formats/native.ts';

/** Where one frame lies in the bytes of a delivery: [start, end), whole blocks both. */
export type Span = { readonly header: FrameHeader; readonly start: number; readonly end: number };

/** The type of a frame's first column names its length: bytes after the type (transport/frame.ts). */
const TYPE = /^Tuple\(`LW[12] ([0-9a-f]{8}) /;
const TYPE_BYTES_MAX = 2048;

/**
 * Where the frames of a delivery lie in its bytes; null unless the bytes are exactly these frames in this order. Verifies
 * no checksums: the bus did. O(frames).
 */
export function frameSpans(bytes: Buffer, frames: readonly FrameHeader[]): Span[] | null {
  const spans: Span[] = [];
  let start = 0;
  for (const header of frames) {
    const end = frameEnd(bytes, start, header.rows);
    if (end === null) return null;
    spans.push({ header, start, end });
    start = end;
  }
  return start === bytes.length ? spans : null;
}

function frameEnd(bytes: Buffer, start: number, rows: number): number | null {
  const reader = new NativeReader(bytes, start);
  if (reader.varint() === null || reader.varint() !== rows || rows === 0) return null;
  reader.string(8);
  const length = TYPE.exec(reader.string(TYPE_BYTES_MAX) ?? '')?.[1];
  if (length === undefined || reader.raw(Number.parseInt(length, 16)) === null) return null;
  return reader.offset;
}

const ORIGIN_HEAD = columnHead('src', 'UInt8');
const LINEAGE_HEAD = columnHead('src', 'UInt64');

function columnHead(name: string, type: string): Buffer {
  const writer = new NativeWriter(16);
  writer.column(name, type);
  return writer.take();
}

/**
 * The blocks of `spans` with a lineage in every row: of samples the last column (one byte of origin a row, which means
 * something within one file only) gives way to the lineage of the row's own frame. Null for what are no such blocks.
 */
export function lineageBlocks(bytes: Buffer, spans: readonly Span[], table: TableName): Buffer[] | null {
  const [first, last] = [spans[0], spans.at(-1)];
  if (first === undefined || last === undefined) return [];
  if (table !== SAMPLES) return [bytes.subarray(first.start, last.end)];
  const pieces: Buffer[] = [];
  for (const { header, start, end } of spans) {
    const head = end - header.rows - ORIGIN_HEAD.length;
    if (head < start || !bytes.subarray(head, head + ORIGIN_HEAD.length).equals(ORIGIN_HEAD)) return null;
    const lineages = new BigUint64Array(header.rows).fill(header.lineage);
    pieces.push(bytes.subarray(start, head), LINEAGE_HEAD, Buffer.from(lineages.buffer));
  }
  return pieces;
}
