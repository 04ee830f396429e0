import { LIMITS } from '../core/limits.ts';
import { damaged, type LinkReader, type LinkWriter } from './link-bytes.ts';
import { exponentOf, POWERS_OF_TEN, mantissaOf, RAW_EXPONENT } from './scaled-value.ts';

/**
 * One JSON value of any shape, bit for bit: also NaN, infinities, −0 and lone surrogates, which JSON text cannot say. A byte
 * says what follows. Fields that are undefined are absent, as in JSON; an undefined item of an array is null.
 */
const TAG = {
  null: 0,
  false: 1,
  true: 2,
  /** A signed varint. */
  integer: 3,
  /** A byte exponent and the signed mantissa of `mantissa / 10^exponent`. */
  decimal: 4,
  /** 8 bytes. */
  double: 5,
  text: 6,
  /** varint items, the items. */
  array: 7,
  /** varint fields, of each its name and its value. */
  object: 8,
} as const;

/** What a value costs in memory beside its text: a field of an object of V8. */
const VALUE_BYTES = 16;
/** A decimal of more digits than this takes as many bytes as the double itself. */
const SHORT_MANTISSA = 2 ** 41;

export function writeValue(writer: LinkWriter, value: unknown): void {
  if (typeof value === 'string') {
    writer.byte(TAG.text);
    writer.text(value);
  } else if (typeof value === 'number') writeNumber(writer, value);
  else if (typeof value === 'boolean') writer.byte(value ? TAG.true : TAG.false);
  else if (Array.isArray(value)) {
    writer.byte(TAG.array);
    writer.varint(value.length);
    for (const item of value as unknown[]) writeValue(writer, item);
  } else if (typeof value === 'object' && value !== null) {
    const fields = Object.entries(value).filter(([, field]) => field !== undefined);
    writer.byte(TAG.object);
    writer.varint(fields.length);
    for (const [name, field] of fields) {
      writer.text(name);
      writeValue(writer, field);
    }
  } else writer.byte(TAG.null);
}

function writeNumber(writer: LinkWriter, value: number): void {
  if (Number.isSafeInteger(value) && !Object.is(value, -0)) {
    writer.byte(TAG.integer);
    writer.signed(value);
    return;
  }
  const exponent = exponentOf(value, 0);
  const mantissa = exponent === RAW_EXPONENT ? Infinity : mantissaOf(value, exponent);
  if (Math.abs(mantissa) >= SHORT_MANTISSA) {
    writer.byte(TAG.double);
    writer.float64(value);
    return;
  }
  writer.byte(TAG.decimal);
  writer.byte(exponent);
  writer.signed(mantissa);
}

/** Reads one value. Throws LW-BODY and LW-BODY-SIZE as LinkReader, and where it nests deeper than a record may. */
export function readValue(reader: LinkReader, depth = 1): unknown {
  reader.spend(VALUE_BYTES);
  const tag = reader.byte();
  switch (tag) {
    case TAG.null:
      return null;
    case TAG.false:
      return false;
    case TAG.true:
      return true;
    case TAG.integer:
      return reader.signed();
    case TAG.decimal: {
      const power = POWERS_OF_TEN[reader.byte()];
      if (power === undefined) throw damaged('an exponent that is none');
      return reader.signed() / power;
    }
    case TAG.double:
      return reader.float64();
    case TAG.text:
      return reader.text();
    case TAG.array:
    case TAG.object:
      if (depth > LIMITS.record_depth_max) throw damaged(`values nest deeper than ${LIMITS.record_depth_max}`);
      return tag === TAG.array ? readArray(reader, depth) : readObject(reader, depth);
    default:
      throw damaged(`a value of unknown kind ${tag}`);
  }
}

function readArray(reader: LinkReader, depth: number): unknown[] {
  const items: unknown[] = [];
  for (let left = reader.count(reader.rest_bytes, 'items'); left > 0; left--) items.push(readValue(reader, depth + 1));
  return items;
}

function readObject(reader: LinkReader, depth: number): object {
  const fields: Record<string, unknown> = {};
  for (let left = reader.count(reader.rest_bytes, 'fields'); left > 0; left--) {
    const name = reader.text();
    setField(fields, name, readValue(reader, depth + 1));
  }
  return fields;
}

/** Sets an own field whatever its name: `__proto__` is one more field, which the parse door of records then refuses. */
export function setField(record: Record<string, unknown>, name: string, value: unknown): void {
  if (name !== '__proto__') {
    record[name] = value;
    return;
  }
  Object.defineProperty(record, name, { value, enumerable: true, configurable: true, writable: true });
}
