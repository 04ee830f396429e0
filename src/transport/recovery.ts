import path from 'node:path';
import { LeewayError, systemCode } from '../core/errors.ts';
import type { FrameHeader } from '../core/ports.ts';
import { TABLE_NAMES, type TableName } from '../core/tables.ts';
import type { Scratch, SpoolDisk } from './disk.ts';
import { type FoundFrame, type Scan, scanFrames } from './frame.ts';
import { SegmentTally } from './known-sequences.ts';
import type { Segment, SegmentIdentity } from './segment.ts';

/** Ending of the file beside a rejected segment that says why: `{"code","reason"}`. */
export const REASON_SUFFIX = '.json';
const NAME = /^(\d{12})-([a-z_]+)\.native(\.rejected|\.bad|\.tmp)?$/;

/** File name of a segment; the suffix says why a file was set aside. */
export function segmentFile(number: number, table: TableName, suffix = ''): string {
  return `${String(number).padStart(12, '0')}-${table}.native${suffix}`;
}

/** Where a newer version wrote. */
const NEXT_STEP = 'start the version that wrote it, or move the file away and start without its rows';

/** What a start found in the spool directory. */
export type Recovered = {
  readonly segments: readonly Segment[];
  readonly headers: readonly FrameHeader[];
  /** Frames of segments that the store rejected for good. */
  readonly rejected: readonly FrameHeader[];
  readonly number_max: number;
  readonly torn_frames: number;
  readonly damaged_frames: number;
};

/**
 * Reads every segment left behind, cuts torn tails off and salvages the whole frames of damaged files. Throws
 * LW-FRAME-VERSION for a file that a newer version wrote.
 */
export async function recover(disk: SpoolDisk, directory: string, now_ms: number): Promise<Recovered> {
  const found = { segments: [], headers: [], rejected: [], number_max: 0, torn_frames: 0, damaged_frames: 0 } as {
    -readonly [Key in keyof Recovered]: Recovered[Key] extends readonly (infer Item)[] ? Item[] : Recovered[Key];
  };
  const names = await disk.list(directory);
  const rejected: SegmentIdentity[] = [];
  const whole = new Set<string>();
  for (const name of names) {
    const match = NAME.exec(name);
    if (match === null) continue;
    const [, digits = '', table, suffix] = match;
    const file = path.join(directory, name);
    found.number_max = Math.max(found.number_max, Number(digits));
    if (suffix === '.tmp') await disk.unlink(file);
    if (suffix === '.tmp' || suffix === '.bad') continue;
    if (!isTable(table)) {
      if (suffix === '.rejected') continue;
      throw new LeewayError('LW-FRAME-VERSION', `${file}: a table that is not known here; ${NEXT_STEP}`);
    }
    const identity = { number: Number(digits), table, path: file, born_ms: now_ms };
    if (suffix === '.rejected') {
      rejected.push(identity);
      continue;
    }
    const segment = await recoverFile(disk, identity);
    if (segment.segment !== null && segment.torn + segment.damaged === 0) whole.add(file);
    found.torn_frames += segment.torn;
    found.damaged_frames += segment.damaged;
    for (const header of segment.headers) found.headers.push(header); // hundreds of thousands: too many for one call
    if (segment.segment === null) continue;
    // whole frames that a killed process wrote and did not sync: what the store is given must not vanish before its ledger
    await disk.sync(file);
    found.segments.push(segment.segment);
  }
  for (const identity of rejected) {
    const { path: file } = identity;
    const source = path.basename(file, '.rejected');
    // a part of a segment that is still there: all of it is delivered again, and what is refused set aside again
    if (whole.has(path.join(directory, source))) await removeRejected(disk, file);
    else if (!names.includes(source))
      for (const { header } of scanned(await disk.read(file), identity).frames) found.rejected.push(header);
  }
  await disk.syncDirectory(directory);
  return found;
}

/** Removes what was set aside, and why: an end came before the segment that it is of could go. */
async function removeRejected(disk: SpoolDisk, file: string): Promise<void> {
  await disk.unlink(file);
  try {
    await disk.unlink(`${file}${REASON_SUFFIX}`);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error; // the reason is written where the disk takes it
  }
}

/** A segment read back from disk; `segment` is null when no whole frame was left. */
export type ReadSegment = {
  readonly segment: Segment | null;
  readonly headers: readonly FrameHeader[];
  readonly torn: 0 | 1;
  readonly damaged: 0 | 1;
  /** Frames that the store refused and that were set aside alone; the segment's tally is without them. */
  readonly refused?: readonly FrameHeader[];
  /** What was read, where it is what the file holds now; valid until its scratch is used again. */
  readonly bytes?: Buffer;
};

/**
 * Verifies one segment file and repairs it in place: afterwards it holds whole frames only, or is gone. Bytes beyond
 * `bytes_max` count as torn: a failed write left them behind, and nobody was promised them.
 */
export async function recoverFile(
  disk: SpoolDisk,
  identity: SegmentIdentity,
  bytes_max = Infinity,
  scratch?: Scratch,
): Promise<ReadSegment> {
  const file = await disk.read(identity.path, scratch);
  const bytes = file.subarray(0, bytes_max);
  const scan = scanned(bytes, identity);
  const headers = scan.frames.map((frame) => frame.header);
  const damaged = scan.damaged_middle ? 1 : 0;
  const tail = file.subarray(bytes.length - scan.tail_bytes);
  const torn = isRoom(tail) ? 0 : 1;
  if (damaged === 1) await salvage(disk, identity.path, bytes, scan.frames);
  else if (scan.frames.length > 0 && tail.length > 0) await disk.truncate(identity.path, file.length - tail.length);
  if (scan.frames.length === 0) {
    await disk.unlink(identity.path);
    return { segment: null, headers, torn, damaged };
  }
  const tally = new SegmentTally();
  let size = 0;
  let rows = 0;
  for (const frame of scan.frames) {
    size += frame.end - frame.start;
    rows += frame.header.rows;
    tally.add(frame.header, identity.born_ms);
  }
  const counts = { bytes: size, rows, frames: scan.frames.length, tally: tally.list() };
  const segment = { ...identity, ...counts, closed: Promise.resolve() };
  const whole = damaged === 0 ? { bytes: bytes.subarray(0, size) } : {};
  return { segment, headers, torn, damaged, ...whole };
}

/** Whether bytes are nothing but room that was made ahead (SpoolDisk.create) and never used. */
function isRoom(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === 0);
}

/** As scanFrames; a newer version's frames stop the start with the name of their file: nothing of it is cut or deleted. */
function scanned(
  bytes: Buffer,
  { table, number, path: file }: Pick<SegmentIdentity, 'table' | 'number' | 'path'>,
): Scan {
  try {
    return scanFrames(bytes, table, number);
  } catch (error) {
    if (!(error instanceof LeewayError)) throw error;
    throw new LeewayError(error.code, `${file}: ${error.message}; ${NEXT_STEP}`, { cause: error });
  }
}

/** Keeps the damaged file beside the segment as `.bad` and puts a file of its whole frames in its place. */
async function salvage(disk: SpoolDisk, file: string, bytes: Buffer, frames: readonly FoundFrame[]): Promise<void> {
  await disk.copy(file, `${file}.bad`);
  await disk.write(`${file}.tmp`, Buffer.concat(frames.map((frame) => bytes.subarray(frame.start, frame.end))));
  await disk.rename(`${file}.tmp`, file);
}

function isTable(name: string | undefined): name is TableName {
  return TABLE_NAMES.some((type) => type === name);
}
