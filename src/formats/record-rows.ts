import { canonicalJson, compareUtf8 } from '../core/canonical.ts';
import type { LeewayRecord, RecordType } from '../core/records.ts';
import {
  type Column,
  type ColumnKind,
  type StoredRecord,
  type Table,
  TABLES,
  type TypedTable,
} from '../core/tables.ts';
import { NativeWriter } from './native.ts';

/**
 * Records as columns and back. Every field that its column can hold exactly goes there; whatever cannot (unknown
 * fields, explicit nulls, lone surrogates) goes to `rest` as JSON and wins when the record is rebuilt.
 */

/** A stable digest of at least 8 bytes; equal texts give equal digests. */
export type Digest = (text: string) => Uint8Array;

export type NativeColumn = { readonly name: string; readonly type: string };

/** `at` is DateTime64(3); the engine's range ends in 2299. */
const AT_MS_MAX = 10_413_791_999_999;

const NATIVE_TYPES: Readonly<Record<ColumnKind, string>> = {
  text: 'String',
  string: 'String',
  integer: 'Int64',
  real: 'Float64',
  time: 'Float64',
  flag: 'Bool',
  json: 'String',
  id: 'UInt64',
};

type Field = { readonly name: string; readonly kind: ColumnKind; readonly nullable: boolean };
type Layout = { readonly time: string | null; readonly fields: readonly Field[]; readonly names: ReadonlySet<string> };

const layouts = new Map<TypedTable, Layout>();

/** Kind and nullability of a column of core/tables.ts. */
export function columnParts(column: Column): { kind: ColumnKind; nullable: boolean } {
  const nullable = column.endsWith('?');
  return { kind: (nullable ? column.slice(0, -1) : column) as ColumnKind, nullable }; // by the template type of Column
}

function layoutOf(type: TypedTable): Layout {
  const known = layouts.get(type);
  if (known !== undefined) return known;
  const table: Table = TABLES[type];
  const fields = Object.entries(table.columns).map(([name, column]) => ({ name, ...columnParts(column) }));
  const layout = { time: table.time, fields, names: new Set(fields.map((field) => field.name)) };
  layouts.set(type, layout);
  return layout;
}

/** Columns of a frame after its first one (`lin`), in order, with their Native types. */
export function frameColumns(type: TypedTable): NativeColumn[] {
  const fields = layoutOf(type).fields.map(({ name, kind, nullable }) => {
    const native = NATIVE_TYPES[kind];
    return { name, type: nullable ? `Nullable(${native})` : native };
  });
  return [
    { name: 'record_hash', type: 'UInt64' },
    { name: 'at', type: 'DateTime64(3)' },
    ...fields,
    { name: 'rest', type: 'String' },
  ];
}

type Loose = Readonly<Record<string, unknown>>;
type Rows = readonly Loose[];

/** The columns of `records`, all of one type and at least one, as Native column data after `lin`. */
export function encodeColumns(type: TypedTable, records: readonly StoredRecord[], digest: Digest): Buffer {
  const rows = records as readonly unknown[] as Rows; // fields are looked up by the table's names from here on
  const layout = layoutOf(type);
  const writer = new NativeWriter(records.length * 160 + 512);
  writer.column('record_hash', 'UInt64');
  writer.raw(hashes(rows, digest));
  writer.column('at', 'DateTime64(3)');
  writer.raw(times(rows, layout.time));
  for (const field of layout.fields) encodeField(writer, field, rows);
  writer.column('rest', 'String');
  for (const row of rows) writer.string(restOf(row, layout));
  return writer.take();
}

function encodeField(writer: NativeWriter, field: Field, rows: Rows): void {
  const native = NATIVE_TYPES[field.kind];
  writer.column(field.name, field.nullable ? `Nullable(${native})` : native);
  if (field.nullable) {
    const nulls = new Uint8Array(rows.length);
    for (const [index, row] of rows.entries()) nulls[index] = fits(field.kind, row[field.name]) ? 0 : 1;
    writer.raw(nulls);
  }
  switch (field.kind) {
    case 'text':
    case 'string':
    case 'json':
      return encodeTexts(writer, field, rows);
    case 'integer':
      return writer.raw(integers(rows, field.name));
    case 'id':
      return writer.raw(BigUint64Array.from(rows, (row) => idOf(row[field.name])));
    case 'real':
    case 'time':
      return writer.raw(Float64Array.from(rows, (row) => finite(row[field.name])));
    case 'flag':
      return writer.raw(Uint8Array.from(rows, (row) => (row[field.name] === true ? 1 : 0)));
  }
}

function encodeTexts(writer: NativeWriter, field: Field, rows: Rows): void {
  let last: string | null = null;
  let from = 0;
  for (const row of rows) {
    const text = textOf(field, row[field.name]);
    if (text === last) {
      const to = writer.length;
      writer.repeat(from, to);
      from = to;
      continue;
    }
    from = writer.length;
    writer.string(text);
    last = text;
  }
}

