import { expect, test } from 'vitest';
import { integerBelow, seededRandom } from '../../src/core/random.ts';
import { SampleOrder } from '../../src/store/sample-order.ts';
import { minutesOf } from '../../src/store/sample-times.ts';
import { sampleFile, type TestSample } from '../contract/frames.ts';

const sample = (id: bigint, at_ms: number): TestSample => ({ id, at_ms, value: 1 });
const LAST = 0xffff_ffff_ffff_ffffn;

test('a series is unsure when it is new, and when a sample is not later than all before it', () => {
  const order = new SampleOrder();
  const first = sampleFile([[sample(1n, 10), sample(LAST, 10)]]);
  expect(order.look(first)).toMatchObject({ rows: 2, unsure: [1n, LAST] });
  expect(order.look(sampleFile([[sample(1n, 11)], [sample(LAST, 12)]]))).toMatchObject({ rows: 2, unsure: [] });
  expect(order.look(sampleFile([[sample(1n, 11), sample(LAST, 13)]]))).toMatchObject({ rows: 2, unsure: [1n] });
  expect(order.look(sampleFile([[sample(LAST, 5), sample(LAST, 6)]]))).toMatchObject({ rows: 2, unsure: [LAST] });
  expect(order.look(first)?.unsure).toEqual([1n, LAST]);
  expect(order.look(Buffer.from('no file of samples'))).toBeNull();
});

test('series never seen are in order; one sample that is not later than another of its series is not', () => {
  const order = new SampleOrder();
  const look = (...samples: TestSample[]) => order.look(sampleFile([samples]));
  expect(look(sample(1n, 20), sample(2n, 10), sample(1n, 30))).toMatchObject({
    isInOrder: true,
    span: { from_ms: 10, to_ms: 30 },
  });
  expect(look(sample(3n, 40), sample(1n, 40))).toMatchObject({ isInOrder: true, unsure: [3n] });
  expect(look(sample(4n, 50), sample(4n, 50))).toMatchObject({ isInOrder: false, unsure: [4n] });
  expect(look(sample(5n, 60), sample(2n, 10))).toMatchObject({ isInOrder: false, unsure: [5n, 2n] });
});

test('whatever the order of its series, no sample that may be stored already passes for new (seed 7)', () => {
  const random = seededRandom(7);
  const order = new SampleOrder();
  const newest = new Map<bigint, number>();
  const ids = Array.from(
    { length: 40_000 },
    () => (BigInt(integerBelow(random, 2 ** 30)) * 0x9e37_79b9_7f4a_7c15n) & LAST,
  );
  for (let file = 0; file < 6; file++) {
    const rows = Array.from({ length: 60_000 }, (_, row) => {
      const id = ids[file % 2 === 0 ? row % ids.length : integerBelow(random, ids.length)] ?? 0n;
      return sample(id, 1_800_000_000_000 + file * 1_000 + integerBelow(random, 3) * 700);
    });
    const expected = new Set<bigint>();
    for (const { id, at_ms } of rows) {
      const before = newest.get(id);
      if (before === undefined || at_ms <= before) expected.add(id);
      newest.set(id, Math.max(before ?? at_ms, at_ms));
    }
    const look = order.look(sampleFile([rows]));
    expect(look?.rows).toBe(rows.length);
    expect(new Set(look?.unsure)).toEqual(expected);
  }
});

test('minutes of samples are those of the years that a roll-up can say', () => {
  const file = sampleFile([
    [sample(1n, 0), sample(2n, 59_999), sample(1n, 60_000)],
    [sample(1n, -1), sample(1n, 2 ** 52)],
  ]);
  expect(minutesOf(file)).toEqual(new Set([0, 1]));
  expect(minutesOf(file, { from_ms: -1, to_ms: 2 ** 52 })).toEqual(new Set([0, 1]));
  expect(minutesOf(file, { from_ms: 60_000, to_ms: 119_999 })).toEqual(new Set([1])); // taken at its word
  expect(minutesOf(file, { from_ms: -5, to_ms: -1 })).toEqual(new Set());
});
