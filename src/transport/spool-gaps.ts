import { systemCode } from '../core/errors.ts';
import type { FrameHeader } from '../core/ports.ts';
import { RangeSet } from '../core/range-set.ts';
import type { SpoolDisk } from './disk.ts';
import { scanFrames } from './frame.ts';
import type { Gap, GapReason } from './gap-log.ts';
import { type KnownSequences, SourceTally } from './known-sequences.ts';
import type { Segment } from './segment.ts';

/** Rows of a batch that were, or would have become, a frame. */
export type Framed = Pick<FrameHeader, 'source' | 'epoch' | 'sequence' | 'parts' | 'table' | 'rows'>;

/**
 * What dropping a closed segment loses, by source and epoch: exactly the records that were acknowledged in it. Which batches
 * they were of is read from the file; where it cannot be read, or is damaged, the rest is declared without sequences.
 */
export async function gapsOfSegment(disk: SpoolDisk, segment: Segment, known: KnownSequences): Promise<Gap[]> {
  const headers = await headersOf(disk, segment);
  const gaps = gapsOf(headers, 'spool_full_oldest', (frame) => known.has(frame, frame.sequence));
  const found = new SourceTally();
  for (const header of headers) found.add(header, header.rows);
  const held = new Map(found.list().map(({ source, epoch, records }) => [`${epoch} ${source}`, records]));
  const { table } = segment;
  for (const { source, epoch, records } of segment.tally) {
    const unread = records - (held.get(`${epoch} ${source}`) ?? 0);
    const rest = { source, epoch, table, parts: 1, acknowledged: true, ranges: [] };
    if (unread > 0) gaps.push({ ...rest, reason: 'spool_full_oldest', records: unread });
  }
  return gaps;
}

/** A part without its body. */
export function headOf({ source, epoch, sequence, parts, table, rows }: Framed): Framed {
  return { source, epoch, sequence, parts, table, rows };
}

/** What leaving parts out of a batch that is acknowledged loses. */
export function gapsOfParts(parts: readonly Framed[]): Gap[] {
  return gapsOf(parts, 'spool_full_newest', () => true);
}

async function headersOf(disk: SpoolDisk, segment: Segment): Promise<FrameHeader[]> {
  try {
    const bytes = (await disk.read(segment.path)).subarray(0, segment.bytes);
    return scanFrames(bytes, segment.table).frames.map(({ header }) => header);
  } catch (error) {
    if (systemCode(error) === null) throw error;
    return []; // gone or unreadable: what it held is known by source and epoch
  }
}

function gapsOf(frames: readonly Framed[], reason: GapReason, isAcknowledged: (frame: Framed) => boolean): Gap[] {
  const gaps = new Map<string, { gap: Omit<Gap, 'records' | 'ranges'>; records: number; ranges: RangeSet }>();
  for (const frame of frames) {
    const { source, epoch, table, parts } = frame;
    const acknowledged = isAcknowledged(frame);
    const name = JSON.stringify([source, epoch, table, parts, acknowledged]);
    const gap = { source, epoch, table, reason, parts, acknowledged };
    const known = gaps.get(name) ?? { gap, records: 0, ranges: new RangeSet() };
    known.records += frame.rows;
    known.ranges.add(frame.sequence);
    gaps.set(name, known);
  }
  return [...gaps.values()].map(({ gap, records, ranges }) => {
    return { ...gap, records, ranges: ranges.ranges.map(({ from, to }) => [from, to] as const) };
  });
}
