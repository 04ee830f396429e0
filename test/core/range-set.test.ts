import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RangeSet } from '../../src/core/range-set.ts';

test('a range set holds what a plain set holds, as the fewest disjoint ranges in rising order', () => {
  const span = fc.tuple(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 0, max: 6 }));
  fc.assert(
    fc.property(fc.array(span, { maxLength: 40 }), (spans) => {
      const ranges = new RangeSet();
      const model = new Set<number>();
      for (const [from, size] of spans) {
        ranges.add(from, from + size);
        for (let value = from; value <= from + size; value++) model.add(value);
      }
      for (let value = 0; value <= 70; value++) expect(ranges.has(value)).toBe(model.has(value));
      expect(ranges.count).toBe(model.size);
      // a range begins where its predecessor is not held
      const starts = [...model].filter((value) => !model.has(value - 1)).toSorted((a, b) => a - b);
      expect(ranges.ranges.map((range) => range.from)).toEqual(starts);
      const missing: number[] = [];
      for (let value = ranges.min; value < ranges.max; value++) if (!model.has(value)) missing.push(value);
      const listed = ranges.gaps.flatMap(([from, to]) => Array.from({ length: to - from + 1 }, (_, at) => from + at));
      expect(listed).toEqual(missing);
    }),
  );
});

test('a sender that counts without gaps costs one range', () => {
  const ranges = new RangeSet();
  for (let sequence = 1; sequence <= 100_000; sequence++) ranges.add(sequence);
  expect(ranges.ranges).toEqual([{ from: 1, to: 100_000 }]);
});

test('above its limit the lowest range is forgotten', () => {
  const ranges = new RangeSet(2);
  for (const value of [1, 3, 5]) ranges.add(value);
  expect(ranges.ranges).toEqual([
    { from: 3, to: 3 },
    { from: 5, to: 5 },
  ]);
});
