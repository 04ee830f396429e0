import { crc32 } from 'node:zlib';
import { LeewayError } from '../core/errors.ts';
import type { FrameHeader } from '../core/ports.ts';
import { SAMPLES, type TableName } from '../core/tables.ts';
import { frameColumns } from '../formats/record-rows.ts';
import { NativeReader, NativeWriter } from '../formats/native.ts';
import { SAMPLE_COLUMNS } from '../formats/sample-frame.ts';

/**
 * A frame: the rows of one table of one batch, as one Native block that is also a log record. Its header is the
 * element name of the first column's tuple type, so it costs no bytes a row and the engine reads a run of frames as
 * one file:
 *
 *   varint columns · varint rows · "lin" · Tuple(`LW1 <length> <crc> <source> <epoch> <sequence> <parts> <rows>` UInt64)
 *   · 8 bytes lineage a row · the columns of the table
 *
 * Samples are too small for 8 bytes of lineage each. Their first column is the series' id, the header ends with the
 * lineage and the origin, and the last column repeats the origin, one byte: rows of one source and epoch have one origin
 * in a segment, and the store gives them the lineage of its first frame there.
 *
 *   varint columns · varint rows · "id" · Tuple(`LW2 … <rows> <lineage> <origin>` UInt64) · 8 bytes id a row · at, mant,
 *   exp · "src" UInt8 · 1 byte origin a row
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

/** Origins of one segment of samples: what one byte a row tells apart. */
export const SEGMENT_ORIGINS_MAX = 256;

const TYPE =
  /^Tuple\(`LW[12] ([0-9a-f]{8}) ([0-9a-f]{8}) (([^` ]+) ([0-9a-f]{14}) ([0-9a-f]{14}) ([0-9a-f]{2}) ([0-9a-f]{8})(?: ([0-9a-f]{16}) ([0-9a-f]{2}))?)` UInt64\)$/;
const TYPE_BYTES_MAX = 2048;
/** What the first column alone takes of a row: its lineage or its id. */
const ROW_BYTES_MIN = 8;

function hex(value: number, width: number): string {
  return value.toString(16).padStart(width, '0');
}

/**
 * Bytes of the frame `header`. `body`: the columns after `lin`; of samples everything from the ids to the head of `src`.
 */
export function encodeFrame(header: FrameHeader, body: Buffer): Buffer[] {
  const isSamples = header.table === SAMPLES;
  const payload = isSamples
    ? [body, Buffer.alloc(header.rows, header.origin)]
    : [lineageColumn(header.lineage, header.rows), body];
  const fields = [
    encodeURIComponent(header.source),
    hex(header.epoch, 14),
    hex(header.sequence, 14),
    hex(header.parts, 2),
    hex(header.rows, 8),
    ...(isSamples ? [header.lineage.toString(16).padStart(16, '0'), hex(header.origin, 2)] : []),
  ].join(' ');
  const columns = columnsOf(header.table);
  let crc = crc32(`${columns} ${fields}`);
  let length = 0;
  for (const piece of payload) {
    crc = crc32(piece, crc);
    length += piece.length;
  }
  const head = new NativeWriter(256);
  head.varint(columns);
  head.varint(header.rows);
  const [name, version] = isSamples ? ['id', 'LW2'] : ['lin', 'LW1'];
  head.column(name, `Tuple(\`${version} ${hex(length, 8)} ${hex(crc, 8)} ${fields}\` UInt64)`);
  return [head.take(), ...payload];
}

function lineageColumn(lineage: bigint, rows: number): Buffer {
  return Buffer.from(new BigUint64Array(rows).fill(lineage).buffer);
}

function columnsOf(table: TableName): number {
  return 1 + (table === SAMPLES ? SAMPLE_COLUMNS.length : frameColumns(table).length);
}

/** The body that encodeFrame took, of a frame found in `bytes`: to give it another lineage or origin. */
export function bodyOf(bytes: Buffer, { header, payload, end }: FoundFrame): Buffer {
  return header.table === SAMPLES
    ? bytes.subarray(payload, end - header.rows)
    : bytes.subarray(payload + 8 * header.rows, end);
}

/** A frame found in a segment file and where it lies: bytes [start, end), its payload (all after the type) from `payload`. */
export type FoundFrame = {
  readonly header: FrameHeader;
  readonly start: number;
  readonly payload: number;
  readonly end: number;
};

