import { damaged, type LinkReader, LinkWriter } from './link-bytes.ts';
import { readIntegers, writeIntegers } from './link-integers.ts';
import { readValue, writeValue } from './link-values.ts';
import { exponentOf, isScalable, mantissaOf, POWERS_OF_TEN, RAW_EXPONENT } from './scaled-value.ts';

/**
 * The values of one field over the rows of a batch, undefined where a row has none:
 *
 *   byte kind + 8 where rows lack it + 16 × exponent · where rows lack it a bit a row · the values that are there
 *
 * One value for all rows is written once. Numbers are integers of `value · 10^exponent` where that is exact for all of them, else doubles; texts, and values of any
 * other shape, are a list of the different ones and a column of places in it.
 */
const KIND = { decimal: 0, double: 1, flag: 2, text: 3, any: 4, constant: 5 } as const;
const ABSENT = 8;
const EXPONENT_SCALE = 16;
/** What a field costs in memory: a slot of a record, and a double that V8 keeps outside of it. */
const CELL_BYTES = 16;

export function writeColumn(writer: LinkWriter, values: readonly unknown[], period: number): void {
  const present = values.filter((value) => value !== undefined);
  const absent = present.length < values.length ? ABSENT : 0;
  if (isConstant(present)) {
    writer.byte(KIND.constant + absent);
    if (absent > 0) writePresence(writer, values);
    return writeValue(writer, present[0]);
  }
  const numbers = numbersOf(present);
  const exponent = numbers === null ? RAW_EXPONENT : commonExponent(numbers);
  const kind = numbers === null ? kindOf(present) : exponent === RAW_EXPONENT ? KIND.double : KIND.decimal;
  writer.byte(kind + absent + (kind === KIND.decimal ? exponent * EXPONENT_SCALE : 0));
  if (absent > 0) writePresence(writer, values);
  const lag = absent > 0 ? 0 : period;
  if (numbers !== null && kind === KIND.double) for (const value of numbers) writer.float64(value);
  else if (numbers !== null)
    writeIntegers(
      writer,
      numbers.map((value) => mantissaOf(value, exponent)),
      lag,
    );
  else if (kind === KIND.flag)
    writeBits(
      writer,
      Float64Array.from(present, (value) => (value === true ? 1 : 0)),
    );
  else writeList(writer, present, { kind, lag });
}

/** Only of values that are compared by themselves; equal lists and objects meet in their list. */
function isConstant(values: readonly unknown[]): boolean {
  const [first] = values;
  return (typeof first !== 'object' || first === null) && values.every((value) => Object.is(value, first));
}

function writePresence(writer: LinkWriter, values: readonly unknown[]): void {
  writeBits(
    writer,
    Float64Array.from(values, (value) => (value === undefined ? 0 : 1)),
  );
}

/** Reads the column of `rows` rows. */
export function readColumn(reader: LinkReader, rows: number): unknown[] {
  const head = reader.byte();
  const kind = head % ABSENT;
  reader.spend(rows * CELL_BYTES);
  if (head % EXPONENT_SCALE < ABSENT) return readPresent(reader, { kind, rows, exponent: head >> 4 });
  const bits = readBits(reader, rows);
  const count = bits.reduce((sum, bit) => sum + bit, 0);
  const present = readPresent(reader, { kind, rows: count, exponent: head >> 4 });
  let next = 0;
  return Array.from(bits, (bit) => (bit === 1 ? present[next++] : undefined));
}

type Head = { readonly kind: number; readonly rows: number; readonly exponent: number };

function readPresent(reader: LinkReader, { kind, rows, exponent }: Head): unknown[] {
  switch (kind) {
    case KIND.decimal: {
      const power = POWERS_OF_TEN[exponent] ?? 1; // four bits: 0 to 15
      return Array.from(readIntegers(reader, rows), (mantissa) => mantissa / power);
    }
    case KIND.double:
      return Array.from({ length: rows }, () => reader.float64());
    case KIND.flag:
      return Array.from(readBits(reader, rows), (bit) => bit === 1);
    case KIND.text:
    case KIND.any:
      return readList(reader, rows, kind);
    case KIND.constant: {
      const before_bytes = reader.spent_bytes;
      const value = readValue(reader);
      reader.spend(rows * (reader.spent_bytes - before_bytes)); // written out it is there once a row
      return Array.from({ length: rows }, () => value);
    }
    default:
      throw damaged(`a column of unknown kind ${kind}`);
  }
}

function numbersOf(values: readonly unknown[]): Float64Array | null {
  if (values.length === 0) return null;
  return values.every((value) => typeof value === 'number') ? Float64Array.from(values) : null;
}

function kindOf(values: readonly unknown[]): 2 | 3 | 4 {
  if (values.every((value) => typeof value === 'string')) return KIND.text;
  return values.every((value) => typeof value === 'boolean') ? KIND.flag : KIND.any;
}

/** The exponent under which every value is an exact integer, RAW_EXPONENT where there is none. */
function commonExponent(values: Float64Array): number {
  let exponent = 0;
  for (const value of values) {
    if (isScalable(value, exponent)) continue;
    const wanted = exponentOf(value, exponent);
    if (wanted === RAW_EXPONENT || wanted < exponent) return RAW_EXPONENT;
    exponent = wanted;
  }
  return values.every((value) => isScalable(value, exponent)) ? exponent : RAW_EXPONENT;
}

function writeBits(writer: LinkWriter, bits: Float64Array): void {
  writer.packed(bits, 0, 1);
}

function readBits(reader: LinkReader, rows: number): Float64Array {
  if (rows > reader.rest_bytes * 8) throw damaged('it ends early');
  const bits = new Float64Array(rows);
  reader.packed(bits, 0, 1);
  return bits;
}

/** varint different values · the values · the place of each row's in that list. */
function writeList(writer: LinkWriter, values: readonly unknown[], { kind, lag }: { kind: number; lag: number }): void {
  const places = new Map<string, number>();
  const list: Uint8Array[] = [];
  const rows = Float64Array.from(values, (value) => {
    const bytes = kind === KIND.text ? null : bytesOf(value);
    const name = bytes === null ? String(value) : bytes.toString('latin1');
    const known = places.get(name);
    if (known !== undefined) return known;
    places.set(name, list.length);
    list.push(bytes ?? textBytes(name));
    return list.length - 1;
  });
  writer.varint(list.length);
  for (const bytes of list) writer.raw(bytes);
  writeIntegers(writer, rows, lag);
}

function bytesOf(value: unknown): Buffer {
  const own = new LinkWriter(64);
  writeValue(own, value);
  return own.take();
}

function textBytes(value: string): Buffer {
  const own = new LinkWriter(value.length + 8);
  own.text(value);
  return own.take();
}

function readList(reader: LinkReader, rows: number, kind: number): unknown[] {
  const list: { readonly value: unknown; readonly bytes: number }[] = [];
  for (let left = reader.count(Math.min(rows, reader.rest_bytes), 'different values'); left > 0; left--) {
    const before_bytes = reader.spent_bytes;
    const value = kind === KIND.text ? reader.text() : readValue(reader);
    list.push({ value, bytes: reader.spent_bytes - before_bytes });
  }
  return Array.from(readIntegers(reader, rows), (place) => {
    const found = list[place];
    if (found === undefined) throw damaged('a value that is not in its list');
    reader.spend(found.bytes); // written out it is there once a row
    return found.value;
  });
}
