import { expect, test } from 'vitest';
import { spreadOf } from '../../../src/cli/selftest/report.ts';

test('percentiles are nearest ranks: the smallest value that so many per cent are at or below', () => {
  // of 1..200: rank 100, rank 198, rank 200; given in another order
  const values = Array.from({ length: 200 }, (_, index) => ((index * 7) % 200) + 1);
  expect(spreadOf(values)).toEqual({ p50: 100, p99: 198, max: 200 });
  expect(spreadOf([3, 1, 2])).toEqual({ p50: 2, p99: 3, max: 3 });
  expect(spreadOf([4])).toEqual({ p50: 4, p99: 4, max: 4 });
});

test('milliseconds are told to a tenth, and nothing measured is null', () => {
  expect(spreadOf([1.2345])).toEqual({ p50: 1.2, p99: 1.2, max: 1.2 });
  expect(spreadOf([])).toBeNull();
});