/** The whole and undamaged frame that begins at `offset`, or null. */
export function frameAt(bytes: Buffer, offset: number, table: TableName): FoundFrame | null {
  const reader = new NativeReader(bytes, offset);
  const columns = reader.varint();
  const rows = reader.varint();
  if (columns === null || rows === null || rows === 0 || reader.string(8) !== firstColumn(table)) return null;
  const match = TYPE.exec(reader.string(TYPE_BYTES_MAX) ?? '');
  if (match === null) return null;
  const [, length, crc, fields = '', source = '', epoch, sequence, parts, declaredRows, lineage, origin] = match;
  const from = reader.offset;
  const payload = reader.raw(number(length));
  if (payload === null || number(declaredRows) !== rows) return null;
  // a checksum proves no good will: 8 bytes of each row are its first column's, and what is written again grows with them
  if (payload.length < rows * ROW_BYTES_MIN) return null;
  if ((lineage !== undefined) !== (table === SAMPLES)) return null;
  if (crc32(payload, crc32(`${columns} ${fields}`)) !== number(crc)) return null;
  const name = decoded(source);
  const [epoch_number, sequence_number] = [number(epoch), number(sequence)];
  if (name === null || !Number.isSafeInteger(epoch_number) || !Number.isSafeInteger(sequence_number)) return null;
  const header = {
    lineage: lineage === undefined ? payload.readBigUInt64LE(0) : BigInt(`0x${lineage}`),
    source: name,
    epoch: epoch_number,
    sequence: sequence_number,
    parts: number(parts),
    table,
    rows,
    origin: origin === undefined ? 0 : number(origin),
  };
  return { header, start: offset, payload: from, end: reader.offset };
}

/** The versions of frames that this build reads. */
const VERSIONS: readonly string[] = ['LW1', 'LW2'];
const HEAD = /^Tuple\(`(LW\d{1,4}) [0-9a-f]{8} [0-9a-f]{8} /;

/**
 * The refusal of a frame at `offset` that a newer version wrote, naming what is understood here; null for anything else.
 * Such bytes are whole and somebody's: they are neither damage nor a torn tail.
 */
export function versionFault(bytes: Buffer, offset: number): string | null {
  const reader = new NativeReader(bytes, offset);
  if (reader.varint() === null || reader.varint() === null || reader.string(8) === null) return null;
  const version = HEAD.exec(reader.string(TYPE_BYTES_MAX) ?? '')?.[1];
  if (version === undefined || VERSIONS.includes(version)) return null;
  return `a frame of version ${version}; understood here: ${VERSIONS.join(', ')}`;
}

function firstColumn(table: TableName): string {
  return table === SAMPLES ? 'id' : 'lin';
}

/** A percent-encoded name; null where it is none. */
function decoded(name: string): string | null {
  try {
    return decodeURIComponent(name);
  } catch {
    return null;
  }
}

function number(text: string | undefined): number {
  return Number.parseInt(text ?? '', 16);
}

/** What a segment file holds: its whole frames and the stretches of bytes between or after them that are none. */
export type Scan = {
  readonly frames: readonly FoundFrame[];
  /** Bytes after the last whole frame. */
  readonly tail_bytes: number;
  /** True when damaged bytes lie before a whole frame, or say a version behind one: not a torn tail. */
  readonly damaged_middle: boolean;
};

/**
 * Walks `bytes`; after a damaged stretch it looks for the next whole frame. O(bytes) plus one CRC a candidate. Throws
 * LW-FRAME-VERSION where a newer version's frame begins the file and no frame of a known one is in it: a file has one
 * writer, so beside whole frames another version is a flipped bit. Behind damage only frames of segment `number`, where it is
 * given, are frames: what looks like another's is text that a sender put into a record, laid bare.
 */
export function scanFrames(bytes: Buffer, table: TableName, number?: number): Scan {
  const frames: FoundFrame[] = [];
  let offset = 0;
  let damaged_middle = false;
  while (offset < bytes.length) {
    const found = frameAt(bytes, offset, table) ?? nextFrame(bytes, offset + 1, { table, number });
    if (found === null) {
      const fault = versionFault(bytes, offset);
      if (fault !== null && frames.length === 0) throw new LeewayError('LW-FRAME-VERSION', fault);
      damaged_middle ||= fault !== null;
      break;
    }
    if (found.start !== offset) damaged_middle = true;
    frames.push(found);
    offset = found.end;
  }
  return { frames, tail_bytes: bytes.length - offset, damaged_middle };
}

/** The table and, where it is known, the number of the segment that is scanned. */
type Scanned = { readonly table: TableName; readonly number: number | undefined };

function nextFrame(bytes: Buffer, from: number, { table, number: own }: Scanned): FoundFrame | null {
  const name = firstColumn(table);
  const wanted = Buffer.from(`${String.fromCharCode(name.length)}${name}`, 'latin1');
  for (let mark = bytes.indexOf(wanted, from); mark !== -1; mark = bytes.indexOf(wanted, mark + 1)) {
    // the two varints before the mark take 2 to 6 bytes
    for (let start = mark - 2; start >= Math.max(from, mark - 6); start--) {
      const found = frameAt(bytes, start, table);
      if (found !== null && (own === undefined || segmentOf(found.header.lineage) === own)) return found;
    }
  }
  return null;
}
