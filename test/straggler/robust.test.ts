import { describe, expect, test } from 'vitest';
import { mean, median, quantile, robustScale, trimmedMean } from '../../src/straggler/robust.ts';

describe('robust statistics', () => {
  test('quantiles interpolate between order statistics like numpy.quantile', () => {
    // numpy.quantile([4, 1, 3, 2], 0.25) = 1 + 0.75 × (2 − 1) = 1.75
    expect(quantile([4, 1, 3, 2], 0.25)).toBe(1.75);
    expect(quantile([4, 1, 3, 2], 1)).toBe(4);
    expect(median([5, 1, 9])).toBe(5);
    expect(median([])).toBeNull();
  });

  test('the robust scale is 1.4826 times the median absolute deviation', () => {
    // deviations from 3: 2 1 0 1 97 → median 1
    expect(robustScale([1, 2, 3, 4, 100], 3)).toBeCloseTo(1.4826, 12);
  });

  test('the trimmed mean drops the stated share at each end and never everything', () => {
    // 30 % of 10 at each end leaves 4 5 6 7
    expect(trimmedMean([1, 2, 3, 4, 5, 6, 7, 8, 9, 1000], 0.3)).toBe(5.5);
    expect(trimmedMean([7], 0.5)).toBe(7);
    expect(trimmedMean([], 0.3)).toBeNull();
    expect(mean([1, 2, 6])).toBe(3);
  });
});