function textOf(field: Field, value: unknown): string {
  if (field.kind === 'json') return value === undefined ? (field.nullable ? '' : 'null') : JSON.stringify(value);
  return typeof value === 'string' && value.isWellFormed() ? value : '';
}

const ID = /^(0|[1-9][0-9]{0,19})$/;

function idOf(value: unknown): bigint {
  return typeof value === 'string' && ID.test(value) ? BigInt.asUintN(64, BigInt(value)) : 0n;
}

function finite(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) ? value : 0;
}

/** Signed 64-bit values as pairs of 32-bit words: BigInt would cost ten times as much. */
function integers(rows: Rows, name: string): Uint32Array {
  const words = new Uint32Array(rows.length * 2);
  for (const [index, row] of rows.entries()) {
    const value = row[name];
    if (typeof value === 'number' && Number.isSafeInteger(value)) putInteger(words, index, value);
  }
  return words;
}

function putInteger(words: Uint32Array, index: number, value: number): void {
  const high = Math.floor(value / 4_294_967_296);
  words[index * 2] = value - high * 4_294_967_296;
  words[index * 2 + 1] = high >>> 0;
}

function times(rows: Rows, field: string | null): Uint32Array {
  const words = new Uint32Array(rows.length * 2);
  if (field === null) return words;
  for (const [index, row] of rows.entries())
    putInteger(words, index, Math.min(AT_MS_MAX, Math.max(0, Math.floor(finite(row[field])))));
  return words;
}

function fits(kind: ColumnKind, value: unknown): boolean {
  switch (kind) {
    case 'text':
    case 'string':
      return typeof value === 'string' && value.isWellFormed();
    case 'integer':
      return Number.isSafeInteger(value);
    case 'real':
    case 'time':
      return typeof value === 'number' && Number.isFinite(value);
    case 'flag':
      return typeof value === 'boolean';
    case 'json':
      return value !== undefined;
    case 'id':
      return typeof value === 'string' && String(idOf(value)) === value;
  }
}

function restOf(row: Loose, layout: Layout): string {
  let rest: Record<string, unknown> | null = null;
  for (const key in row) {
    if (key === 'type' || row[key] === undefined || layout.names.has(key)) continue;
    rest ??= {};
    rest[key] = row[key];
  }
  for (const field of layout.fields) {
    const value = row[field.name];
    if (value === undefined || fits(field.kind, value)) continue;
    rest ??= {};
    rest[field.name] = value;
  }
  return rest === null ? '' : JSON.stringify(rest);
}

function hashes(rows: Rows, digest: Digest): Uint8Array {
  const bytes = new Uint8Array(rows.length * 8);
  const text = canonicalizer();
  for (const [index, row] of rows.entries()) bytes.set(digest(text(row)).subarray(0, 8), index * 8);
  return bytes;
}

/**
 * canonicalJson for a run of records: the sorted order of keys is kept from one record to the next while their keys
 * are the same, which they nearly always are. The text is exactly canonicalJson's.
 */
export function canonicalizer(): (record: Loose) => string {
  let keys: readonly string[] = [];
  let order: readonly { key: string; head: string }[] = [];
  return (record) => {
    const own = Object.keys(record);
    if (own.length !== keys.length || own.some((key, index) => key !== keys[index])) {
      keys = own;
      order = own.toSorted(compareUtf8).map((key) => ({ key, head: `${JSON.stringify(key)}:` }));
    }
    let text = '';
    for (const { key, head } of order) {
      const value = record[key];
      if (value === undefined) continue;
      text += `${text === '' ? '{' : ','}${head}${scalarJson(value)}`;
    }
    return text === '' ? '{}' : `${text}}`;
  };
}

function scalarJson(value: unknown): string {
  if (typeof value === 'number') return Number.isFinite(value) ? `${value}` : 'null';
  return typeof value === 'object' && value !== null ? canonicalJson(value) : JSON.stringify(value);
}

/** A row as the store returns it with `SELECT *`: 64-bit integers as strings, JSON columns as text. */
export type StoredRow = Readonly<Record<string, unknown>>;

/** Rebuilds the record of a row exactly as it was accepted: unknown fields kept, absent fields absent. */
export function recordOf(type: RecordType, row: StoredRow): LeewayRecord {
  return { type, ...fieldsOf(type, row) } as LeewayRecord; // parse door of the store: the row was validated before it was written
}

/** The fields of a row of any typed table, as they were accepted. */
export function fieldsOf(table: TypedTable, row: StoredRow): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  for (const field of layoutOf(table).fields) {
    const value = row[field.name];
    if (value !== null && value !== undefined) fields[field.name] = valueOf(field.kind, value);
  }
  const rest = row['rest'];
  if (typeof rest === 'string' && rest !== '') Object.assign(fields, JSON.parse(rest));
  return fields;
}

function valueOf(kind: ColumnKind, value: unknown): unknown {
  if (kind === 'integer') return Number(value);
  if (kind === 'json' && typeof value === 'string') return JSON.parse(value);
  return value;
}
