import { STREAM_BITS, streamOf } from '../core/lineage.ts';

/**
 * By stream the newest lineage that was seen in one table. A stream without a mark is new: all of it is unseen. Rests on what
 * every bus keeps: rows of one table and stream become visible in the order of their lineage.
 */
export type StreamMarks = ReadonlyMap<number, bigint>;

export const NOTHING_SEEN: StreamMarks = new Map();

const LINEAGE_MAX = 0xffff_ffff_ffff_ffffn;

/** SQL of what tells the streams of a table's rows apart, for GROUP BY. */
export const STREAM = `bitShiftRight(precedence, ${STREAM_BITS})`;

/** The marks when these lineages were seen too. */
export function withSeen(marks: StreamMarks, lineages: Iterable<bigint>): StreamMarks {
  const all = new Map(marks);
  for (const lineage of lineages) {
    const stream = streamOf(lineage);
    if (lineage > (all.get(stream) ?? 0n)) all.set(stream, lineage);
  }
  return all;
}

/**
 * SQL that is true for the rows of a table above the mark of their stream. One comparison where there is one stream (the
 * embedded store); else a look-up in the marks, the same for 4,096 of them (about 100 KB of text, of at most 256) as for two.
 */
export function unseen(marks: StreamMarks): string {
  const [[stream, mark] = [0, 0n], ...others] = marks;
  // lineages of later streams are larger than any of stream 0: this holds for them too
  if (stream === 0 && others.length === 0) return `precedence < ${LINEAGE_MAX - mark}`;
  return `bitNot(precedence) > ${markOfRow(marks)}`;
}

/** SQL that is true for the rows of a table at or below the mark of their stream. */
export function seen(marks: StreamMarks): string {
  return marks.size === 0 ? '0' : `bitNot(precedence) <= ${markOfRow(marks)}`;
}

function markOfRow(marks: StreamMarks): string {
  const streams = [...marks.keys()].join(',');
  const lineages = [...marks.values()].join(',');
  const stream = `bitShiftRight(bitNot(precedence), ${STREAM_BITS})`;
  return `transform(${stream}, [${streams}]::Array(UInt64), [${lineages}]::Array(UInt64), toUInt64(0))`;
}
