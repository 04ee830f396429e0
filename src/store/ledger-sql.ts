import type { TableName } from '../core/tables.ts';
import { DATABASE, literal, tableName } from './schema.ts';

/** Frames of the ledger with lineage in (after, upto], by source and epoch. */
export const LEDGER_SUMS = `SELECT source, epoch, sum(rows) AS frame_rows, sum(duplicates) AS duplicates_absorbed
FROM ${tableName('frames')} FINAL WHERE lineage > {after:UInt64} AND lineage <= {upto:UInt64} GROUP BY source, epoch`;

/** Active parts by table and month: equal lists of parts hold equal rows. */
export const PART_LISTS = `SELECT table, partition_id AS partition, arrayStringConcat(arraySort(groupArray(name)), ' ') AS parts
FROM system.parts WHERE database = '${DATABASE}' AND active AND rows > 0 AND table != 'frames'
GROUP BY table, partition_id`;

/**
 * Rows that partitions hold, by source and epoch, counted from the rows; `known` is 0 for rows whose frame the ledger
 * lacks or has above `upto`.
 */
export function storedRows(partitions: readonly { table: TableName; partition: string }[]): string {
  const counted = partitions.map(
    ({ table, partition }) => `SELECT ${literal(table)} AS \`table\`, ${literal(partition)} AS partition,
  bitNot(precedence) AS lineage, count() AS held
FROM ${tableName(table)} FINAL WHERE _partition_id = ${literal(partition)} GROUP BY precedence`,
  );
  return `SELECT \`table\`, partition, source, epoch, known, sum(held) AS stored FROM (
${counted.join('\nUNION ALL\n')}
) AS counted ANY LEFT JOIN (SELECT lineage, source, epoch, 1 AS known FROM ${tableName('frames')}
  WHERE lineage <= {upto:UInt64}) AS frame USING (lineage)
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

/** Batches of which any part has a lineage in (after, upto], as ranges of consecutive sequences. */
export const LEDGER_SEQUENCES = islands(`SELECT DISTINCT source, epoch, sequence FROM ${tableName('frames')}
WHERE lineage > {after:UInt64} AND lineage <= {upto:UInt64}`);

/** The last lineage of the next `frames` frames after `after`. */
export const LEDGER_CHUNK = `SELECT max(lineage) AS lineage FROM (
  SELECT lineage FROM ${tableName('frames')} WHERE lineage > {after:UInt64} ORDER BY lineage LIMIT {frames:UInt64})`;

/** The largest lineage of the ledger, 0 when it is empty. */
export const LINEAGE_MAX = `SELECT max(lineage) AS lineage FROM ${tableName('frames')}`;
