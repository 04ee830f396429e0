import { STREAM_BITS, streamOf } from '../core/lineage.ts';
import type { TableName } from '../core/tables.ts';
import type { Behind } from './ledger-totals.ts';
import { DATABASE, literal } from './names.ts';
import { tableName } from './schema.ts';

/** A stretch of one stream of the ledger: lineages above `after` and up to `upto`. */
export type Stretch = { readonly after: bigint; readonly upto: bigint };

/** What comes before the first lineage of a stream (no frame has lineage 0). */
export function beforeStream(stream: number): bigint {
  const first = BigInt(stream) << BigInt(STREAM_BITS);
  return first === 0n ? 0n : first - 1n;
}

function within(stretches: readonly Stretch[]): string {
  return stretches.map(({ after, upto }) => `(lineage > ${after} AND lineage <= ${upto})`).join(' OR ');
}

/** True for lineages at or below the watermark of their stream, in a form that hundreds of streams fit into. */
function atMost(watermarks: readonly bigint[]): string {
  if (watermarks.length === 0) return '0';
  const streams = watermarks.map(streamOf).join(', ');
  return `lineage <= transform(bitShiftRight(lineage, ${STREAM_BITS}), [${streams}], [${watermarks.map((mark) => `toUInt64(${mark})`).join(', ')}], toUInt64(0))`;
}

/**
 * By stream the newest lineage, the smallest that was stored in the last `tail_ms`, and the smallest of the last `since_ms`
 * (0: none).
 */
export function newestLineages(tail_ms: number, since_ms: number): string {
  const smallest = (ms: number): string =>
    ms === 0
      ? 'toUInt64(0)'
      : `minIf(frame.lineage, frame.stored_at >= now64(3) - toIntervalMillisecond(${Math.ceil(ms)}))`;
  return `SELECT max(frame.lineage) AS lineage, ${smallest(tail_ms)} AS tail, ${smallest(since_ms)} AS late
FROM ${tableName('frames')} AS frame GROUP BY bitShiftRight(frame.lineage, ${STREAM_BITS})`;
}

/** How many frames the ledger has in `stretches`. */
export function ledgerCount(stretches: readonly Stretch[]): string {
  return `SELECT count() AS frames FROM ${tableName('frames')} FINAL WHERE ${within(stretches)}`;
}

/** A group in one text, as `groupNameOf` makes it: order means something within a stream and within a table's files. */
const GROUP_NAME = `concat(toString(bitShiftRight(lineage, ${STREAM_BITS})), ' ', \`table\`, ' ', toString(epoch), ' ', source)`;
const GROUP = `source, epoch, \`table\`, bitShiftRight(lineage, ${STREAM_BITS}) AS stream`;

/**
 * Frames of the ledger in `stretches`, by source, epoch, table and stream. `disorder`: a sequence follows a higher one. (Sorting
 * each group in an array takes a third of the time of a window function.)
 */
export function ledgerSums(stretches: readonly Stretch[]): string {
  const inOrder = 'arrayMap(pair -> toInt64(pair.2), arraySort(groupArray((lineage, sequence))))';
  return `SELECT ${GROUP}, sum(rows) AS frame_rows, sum(duplicates) AS duplicates_absorbed,
  min(sequence) AS first, max(sequence) AS last, arrayMin(arrayDifference(${inOrder})) < 0 AS disorder
FROM ${tableName('frames')} FINAL WHERE ${within(stretches)} GROUP BY source, epoch, \`table\`, stream`;
}

/**
 * Rows of some groups that were stored although a higher sequence was accepted before: in `stretches`, or before them
 * (`newest`).
 */
export function ledgerLate(stretches: readonly Stretch[], groups: readonly Behind[]): string {
  const names = groups.map(({ name }) => literal(name)).join(', ');
  const before = `transform(name, [${names}], [${groups.map(({ newest }) => `toUInt64(${newest})`).join(', ')}], toUInt64(0))`;
  return `SELECT name, sumIf(rows - duplicates, sequence < greatest(newest, ${before})) AS late FROM (
  SELECT ${GROUP_NAME} AS name, sequence, rows, duplicates,
    max(sequence) OVER (PARTITION BY name ORDER BY lineage ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS newest
  FROM ${tableName('frames')} FINAL WHERE (${within(stretches)}) AND name IN (${names})) GROUP BY name`;
}

/** Active parts by table and month: equal lists of parts hold equal rows. */
export const PART_LISTS = `SELECT table, partition_id AS partition, arrayStringConcat(arraySort(groupArray(name)), ' ') AS parts
FROM system.parts WHERE database = '${DATABASE}' AND active AND rows > 0 AND table != 'frames'
GROUP BY table, partition_id`;

