import { systemCode } from '../core/errors.ts';
import { type Ok, ok, type Outcome, type Retry } from '../core/outcome.ts';
import type { Delivery } from '../core/ports.ts';
import { SAMPLES } from '../core/tables.ts';
import { deliverFrames } from './deliver-frames.ts';
import { readDelivery } from './delivery-file.ts';
import type { Scratch, SpoolDisk } from './disk.ts';
import type { ReadSegment } from './recovery.ts';
import type { Segment } from './segment.ts';
import type { SpoolShelf } from './spool-shelf.ts';

type Place = {
  readonly disk: SpoolDisk;
  readonly shelf: SpoolShelf;
  /** What a segment that goes alone is read into. */
  readonly scratch: Scratch;
  readonly onEvent: (kind: 'spool_damaged' | 'spool_quarantined', reason: string) => void;
};
type Handle = (delivery: Delivery) => Promise<Outcome>;

/** What goes together: an insert costs the store the same for ten rows as for ten thousand. */
const ROWS_MAX = 20_000;
const BYTES_MAX = 4 * 1_048_576;

/**
 * The first of `waiting` and the next ones of its table while they are small: what restarts leave behind. Samples go alone,
 * since their origins are numbered by segment.
 */
export function takenTogether<One extends Pick<Segment, 'table' | 'rows' | 'bytes'>>(waiting: readonly One[]): One[] {
  const [first] = waiting;
  if (first === undefined) return [];
  const taken = [first];
  let { rows, bytes } = first;
  for (const segment of first.table === SAMPLES ? [] : waiting.slice(1)) {
    if (segment.table !== first.table) continue;
    rows += segment.rows;
    bytes += segment.bytes;
    if (rows > ROWS_MAX || bytes > BYTES_MAX) break;
    taken.push(segment);
  }
  return taken;
}

/** Hands what was taken from the shelf to the store and takes off the shelf what it has, or refuses for good. */
export async function deliverSegments(
  { disk, shelf, scratch, onEvent }: Place,
  segments: readonly Segment[],
  handle: Handle,
): Promise<Outcome> {
  const whole: { readonly segment: Segment; readonly read: ReadSegment }[] = [];
  for (const segment of segments) {
    const read = await readDelivery(disk, segment, segments.length === 1 ? scratch : undefined);
    if ('kind' in read) return read;
    const left = read.segment === null ? 'the file holds nothing' : 'whole frames kept, the damaged file is .bad';
    if (read.damaged === 1) onEvent('spool_damaged', `${segment.path}: ${left}`);
    if (read.segment !== null) whole.push({ segment, read });
    else await shelf.finish(segment, read, ok(undefined)); // its file is gone: what was acknowledged in it is declared
  }
  const together = await deliverTogether(disk, whole, handle);
  if (together?.kind === 'retry') return together;
  for (const { segment, read } of whole) {
    const delivered =
      together === null
        ? await deliverFrames(disk, segment, read, handle)
        : { kind: 'delivered' as const, read, outcome: together, refusal: null };
    if (delivered.kind === 'retry') return delivered;
    const again = await shelf.finish(segment, delivered.read, delivered.outcome);
    if (again !== null) return again;
    if (delivered.refusal !== null) onEvent('spool_quarantined', delivered.refusal);
  }
  return ok(undefined);
}

/**
 * Hands whole segments of one table over as one delivery, from a file that goes with it. Their own files stay: when this
 * ends early each is delivered again, and rows that are there already count once. Null: each must go by itself.
 */
async function deliverTogether(
  disk: SpoolDisk,
  whole: readonly { readonly segment: Segment; readonly read: ReadSegment }[],
  handle: Handle,
): Promise<Ok<void> | Retry | null> {
  const [first, second] = whole;
  const pieces = whole.flatMap(({ read }) => read.bytes ?? []);
  if (first === undefined || second === undefined || pieces.length < whole.length) return null;
  const { table, path } = first.segment;
  const part = `${path}.tmp`;
  const frames = whole.flatMap(({ read }) => read.headers);
  const rows = frames.reduce((sum, header) => sum + header.rows, 0);
  try {
    await disk.write(part, Buffer.concat(pieces));
    const outcome = await handle({ table, path: part, rows, frames });
    return outcome.kind === 'reject' ? null : outcome;
  } catch (error) {
    if (systemCode(error) === null) throw error;
    return null; // the disk takes no more
  } finally {
    await disk.unlink(part).catch(() => undefined); // it was not written, or goes at the next start
  }
}
