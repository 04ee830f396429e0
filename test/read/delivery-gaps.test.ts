import fc from 'fast-check';
import { expect, test } from 'vitest';
import { explainGaps, type SequenceRange } from '../../src/read/delivery-gaps.ts';

const gap = (from_sequence: number, to_sequence: number, state: string) => ({ from_sequence, to_sequence, state });

test('a gap is cut where a declared loss begins and ends, and where batches still wait', () => {
  const gaps: SequenceRange[] = [
    [5, 20],
    [30, 30],
    [40, 50],
  ];
  const declared: SequenceRange[] = [
    [1, 2],
    [7, 9],
    [20, 44],
  ];
  expect(explainGaps({ gaps, declared, in_flight_from: 48 })).toEqual({
    listed: [
      gap(5, 6, 'missing'),
      gap(7, 9, 'declared'),
      gap(10, 19, 'missing'),
      gap(20, 20, 'declared'),
      gap(30, 30, 'declared'),
      gap(40, 44, 'declared'),
      gap(45, 47, 'missing'),
      gap(48, 50, 'in_flight'),
    ],
    omitted: 0,
    declared: 3 + 1 + 1 + 5,
    lost: 2 + 10 + 3,
  });
});

test('of more than 100 ranges those that are missing are listed, in order, and the rest is counted', () => {
  const gaps = Array.from({ length: 150 }, (_, index): SequenceRange => [10 * index + 1, 10 * index + 2]);
  const declared = gaps.slice(0, 90);
  const { listed, omitted, lost } = explainGaps({ gaps, declared, in_flight_from: null });
  expect(listed).toHaveLength(100);
  expect([omitted, lost]).toEqual([50, 120]);
  expect(listed.filter(({ state }) => state === 'missing')).toHaveLength(60);
  expect(listed.map(({ from_sequence }) => from_sequence)).toEqual(
    listed.map(({ from_sequence }) => from_sequence).toSorted((a, b) => a - b),
  );
});

test('every sequence of a gap is explained once, as a plain set says', () => {
  const rising = (lengths: readonly (readonly [number, number])[]): SequenceRange[] => {
    let at = 0;
    return lengths.map(([skip, length]) => {
      const from = at + skip;
      at = from + length;
      return [from, at - 1] as const;
    });
  };
  // at least one sequence lies between two ranges
  const ranges = fc
    .array(fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 5 })), { maxLength: 8 })
    .map((lengths) => rising(lengths.map(([skip, length]) => [skip + 1, length])));
  const border = fc.option(fc.integer({ min: 0, max: 60 }), { nil: null });
  fc.assert(
    fc.property(ranges, ranges, border, (gaps, declared, in_flight_from) => {
      const isIn = (within: readonly SequenceRange[], at: number) =>
        within.some(([from, to]) => at >= from && at <= to);
      const expected: string[] = [];
      for (let at = 0; at < 80; at++) {
        if (!isIn(gaps, at)) continue;
        const open = in_flight_from !== null && at >= in_flight_from ? 'in_flight' : 'missing';
        expected.push(`${at} ${isIn(declared, at) ? 'declared' : open}`);
      }
      const { listed, lost } = explainGaps({ gaps, declared, in_flight_from });
      const got = listed.flatMap(({ from_sequence, to_sequence, state }) =>
        Array.from({ length: to_sequence - from_sequence + 1 }, (_, index) => `${from_sequence + index} ${state}`),
      );
      expect(got).toEqual(expected);
      expect(lost).toBe(expected.filter((line) => line.endsWith('missing')).length);
    }),
  );
});
