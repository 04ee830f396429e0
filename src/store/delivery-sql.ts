import type { Delivery, FrameHeader } from '../core/ports.ts';
import { SAMPLES, type TableName } from '../core/tables.ts';
import { frameColumns } from '../formats/record-rows.ts';
import { quoted } from './names.ts';
import { type SampleLineage, sampleSelect, sampleStructure } from './sample-schema.ts';
import { keyColumns, tableName } from './schema.ts';

/**
 * Statements of an insert. `incoming`: the rows of a delivery, decoded once and not five times (2,000 frames of 10 rows:
 * 0.30 s of CPU instead of 0.86); what is checked is what is inserted. `known`: keys among them that are stored already.
 * Both are temporary tables of the session.
 */

/** Drops what an insert left in the session, however it ended. */
export const DROP_INCOMING = ['DROP TEMPORARY TABLE IF EXISTS incoming', 'DROP TEMPORARY TABLE IF EXISTS known'];

type Column = { readonly name: string; readonly type: string };

function tableColumns(table: TableName): readonly Column[] {
  if (table !== SAMPLES) return frameColumns(table);
  return [
    { name: 'id', type: 'UInt64' },
    { name: 'at', type: 'DateTime64(3)' },
    { name: 'mant', type: 'Int64' },
    { name: 'exp', type: 'Int8' },
  ];
}

function declared(columns: readonly Column[]): string {
  return columns.map(({ name, type }) => `${quoted(name)} ${type}`).join(', ');
}

/** Rows of one table on their way, and how samples among them say their lineage. */
export type IncomingRows = Pick<Delivery, 'table' | 'frames'> & { readonly sample_lineage: SampleLineage };

/** What the engine is told of blocks: their columns, whatever the name of the first one's element. */
export function structureOf({ table, sample_lineage }: IncomingRows): string {
  return table === SAMPLES ? sampleStructure(sample_lineage) : `lin Tuple(UInt64), ${declared(frameColumns(table))}`;
}

/** The rows of blocks as the table has them, and `lin`, their lineage. */
function blockRows({ table, frames, sample_lineage }: IncomingRows, source: string): string {
  if (table === SAMPLES) return sampleSelect(source, sample_lineage, frames);
  const names = frameColumns(table).map((column) => quoted(column.name));
  return `SELECT ${names.join(', ')}, lin.1 AS lin FROM ${source}`;
}

/** Makes the session's table of incoming rows. */
export function createIncoming(table: TableName): string {
  return `CREATE TEMPORARY TABLE incoming (${declared(tableColumns(table))}, lin UInt64) ENGINE = Memory`;
}

/** Loads the blocks that `source` reads into `incoming`; of samples only those of the series `ids` (null: of all). */
export function loadIncoming(rows: IncomingRows, source: string, ids: readonly bigint[] | null): string {
  const some = ids === null ? '' : ` WHERE id IN (${ids.join(', ')})`;
  return `INSERT INTO incoming ${blockRows(rows, source)}${some}`;
}

/**
 * Makes `known`: keys of `incoming` whose row in the table is of a lineage that is not in `incoming`. A row that an earlier
 * attempt of the same frames left is not among them, so the answer is the same however often they come; nor does a row count
 * that this one has beaten and that is not merged away yet, so it is the same in whatever company.
 */
export function createKnown(table: TableName): string {
  const key = keyColumns(table).map(quoted).join(', ');
  return `CREATE TEMPORARY TABLE known ENGINE = Memory AS
WITH (SELECT (min(at), max(at)) FROM incoming) AS span
SELECT ${key} FROM ${tableName(table)}
WHERE at >= span.1 AND at <= span.2 AND (${key}) IN (SELECT ${key} FROM incoming)
GROUP BY ${key} HAVING bitNot(max(precedence)) NOT IN (SELECT lin FROM incoming)`;
}

/** The newest time of all samples, from the bounds of parts; `rows` is 0 where there are none. */
export const NEWEST_OF_ALL = `SELECT toString(count()) AS rows, toString(toUnixTimestamp64Milli(max(at))) AS newest_ms
FROM ${tableName(SAMPLES)}`;

/** The newest time of each of the series `ids` that has a sample from `from_ms` on; TOO_MANY_ROWS beyond `rows_max`. */
export function newestOf(
  ids: readonly bigint[],
  { from_ms, rows_max }: { readonly from_ms: number; readonly rows_max: number },
): string {
  return `SELECT toString(id) AS id, toString(toUnixTimestamp64Milli(max(at))) AS newest_ms FROM ${tableName(SAMPLES)}
WHERE at >= fromUnixTimestamp64Milli(toInt64(${from_ms}), 'UTC') AND id IN (${ids.join(', ')}) GROUP BY id SETTINGS max_rows_to_read = ${rows_max}`;
}

/** By lineage, the loaded rows and how many of them are fresh: the first of their key, and not known. */
export function countIncoming(table: TableName): string {
  const key = keyColumns(table).map(quoted).join(', ');
  return `SELECT toString(lin) AS lineage, sum(found_rows) AS found, sum(fresh_rows) AS fresh FROM (
  SELECT lin, count() AS found_rows, 0 AS fresh_rows FROM incoming GROUP BY lin
  UNION ALL
  SELECT first AS lin, 0 AS found_rows, countIf((${key}) NOT IN (SELECT ${key} FROM known)) AS fresh_rows
  FROM (SELECT ${key}, min(lin) AS first FROM incoming GROUP BY ${key}) GROUP BY first
) GROUP BY lin`;
}

/** Which rows an insert takes: all, or of every key that is not known the one of the smallest lineage. */
export type Taken = 'all' | 'fresh';

/** Inserts what was loaded. One block per partition, so a segment is one part where it lies in one month. */
export function insertIncoming(table: TableName, taken: Taken): string {
  return insertFrom(table, 'incoming', taken);
}

/** Inserts the blocks that `source` reads. */
export function insertBlocks(rows: IncomingRows, source: string, taken: Taken): string {
  return insertFrom(rows.table, `(${blockRows(rows, source)})`, taken);
}

function insertFrom(table: TableName, source: string, taken: Taken): string {
  const names = tableColumns(table)
    .map(({ name }) => quoted(name))
    .join(', ');
  const key = keyColumns(table).map(quoted).join(', ');
  const some =
    taken === 'all' ? '' : ` WHERE (${key}) NOT IN (SELECT ${key} FROM known) ORDER BY lin LIMIT 1 BY ${key}`;
  return `INSERT INTO ${tableName(table)} (${names}, precedence) SELECT ${names}, bitNot(lin) FROM ${source}${some}
SETTINGS async_insert = 0, optimize_on_insert = 0, max_insert_threads = 1, max_partitions_per_insert_block = 0,
  min_insert_block_size_rows = 2000000, min_insert_block_size_bytes = 1000000000`;
}

/** A row of the ledger for each frame; duplicates stand with the lineage that their rows carry. */
export function ledgerRows(
  frames: readonly FrameHeader[],
  duplicates: ReadonlyMap<string, number>,
  stored_ms: number,
): object[] {
  const stored_at = new Date(stored_ms).toISOString().slice(0, 23).replace('T', ' ');
  return frames.map(({ source, epoch, sequence, parts, table, rows, lineage }) => {
    const own = { source, epoch, sequence, parts, table, rows };
    return { ...own, lineage: String(lineage), duplicates: duplicates.get(String(lineage)) ?? 0, stored_at };
  });
}
