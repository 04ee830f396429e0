import { type ColumnKind, SAMPLES, type Table, TABLES, type TableName, type TypedTable } from '../core/tables.ts';
import { columnParts } from '../formats/record-rows.ts';
import { DATABASE, quoted } from './names.ts';
import { mergeTree, onCluster, tableSettings, type Topology } from './topology.ts';

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
export function createTable(type: TypedTable, topology: Topology): string {
  const columns = [
    'record_hash UInt64 CODEC(NONE)',
    "at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1))",
    ...typedColumns(type).values(),
    'rest String CODEC(ZSTD(1))',
    'precedence UInt64 CODEC(Delta(8), ZSTD(1))',
    // the version is 2^64 − 1 − lineage, so that ReplacingMergeTree keeps the row that was accepted first
    'lin UInt64 ALIAS bitNot(precedence)',
  ];
  return `CREATE TABLE IF NOT EXISTS ${tableName(type)}${onCluster(topology)} (${columns.join(', ')})
ENGINE = ${mergeTree(type, 'Replacing', { topology, argument: 'precedence' })} PARTITION BY toYYYYMM(at) ORDER BY (${keyColumns(type).map(quoted).join(', ')})
${tableSettings(topology)}`;
}

/** The ledger: one row a frame, written after the frame's rows. */
export function createFrames(topology: Topology): string {
  return `CREATE TABLE IF NOT EXISTS ${tableName('frames')}${onCluster(topology)} (
  lineage UInt64 CODEC(Delta(8), ZSTD(1)), source LowCardinality(String), epoch UInt64 CODEC(ZSTD(1)),
  sequence UInt64 CODEC(Delta(8), ZSTD(1)), parts UInt8, \`table\` LowCardinality(String), rows UInt32 CODEC(T64, ZSTD(1)),
  duplicates UInt32 CODEC(T64, ZSTD(1)), stored_at DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)))
ENGINE = ${mergeTree('frames', 'Replacing', { topology })} ORDER BY lineage ${tableSettings(topology)}`;
}
