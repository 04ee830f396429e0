import { hash } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { canonicalJson } from '../../src/core/canonical.ts';
import { RECORD_SCHEMAS, RECORD_TYPES } from '../../src/core/records.ts';
import { type Table, TABLES } from '../../src/core/tables.ts';
import { canonicalizer, columnParts, encodeColumns, frameColumns, recordOf } from '../../src/formats/record-rows.ts';
import { NativeReader } from '../../src/formats/native.ts';
import { anyRecord } from '../contract/any-record.ts';
import { stepRecord } from '../contract/records.ts';

const digest = (text: string): Uint8Array => hash('sha1', text, 'buffer');

test('the text that is hashed is canonical JSON, however the keys change from record to record', () => {
  const value = fc.oneof(fc.jsonValue({ maxDepth: 3 }), fc.constantFrom(undefined, -0, Infinity, '\ud800'));
  const records = fc.array(fc.dictionary(fc.string({ unit: 'binary', maxLength: 3 }), value, { maxKeys: 5 }), {
    maxLength: 6,
  });
  fc.assert(
    fc.property(records, (items) => {
      const canonical = canonicalizer();
      for (const item of items) expect(canonical(item)).toBe(canonicalJson(item));
    }),
    { numRuns: 300 },
  );
});

test('equal records have equal hashes whatever the order of their fields', () => {
  const record = stepRecord(1);
  const reversed = Object.fromEntries(Object.entries(record).toReversed()) as typeof record;
  const [one, other] = [record, reversed].map((item) => encodeColumns('step', [item], digest));
  expect(other).toEqual(one);
});

test('the row hash is the first eight bytes of the digest of the canonical text', () => {
  const record = stepRecord(1);
  const reader = new NativeReader(encodeColumns('step', [record], digest));
  expect([reader.string(20), reader.string(20)]).toEqual(['record_hash', 'UInt64']);
  const expected = hash('sha1', canonicalJson(record), 'buffer').subarray(0, 8);
  expect(reader.raw(8)).toEqual(expected);
});

test.each(RECORD_TYPES)('a column of %s is nullable exactly when its field is optional or may be null', (type) => {
  const table: Table = TABLES[type];
  const schema = RECORD_SCHEMAS[type] as unknown as {
    required: string[];
    properties: Record<string, { anyOf?: { type?: string }[] }>;
  };
  for (const [field, column] of Object.entries(table.columns)) {
    const property = schema.properties[field];
    // a field that the schema does not name is kept by its table as an optional one
    const mayBeNull = property?.anyOf?.some((choice) => choice.type === 'null') ?? false;
    const { nullable } = columnParts(column);
    if (!schema.required.includes(field) || mayBeNull) expect(nullable, `${type}.${field}`).toBe(true);
  }
  for (const field of table.key) {
    const column = table.columns[field];
    expect(column, `${type}.${field} of the key is a column`).toBeDefined();
    expect(column?.endsWith('?'), `${type}.${field} of the key is not nullable`).toBe(false);
  }
});

test('a frame begins with hash and time and ends with what has no column', () => {
  const names = frameColumns('step').map((column) => column.name);
  expect(names.slice(0, 2)).toEqual(['record_hash', 'at']);
  expect(names.at(-1)).toBe('rest');
  expect(new Set(names).size).toBe(names.length);
});

test('a row rebuilds its record: absent stays absent, zero and false stay, unknown fields and explicit nulls return', () => {
  const row = {
    record_hash: '1',
    at: '2026-01-01 00:00:00.000',
    job: 'j',
    at_ms: 5.5,
    step: '9007199254740991',
    durable: false,
    bytes: null,
    rest: '{"note":null,"extra":{"deep":[1]}}',
    precedence: '1',
  };
  expect(recordOf('checkpoint', row)).toEqual({
    type: 'checkpoint',
    job: 'j',
    at_ms: 5.5,
    step: 9_007_199_254_740_991,
    durable: false,
    note: null,
    extra: { deep: [1] },
  });
});

test('the columns of a frame fill it exactly, row by row, for any records', () => {
  const width: Record<string, number> = { UInt64: 8, 'DateTime64(3)': 8, Int64: 8, Float64: 8, Bool: 1 };
  fc.assert(
    fc.property(
      fc
        .constantFrom(...RECORD_TYPES)
        .chain((type) => fc.tuple(fc.constant(type), fc.array(anyRecord(type), { minLength: 1, maxLength: 5 }))),
      ([type, records]) => {
        const bytes = encodeColumns(type, records, digest);
        const reader = new NativeReader(bytes);
        for (const { name, type: native } of frameColumns(type)) {
          expect(reader.string(100)).toBe(name);
          expect(reader.string(100)).toBe(native);
          const inner = native.replace(/^Nullable\((.*)\)$/, '$1');
          if (inner !== native) expect(reader.raw(records.length)?.every((byte) => byte <= 1)).toBe(true);
          for (const _ of records)
            expect(inner === 'String' ? reader.string(1e6) : reader.raw(width[inner] ?? 0)).not.toBeNull();
        }
        expect(reader.offset).toBe(bytes.length);
      },
    ),
    { numRuns: 100 },
  );
});
