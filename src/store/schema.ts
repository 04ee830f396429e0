import type { Delivery } from '../core/ports.ts';
import {
  type ColumnKind,
  SAMPLES,
  type Table,
  TABLES,
  type TableName,
  TYPED_TABLES,
  type TypedTable,
} from '../core/tables.ts';
import { columnParts, frameColumns } from '../formats/record-rows.ts';
import { CREATE_SAMPLES, SAMPLE_STRUCTURE, sampleSelect } from './sample-schema.ts';

/** Database of the telemetry tables. */
export const DATABASE = 'leeway';

const COLUMN_TYPES: Readonly<Record<ColumnKind, readonly [type: string, codec: string]>> = {
  text: ['String', 'ZSTD(1)'],
  string: ['String', 'ZSTD(1)'],
  integer: ['Int64', 'T64, ZSTD(1)'],
  real: ['Float64', 'ZSTD(1)'],
  time: ['Float64', 'Delta(8), ZSTD(1)'],
  flag: ['Bool', 'ZSTD(1)'],
  json: ['String', 'ZSTD(1)'],
  id: ['UInt64', 'ZSTD(1)'],
};

/** The ledger's plain name, where no quotes are taken. */
export const FRAMES = `${DATABASE}.frames`;

/** An identifier in back quotes. Names come from core/tables.ts only. */
export function quoted(name: string): string {
  return `\`${name.replaceAll('\\', '\\\\').replaceAll('`', '\\`')}\``;
}

