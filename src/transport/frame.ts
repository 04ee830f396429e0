import { crc32 } from 'node:zlib';
import type { FrameHeader } from '../core/ports.ts';
import type { RecordType } from '../core/records.ts';
import { frameColumns } from '../formats/record-rows.ts';
import { NativeReader, NativeWriter } from '../formats/native.ts';

/**
 * A frame: the rows of one table of one batch, as one Native block that is also a log record. Its header is the
 * element name of the first column's tuple type, so it costs no bytes a row and the engine reads a run of frames as
 * one file:
 *
 *   varint columns · varint rows · "lin" · Tuple(`LW1 <length> <crc> <source> <epoch> <sequence> <parts> <rows>` UInt64)
 *   · 8 bytes lineage a row · the columns of the table
 *
 * Numbers are hexadecimal of fixed width, the source is percent-encoded. `length` is that of everything after the
 * type; the CRC-32 covers the number of columns, the header's fields from the source on and everything after the type.
 */

/** Frames of one segment number their lineage in this many low bits. */
export const LINEAGE_FRAME_BITS = 20n;

/** Frames that one segment can hold: 2^20. */
export const SEGMENT_FRAMES_MAX = 1 << Number(LINEAGE_FRAME_BITS);

/** Lineage of a frame: where it stands in the order of acceptance. */
export function lineageOf(segment: number, frame_index: number): bigint {
  return (BigInt(segment) << LINEAGE_FRAME_BITS) | BigInt(frame_index);
}

/** The number of the segment that a lineage was given in. */
export function segmentOf(lineage: bigint): number {
  return Number(lineage >> LINEAGE_FRAME_BITS);
}

const TYPE =
  /^Tuple\(`LW1 ([0-9a-f]{8}) ([0-9a-f]{8}) (([^` ]+) ([0-9a-f]{14}) ([0-9a-f]{14}) ([0-9a-f]{2}) ([0-9a-f]{8}))` UInt64\)$/;
const TYPE_BYTES_MAX = 2048;

function hex(value: number, width: number): string {
  return value.toString(16).padStart(width, '0');
}

/** Bytes of the frame `header` whose columns after `lin` are `body`. */
export function encodeFrame(header: FrameHeader, body: Buffer): Buffer[] {
  const lineage = new BigUint64Array(header.rows).fill(header.lineage);
  const lineageBytes = Buffer.from(lineage.buffer);
  const fields = [
    encodeURIComponent(header.source),
    hex(header.epoch, 14),
    hex(header.sequence, 14),
    hex(header.parts, 2),
    hex(header.rows, 8),
  ].join(' ');
  const columns = frameColumns(header.table).length + 1;
  const crc = crc32(body, crc32(lineageBytes, crc32(`${columns} ${fields}`)));
  const length = lineageBytes.length + body.length;
  const head = new NativeWriter(256);
  head.varint(columns);
  head.varint(header.rows);
  head.column('lin', `Tuple(\`LW1 ${hex(length, 8)} ${hex(crc, 8)} ${fields}\` UInt64)`);
  return [head.take(), lineageBytes, body];
}

/** A frame found in a segment file and where it lies: bytes [start, end). */
export type FoundFrame = { readonly header: FrameHeader; readonly start: number; readonly end: number };

/** The whole and undamaged frame that begins at `offset`, or null. */
export function frameAt(bytes: Buffer, offset: number, table: RecordType): FoundFrame | null {
  const reader = new NativeReader(bytes, offset);
  const columns = reader.varint();
  const rows = reader.varint();
  if (columns === null || rows === null || rows === 0 || reader.string(8) !== 'lin') return null;
  const match = TYPE.exec(reader.string(TYPE_BYTES_MAX) ?? '');
  if (match === null) return null;
  const [, length, crc, fields = '', source = '', epoch, sequence, parts, declaredRows] = match;
  const payload = reader.raw(number(length));
  if (payload === null || payload.length < 8 || number(declaredRows) !== rows) return null;
  if (crc32(payload, crc32(`${columns} ${fields}`)) !== number(crc)) return null;
  const header = {
    lineage: payload.readBigUInt64LE(0),
    source: decodeURIComponent(source),
    epoch: number(epoch),
    sequence: number(sequence),
    parts: number(parts),
    table,
    rows,
  };
  return { header, start: offset, end: reader.offset };
}

function number(text: string | undefined): number {
  return Number.parseInt(text ?? '', 16);
}

/** What a segment file holds: its whole frames and the stretches of bytes between or after them that are none. */
export type Scan = {
  readonly frames: readonly FoundFrame[];
  /** Bytes after the last whole frame. */
  readonly tail_bytes: number;
  /** True when damaged bytes lie before a whole frame: not a torn tail. */
  readonly damaged_middle: boolean;
};

/** Walks `bytes`; after a damaged stretch it looks for the next whole frame. O(bytes) plus one CRC a candidate. */
export function scanFrames(bytes: Buffer, table: RecordType): Scan {
  const frames: FoundFrame[] = [];
  let offset = 0;
  let damaged_middle = false;
  while (offset < bytes.length) {
    const found = frameAt(bytes, offset, table) ?? nextFrame(bytes, offset + 1, table);
    if (found === null) break;
    if (found.start !== offset) damaged_middle = true;
    frames.push(found);
    offset = found.end;
  }
  return { frames, tail_bytes: bytes.length - offset, damaged_middle };
}

const MARK = Buffer.from('\u0003lin', 'latin1');

function nextFrame(bytes: Buffer, from: number, table: RecordType): FoundFrame | null {
  for (let mark = bytes.indexOf(MARK, from); mark !== -1; mark = bytes.indexOf(MARK, mark + 1)) {
    // the two varints before the mark take 2 to 6 bytes
    for (let start = mark - 2; start >= Math.max(from, mark - 6); start--) {
      const found = frameAt(bytes, start, table);
      if (found !== null) return found;
    }
  }
  return null;
}
