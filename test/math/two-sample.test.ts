import { describe, expect, it } from 'vitest';
import { andersonDarling } from '../../src/math/anderson-darling.ts';
import { cramerVonMises } from '../../src/math/cramer-von-mises.ts';
import { kolmogorovSmirnov, kolmogorovSmirnovExactP, kolmogorovSmirnovP } from '../../src/math/kolmogorov-smirnov.ts';
import { wasserstein } from '../../src/math/wasserstein.ts';
import { golden, pooled, relativeError } from './golden.ts';

type Pair = readonly [value: number, p_value: number];
type Case = {
  readonly name: string;
  readonly x: number[];
  readonly y: number[];
  readonly ks: Pair;
  readonly ks_exact_p: number;
  readonly cvm: Pair;
  readonly ad: Pair;
  readonly wasserstein: number;
};
const { cases } = golden<{ cases: Case[] }>('two-sample');

describe.each(cases)('two samples, $name', (sample) => {
  const n = sample.x.length;
  const m = sample.y.length;
  const cells = pooled(sample.x, sample.y);

  it('gives the Kolmogorov–Smirnov distance and the p-value of scipy ks_2samp(method="asymp")', () => {
    const d = kolmogorovSmirnov(cells.x, cells.y) ?? Number.NaN;
    expect(relativeError(d, sample.ks[0])).toBeLessThan(1e-12);
    expect(Math.abs(kolmogorovSmirnovP(d, n, m) - sample.ks[1])).toBeLessThan(1e-9);
  });

  it('gives the exact Kolmogorov–Smirnov p-value of scipy ks_2samp(method="exact")', () => {
    expect(relativeError(kolmogorovSmirnovExactP(sample.ks[0], n, m), sample.ks_exact_p)).toBeLessThan(1e-9);
  });

  it('gives the statistic and p-value of scipy cramervonmises_2samp', () => {
    const result = cramerVonMises(cells.x, cells.y);
    expect(relativeError(result?.value ?? Number.NaN, sample.cvm[0])).toBeLessThan(1e-9);
    // scipy stops its own series at terms of 1e-7
    expect(Math.abs((result?.p_value ?? Number.NaN) - sample.cvm[1])).toBeLessThan(1e-6);
  });

  it('gives the statistic of scipy anderson_ksamp, and its p-value where scipy does not clip', () => {
    const result = andersonDarling(cells.x, cells.y);
    expect(relativeError(result?.value ?? Number.NaN, sample.ad[0])).toBeLessThan(1e-9);
    const [low, high] = [0.001, 0.25];
    const p = result?.p_value ?? Number.NaN;
    if (sample.ad[1] > low && sample.ad[1] < high)
      expect(relativeError(p, sample.ad[1])).toBeLessThan(0.06); // scipy interpolates seven points of the same law
    else expect(sample.ad[1] <= low ? p < 1.1 * low : p > 0.9 * high).toBe(true);
  });

  it('gives the distance of scipy wasserstein_distance', () => {
    const ones = (size: number): number[] => Array.from({ length: size }, () => 1);
    const sorted = (values: number[]): number[] => values.toSorted((a, b) => a - b);
    const distance = wasserstein(
      { values: sorted(sample.x), weights: ones(n) },
      { values: sorted(sample.y), weights: ones(m) },
    );
    expect(relativeError(distance ?? Number.NaN, sample.wasserstein)).toBeLessThan(1e-9);
  });
});

describe('two-sample statistics without data', () => {
  it('are null rather than NaN', () => {
    expect(kolmogorovSmirnov([0, 0], [1, 2])).toBeNull();
    expect(cramerVonMises([1, 0], [3, 4])).toBeNull();
    expect(andersonDarling([5], [7])).toBeNull();
    expect(wasserstein({ values: [], weights: [] }, { values: [1], weights: [1] })).toBeNull();
    expect(wasserstein({ values: [1, Infinity], weights: [1, 1] }, { values: [1], weights: [1] })).toBeNull();
  });
});

describe('wasserstein', () => {
  it('weighs values by their counts: moving 1 of 4 by 2 costs 0.5', () => {
    expect(wasserstein({ values: [0], weights: [4] }, { values: [0, 2], weights: [3, 1] })).toBeCloseTo(0.5, 15);
  });
});