/** By stream, the first and the last lineage that rows of partitions have. */
export function lineageSpans(partitions: readonly { table: TableName; partition: string }[]): string {
  return partitions
    .map(
      ({ table, partition }) => `SELECT ${literal(table)} AS \`table\`, ${literal(partition)} AS partition,
  bitNot(max(precedence)) AS first, bitNot(min(precedence)) AS last
FROM ${tableName(table)} WHERE _partition_id = ${literal(partition)} GROUP BY bitShiftRight(bitNot(precedence), ${STREAM_BITS})`,
    )
    .join('\nUNION ALL\n');
}

/** A piece of the ledger, and the rows that are of its frames. */
export type Piece = {
  /** Frames above the watermark of their stream are unknown; null: none are. */
  readonly watermarks: readonly bigint[] | null;
  /** Where frames are looked for. */
  readonly within: readonly Stretch[];
  /** Rows of lineages above this one (null: all) … */
  readonly after: bigint | null;
  /** … and up to this one. */
  readonly upto: bigint | null;
};

/**
 * Rows that partitions hold, by source and epoch, counted from the rows; `known` is 0 for rows whose frame the ledger
 * lacks or has above the watermark of its stream.
 */
export function storedRows(
  partitions: readonly { table: TableName; partition: string }[],
  { watermarks, within: stretches, after, upto }: Piece,
): string {
  const some = [
    after === null ? '' : ` AND bitNot(precedence) > ${after}`,
    upto === null ? '' : ` AND bitNot(precedence) <= ${upto}`,
  ].join('');
  const counted = partitions.map(
    ({ table, partition }) => `SELECT ${literal(table)} AS \`table\`, ${literal(partition)} AS partition,
  bitNot(precedence) AS lineage, count() AS held
FROM ${tableName(table)} FINAL WHERE _partition_id = ${literal(partition)}${some} GROUP BY precedence`,
  );
  return `SELECT \`table\`, partition, source, epoch, known, sum(held) AS stored FROM (
${counted.join('\nUNION ALL\n')}
) AS counted ANY LEFT JOIN (SELECT lineage, source, epoch, 1 AS known FROM ${tableName('frames')}
  WHERE (${within(stretches)}) AND ${watermarks === null ? '1' : atMost(watermarks)}) AS frame USING (lineage)
GROUP BY \`table\`, partition, source, epoch, known`;
}

/** Consecutive numbers of `batches` (source, epoch, sequence), as closed ranges. */
function islands(batches: string): string {
  return `SELECT source, epoch, min(sequence) AS \`from\`, max(sequence) AS \`to\` FROM (
  SELECT source, epoch, sequence,
    toInt64(sequence) - toInt64(row_number() OVER (PARTITION BY source, epoch ORDER BY sequence)) AS island
  FROM (${batches})
) GROUP BY source, epoch, island ORDER BY source, epoch, \`from\``;
}

/** Two million frames take about 0.5 s and 0.4 GB to group; senders repeat what is minutes old, not weeks. */
const KNOWN_FRAMES_MAX = 2_000_000;

/**
 * Batches of which every part is among the newest frames of the ledger, as ranges of consecutive sequences. An older
 * batch that is sent again is stored again and absorbed by the primary key.
 */
export const COMPLETE_SEQUENCES = islands(`SELECT source, epoch, sequence FROM (
  SELECT source, epoch, sequence, parts, \`table\` FROM ${tableName('frames')} ORDER BY lineage DESC LIMIT ${KNOWN_FRAMES_MAX}
) GROUP BY source, epoch, sequence HAVING uniqExact(\`table\`) >= max(parts)`);

/** Batches of which any part is in `stretches`, as ranges of consecutive sequences. */
export function ledgerSequences(stretches: readonly Stretch[]): string {
  return islands(`SELECT DISTINCT source, epoch, sequence FROM ${tableName('frames')} WHERE ${within(stretches)}`);
}

/** By stream, the last lineage of the next `frames` frames in `stretches`. */
export function ledgerChunk(stretches: readonly Stretch[], frames: number): string {
  return `SELECT max(chunk.lineage) AS lineage FROM (
  SELECT lineage FROM ${tableName('frames')} WHERE ${within(stretches)} ORDER BY lineage LIMIT ${frames}) AS chunk
GROUP BY bitShiftRight(chunk.lineage, ${STREAM_BITS})`;
}

/** The largest lineage of the ledger, 0 when it is empty. */
export const LINEAGE_MAX = `SELECT max(lineage) AS lineage FROM ${tableName('frames')}`;