/** A string literal. */
export function literal(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

/** `leeway`.`step` for a record type. */
export function tableName(type: TableName | 'frames'): string {
  return `${DATABASE}.${quoted(type)}`;
}

function columnSql(name: string, kind: ColumnKind, nullable: boolean): string {
  const [base, codec] = COLUMN_TYPES[kind];
  const inner = nullable ? `Nullable(${base})` : base;
  const type = kind === 'text' ? `LowCardinality(${inner})` : inner;
  return `${quoted(name)} ${type} CODEC(${codec})`;
}

/** Column definitions that core/tables.ts asks for, by name: what a migration adds. */
export function typedColumns(type: TypedTable): Map<string, string> {
  const table: Table = TABLES[type];
  return new Map(
    Object.entries(table.columns).map(([name, column]) => {
      const { kind, nullable } = columnParts(column);
      return [name, columnSql(name, kind, nullable)];
    }),
  );
}

/** The primary key: subject, time, digest of the whole record. Equal records meet there and count once. */
export function keyColumns(type: TableName): string[] {
  return type === SAMPLES ? ['id', 'at'] : [...TABLES[type].key, 'at', 'record_hash'];
}

/** `CREATE TABLE IF NOT EXISTS` of one record type. */
export function createTable(type: TypedTable): string {
  const columns = [
    'record_hash UInt64 CODEC(NONE)',
    "at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1))",
    ...typedColumns(type).values(),
    'rest String CODEC(ZSTD(1))',
    'precedence UInt64 CODEC(Delta(8), ZSTD(1))',
    // the version is 2^64 − 1 − lineage, so that ReplacingMergeTree keeps the row that was accepted first
    'lin UInt64 ALIAS bitNot(precedence)',
  ];
  return `CREATE TABLE IF NOT EXISTS ${tableName(type)} (${columns.join(', ')})
ENGINE = ReplacingMergeTree(precedence) PARTITION BY toYYYYMM(at) ORDER BY (${keyColumns(type).map(quoted).join(', ')})
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1`;
}

/** The ledger: one row a frame, written after the frame's rows. */
export const CREATE_FRAMES = `CREATE TABLE IF NOT EXISTS ${tableName('frames')} (
  lineage UInt64 CODEC(Delta(8), ZSTD(1)), source LowCardinality(String), epoch UInt64 CODEC(ZSTD(1)),
  sequence UInt64 CODEC(Delta(8), ZSTD(1)), parts UInt8, \`table\` LowCardinality(String), rows UInt32 CODEC(T64, ZSTD(1)),
  duplicates UInt32 CODEC(T64, ZSTD(1)), stored_at DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)))
ENGINE = ReplacingMergeTree ORDER BY lineage SETTINGS fsync_after_insert = 1, fsync_part_directory = 1`;

/** Every statement that an empty store needs, in order, with the table that shows it was done. */
export function createStatements(): { table: string; sql: string }[] {
  return [
    { table: 'frames', sql: `CREATE DATABASE IF NOT EXISTS ${DATABASE}` },
    { table: 'frames', sql: CREATE_FRAMES },
    { table: SAMPLES, sql: CREATE_SAMPLES },
    ...TYPED_TABLES.map((type) => ({ table: type, sql: createTable(type) })),
  ];
}

/** Drops what an insert left in the session, however it ended. */
export const DROP_INCOMING = 'DROP TEMPORARY TABLE IF EXISTS incoming';

/** The rows of a delivery's file as the table has them, and `lin`, their lineage. */
function deliveryRows({ table, frames }: Delivery, file: string): string {
  if (table === SAMPLES) return sampleSelect(`file(${literal(file)}, Native, ${literal(SAMPLE_STRUCTURE)})`, frames);
  const columns = frameColumns(table);
  const structure = ['lin Tuple(UInt64)', ...columns.map((column) => `${quoted(column.name)} ${column.type}`)];
  const names = columns.map((column) => quoted(column.name));
  return `SELECT ${names.join(', ')}, lin.1 AS lin FROM file(${literal(file)}, Native, ${literal(structure.join(', '))})`;
}

/**
 * Reads a delivery's file into the session's table `incoming`: its blocks, one a frame, are decoded once and not five
 * times (2,000 frames of 10 rows: 0.30 s of CPU instead of 0.86), and what is checked is what is inserted. Of samples only
 * those of the series `ids` (null: of all).
 */
export function loadDelivery(delivery: Delivery, file: string, ids: readonly bigint[] | null = null): string {
  const some = ids === null ? '' : ` WHERE id IN (${ids.join(', ')})`;
  return `CREATE TEMPORARY TABLE incoming ENGINE = Memory AS ${deliveryRows(delivery, file)}${some}`;
}

/** Rows that the engine finds in a delivery's file. */
export function countDelivery(delivery: Delivery, file: string): string {
  return `SELECT count() AS found FROM (${deliveryRows(delivery, file)})`;
}

/** Inserts what was loaded. One block per partition, so a segment is one part where it lies in one month. */
export function insertIncoming(table: TableName): string {
  return insertFrom(table, 'incoming');
}

/** Inserts a delivery's file as it is. */
export function insertDelivery(delivery: Delivery, file: string): string {
  return insertFrom(delivery.table, `(${deliveryRows(delivery, file)})`);
}

function insertFrom(table: TableName, source: string): string {
  const columns = table === SAMPLES ? ['id', 'at', 'mant', 'exp'] : frameColumns(table).map(({ name }) => name);
  const names = columns.map(quoted).join(', ');
  return `INSERT INTO ${tableName(table)} (${names}, precedence) SELECT ${names}, bitNot(lin) FROM ${source}
SETTINGS async_insert = 0, optimize_on_insert = 0, max_insert_threads = 1, max_partitions_per_insert_block = 0,
  min_insert_block_size_rows = 2000000, min_insert_block_size_bytes = 1000000000`;
}

/**
 * By frame, the loaded rows that no smaller lineage holds: first among the loaded and absent from the table below
 * `base`; and, summed over the frames, all rows that the engine found. The answer does not change when the segment is
 * inserted twice, because its own rows are not below `base`.
 */
export function freshRows(type: TableName, base: bigint): string {
  const key = keyColumns(type).map(quoted).join(', ');
  return `WITH (SELECT (min(at), max(at)) FROM incoming) AS span
SELECT toString(first) AS lineage, sum(times) AS found, countIf((${key}) NOT IN (
  SELECT ${key} FROM ${tableName(type)}
  WHERE at >= span.1 AND at <= span.2 AND precedence > bitNot(toUInt64(${base}))
    AND (${key}) IN (SELECT ${key} FROM incoming)
)) AS fresh FROM (
  SELECT ${key}, min(lin) AS first, count() AS times FROM incoming GROUP BY ${key}
) GROUP BY first`;
}

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
