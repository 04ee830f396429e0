import { TABLES, type TypedTable } from '../core/tables.ts';
import { NativeReader } from './native.ts';
import { fieldsOf } from './record-rows.ts';

/** A text of a column: a record's own cap bounds it. */
const TEXT_BYTES_MAX = 0xffff_ffff;
const NAME_BYTES_MAX = 256;
const FIXED = new Set(['Bool', 'Float64', 'UInt64', 'Int64', 'DateTime64(3)']);
/** Columns beside the fields, made from them. */
const MADE = new Set(['record_hash', 'at']);

/**
 * The records in the columns that `encodeColumns` of record-rows.ts wrote, as they were accepted; null where the bytes are no
 * such columns of `rows` rows. A frame from before a table had a column, or after, is read as it is. O(values).
 */
export function decodeRecords(table: TypedTable, body: Buffer, rows: number): Record<string, unknown>[] | null {
  const reader = new NativeReader(body);
  const own: Readonly<Record<string, unknown>> = TABLES[table].columns;
  const cells = Array.from({ length: rows }, (): Record<string, unknown> => ({}));
  const others = Array.from({ length: rows }, (): Record<string, unknown> => ({}));
  let last: string | null = null;
  while (reader.offset < body.length) {
    const name = reader.string(NAME_BYTES_MAX);
    const type = reader.string(NAME_BYTES_MAX);
    const values = name === null || type === null ? null : readValues(reader, type, rows);
    if (name === null || values === null) return null;
    last = name;
    if (MADE.has(name)) continue;
    const into = name === 'rest' || Object.hasOwn(own, name) ? cells : others;
    for (const [row, value] of values.entries()) {
      const record = into[row];
      if (record !== undefined && value !== null) record[name] = value;
    }
  }
  if (last !== 'rest') return null; // always the last
  return cells.map((row, index) => ({ type: table, ...others[index], ...fieldsOf(table, row) }));
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
  if (!FIXED.has(type)) return null;
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
