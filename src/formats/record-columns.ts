import { TABLES, type TypedTable } from '../core/tables.ts';
import { NativeReader } from './native.ts';
import { fieldsOf, frameColumns } from './record-rows.ts';

/** A text of a column: a record's own cap bounds it. */
const TEXT_BYTES_MAX = 0xffff_ffff;

/**
 * The records in the columns that `encodeColumns` of record-rows.ts wrote, as they were accepted; null where the bytes are no
 * such columns of `rows` rows. O(values).
 */
export function decodeRecords(table: TypedTable, body: Buffer, rows: number): Record<string, unknown>[] | null {
  const reader = new NativeReader(body);
  const columns: { readonly name: string; readonly values: readonly unknown[] }[] = [];
  const own: Readonly<Record<string, unknown>> = TABLES[table].columns;
  for (const { name, type } of frameColumns(table)) {
    if (reader.string(256) !== name || reader.string(256) !== type) return null;
    const values = readValues(reader, type, rows);
    if (values === null) return null;
    if (name === 'rest' || Object.hasOwn(own, name)) columns.push({ name, values });
  }
  if (reader.offset !== body.length) return null;
  return Array.from({ length: rows }, (_, row) => {
    const cells: Record<string, unknown> = {};
    for (const { name, values } of columns) cells[name] = values[row];
    return { type: table, ...fieldsOf(table, cells) };
  });
}

function readValues(reader: NativeReader, type: string, rows: number): unknown[] | null {
  const inner = /^Nullable\((.+)\)$/.exec(type)?.[1];
  if (inner === undefined) return readPlain(reader, type, rows);
  const nulls = reader.raw(rows);
  const values = nulls === null ? null : readPlain(reader, inner, rows);
  return values === null ? null : values.map((value, row) => (nulls?.[row] === 0 ? value : null));
}

function readPlain(reader: NativeReader, type: string, rows: number): unknown[] | null {
  if (type === 'String') return readTexts(reader, rows);
  const bytes = reader.raw(rows * (type === 'Bool' ? 1 : 8));
  if (bytes === null) return null;
  return Array.from({ length: rows }, (_, row) => {
    switch (type) {
      case 'Bool':
        return bytes[row] === 1;
      case 'Float64':
        return bytes.readDoubleLE(row * 8);
      case 'UInt64':
        return String(bytes.readBigUInt64LE(row * 8));
      default: // Int64 and DateTime64(3)
        return bytes.readInt32LE(row * 8 + 4) * 4_294_967_296 + bytes.readUInt32LE(row * 8);
    }
  });
}

function readTexts(reader: NativeReader, rows: number): string[] | null {
  const texts: string[] = [];
  for (let row = 0; row < rows; row++) {
    const text = reader.string(TEXT_BYTES_MAX);
    if (text === null) return null;
    texts.push(text);
  }
  return texts;
}
