import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SampleColumns } from '../../src/formats/sample-columns.ts';
import { doubleOf, rowsOf } from './sample-rows.ts';

const words = () => ({ id_low: Int32Array.of(-1, 7), id_high: Int32Array.of(2, -3), exponent: new Int8Array(2) });
/** Series 0: high word 2, low word 2^32 - 1. */
const ID = ((2n << 32n) | 0xffffffffn).toString();

test.each([
  // widest mantissa → type: Int16 to ±32,767, Int32 to ±2^31, Int64 above or when bits are kept
  [[1, -32_768, 32_767], 'Int16', 2],
  [[1, 32_768], 'Int32', 4],
  [[1, -32_769], 'Int32', 4],
  [[2_147_483_647, -2_147_483_648], 'Int32', 4],
  [[2_147_483_648], 'Int64', 8],
  [[1, 1 / 3], 'Int64', 8],
  [[], 'Int16', 2],
])('mantissas of %j are %s', (values, type, width) => {
  const columns = new SampleColumns();
  for (const value of values) columns.put(words(), 0, value, 5, 1);
  const rows = columns.take();
  expect(rows.mantissa_type).toBe(type);
  expect([rows.id, rows.at_ms, rows.mantissa, rows.exponent].map((column) => column.byteLength)).toEqual(
    [8, 8, width, 1].map((bytes) => bytes * values.length),
  );
  expect(rowsOf(rows).map(({ id, at_ms, bits }) => [id, at_ms, doubleOf(bits)])).toEqual(
    values.map((value) => [ID, 2 ** 32 + 5, value]),
  );
});

test('an exponent stays with its series until a value needs another', () => {
  const columns = new SampleColumns();
  const series = words();
  for (const value of [1, 0.5, 2, 0.125, 3]) columns.put(series, 0, value, 0, 0);
  columns.put(series, 1, 4, 0, 0);
  expect(rowsOf(columns.take()).map((row) => row.exponent)).toEqual([0, 1, 1, 3, 3, 0]);
});

test('rows put after a take start anew', () => {
  const columns = new SampleColumns();
  columns.put(words(), 0, 1e12, 1, 0);
  expect(rowsOf(columns.take())).toMatchObject([{ at_ms: 1 }]);
  columns.put(words(), 0, 2, 2, 0);
  const second = columns.take();
  expect(second).toMatchObject({ rows: 1, mantissa_type: 'Int16' });
  expect(rowsOf(second).map((row) => [row.at_ms, doubleOf(row.bits)])).toEqual([[2, 2]]);
});

test('mantissas are made narrow in place without losing one', () => {
  const columns = new SampleColumns();
  const values = Array.from({ length: 300 }, (_, row) => (row % 2 === 0 ? row : -row));
  for (const largest of [1, 200, 1e9]) {
    for (const value of values) columns.put(words(), 0, value * largest, 0, 0);
    expect(rowsOf(columns.take()).map((row) => doubleOf(row.bits))).toEqual(values.map((value) => value * largest));
  }
});

test('rows taken back are gone', () => {
  const columns = new SampleColumns();
  columns.put(words(), 0, 1, 1, 0);
  columns.put(words(), 0, 2, 2, 0);
  columns.truncate(1);
  columns.put(words(), 0, 3, 3, 0);
  expect(rowsOf(columns.take()).map((row) => doubleOf(row.bits))).toEqual([1, 3]);
});

test('columns over their cap refuse the next row and keep the others', () => {
  const columns = new SampleColumns(3);
  for (let row = 0; row < 3; row++) columns.put(words(), 0, row, 0, 0);
  expect(() => columns.put(words(), 0, 3, 0, 0)).toThrow(expect.objectContaining({ code: 'LW-BUSY' }));
  expect(columns.take().rows).toBe(3);
});

test('any values come back in order through the growth of the columns', () => {
  fc.assert(
    fc.property(fc.array(fc.double({ noNaN: true }), { minLength: 1, maxLength: 50 }), (values) => {
      const columns = new SampleColumns();
      const series = words();
      for (let round = 0; round < 400; round++) for (const value of values) columns.put(series, 1, value, round, 0);
      const rows = rowsOf(columns.take());
      expect(rows).toHaveLength(400 * values.length);
      expect(rows.slice(-values.length).map((row) => doubleOf(row.bits))).toEqual(values);
    }),
    { numRuns: 10 },
  );
});
