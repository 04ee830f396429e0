import path from 'node:path';
import { systemCode } from '../core/errors.ts';
import { type Ok, ok, type Outcome, type Reject, retry, type Retry } from '../core/outcome.ts';
import type { Delivery } from '../core/ports.ts';
import { noteReason } from './delivery-file.ts';
import type { SpoolDisk } from './disk.ts';
import { isDiskFull } from './disk-space.ts';
import { type FoundFrame, scanFrames } from './frame.ts';
import { SegmentTally } from './known-sequences.ts';
import type { ReadSegment } from './recovery.ts';
import type { Segment } from './segment.ts';

/** What became of a segment: `read` is what it held when the store had its say, without frames that were set aside alone. */
export type Delivered = {
  readonly kind: 'delivered';
  readonly read: ReadSegment;
  readonly outcome: Ok<void> | Reject;
  /** Where something was set aside: what and why, in words. */
  readonly refusal: string | null;
};

type Handle = (delivery: Delivery) => Promise<Outcome>;

/**
 * Frames of one segment that are set aside one by one: 16 × 2 × log2(frames) further inserts at most. Beyond them what the
 * store refuses is set aside in whole stretches.
 */
const REFUSED_ALONE_MAX = 16;

/**
 * Hands a segment to the store. One that is refused is narrowed down by halves to the frames that are: those are kept in
 * `….rejected` beside it, everything else is stored. The segment's own file stays as it is: when this ends early, all of it
 * is delivered again, and rows that are there already count once.
 */
export async function deliverFrames(
  disk: SpoolDisk,
  segment: Segment,
  read: ReadSegment,
  handle: Handle,
): Promise<Delivered | Retry> {
  const { table, path: file } = segment;
  const rows = read.segment?.rows ?? 0;
  if (rows === 0) return { kind: 'delivered', read, outcome: ok(undefined), refusal: null };
  const bytes = read.bytes === undefined ? {} : { bytes: read.bytes };
  const whole = await handle({ table, path: file, rows, frames: read.headers, ...bytes });
  if (whole.kind === 'retry') return whole;
  if (whole.kind === 'ok') return { kind: 'delivered', read, outcome: whole, refusal: null };
  if (read.headers.length > 1) {
    const isolated = await isolate({ disk, segment, handle }, read, whole);
    if (isolated !== null) return isolated;
  }
  return { kind: 'delivered', read, outcome: whole, refusal: refusalOf(file, rows, whole) };
}

type Place = { readonly disk: SpoolDisk; readonly segment: Segment; readonly handle: Handle };

/** Stores all but the refused frames; null where that does not work: then the segment is set aside whole. */
async function isolate(place: Place, read: ReadSegment, whole: Reject): Promise<Delivered | Retry | null> {
  const { disk, segment } = place;
  const part = `${segment.path}.tmp`;
  try {
    const bytes = await disk.read(segment.path);
    const { frames } = scanFrames(bytes, segment.table);
    const found = await refusedOf(place, { bytes, frames, part }, whole);
    if (Array.isArray(found) === false) return found;
    if (found.length === frames.length) return null;
    await disk.write(part, piecesOf(bytes, found));
    await noteReason(disk, `${segment.path}.rejected`, whole);
    await disk.rename(part, `${segment.path}.rejected`);
    await disk.syncDirectory(path.dirname(segment.path));
    const rows = found.reduce((sum, { header }) => sum + header.rows, 0);
    const refusal = refusalOf(segment.path, rows, whole);
    return { kind: 'delivered', read: without(read, found), outcome: ok(undefined), refusal };
  } catch (error) {
    const code = systemCode(error);
    if (code === null) throw error;
    // part of it may be stored already, so it is set aside whole only where narrowing down has no room to go on
    return isDiskFull(error) ? null : retry('LW-SPOOL-IO', `${part}: ${code}`);
  } finally {
    await disk.unlink(part).catch(() => undefined); // it was not written, has its place, or goes at the next start
  }
}

type File = { readonly bytes: Buffer; readonly frames: readonly FoundFrame[]; readonly part: string };

/** The frames that the store refuses, in their order. Everything else is stored when this resolves. */
async function refusedOf(
  { disk, segment, handle }: Place,
  { bytes, frames, part }: File,
  whole: Reject,
): Promise<FoundFrame[] | Retry> {
  const refused: FoundFrame[] = [];
  const left: { readonly some: readonly FoundFrame[]; readonly outcome: Outcome | null }[] = [
    { some: frames, outcome: whole },
  ];
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const { some } = next;
    let { outcome } = next;
    if (outcome === null) {
      await disk.write(part, piecesOf(bytes, some));
      const headers = some.map(({ header }) => header);
      const rows = headers.reduce((sum, header) => sum + header.rows, 0);
      outcome = await handle({ table: segment.table, path: part, rows, frames: headers });
    }
    if (outcome.kind === 'retry') return outcome;
    if (outcome.kind === 'ok') continue;
    if (some.length === 1 || refused.length >= REFUSED_ALONE_MAX) {
      for (const frame of some) refused.push(frame);
      continue;
    }
    const middle = some.length >>> 1;
    left.push({ some: some.slice(middle), outcome: null }, { some: some.slice(0, middle), outcome: null });
  }
  return refused;
}

function piecesOf(bytes: Buffer, frames: readonly FoundFrame[]): Buffer {
  return Buffer.concat(frames.map(({ start, end }) => bytes.subarray(start, end)));
}

/** What was read less the frames that were set aside: they are not held any more. */
function without(read: ReadSegment, refused: readonly FoundFrame[]): ReadSegment {
  if (read.segment === null) return read;
  const lineages = new Set(refused.map(({ header }) => header.lineage));
  const tally = new SegmentTally();
  for (const header of read.headers) if (!lineages.has(header.lineage)) tally.add(header, read.segment.born_ms);
  return { ...read, segment: { ...read.segment, tally: tally.list() }, refused: refused.map(({ header }) => header) };
}

function refusalOf(file: string, rows: number, { code, reason }: Reject): string {
  return `${file}.rejected: ${rows} rows; ${code} ${reason}`;
}
