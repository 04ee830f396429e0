import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { normal, seededRandom, shuffled } from '../../src/core/random.ts';
import { DistinctSample } from '../../src/drift/distinct-sample.ts';

function sampleOf(values: readonly (number | string)[], distinct_max: number): Map<number | string, number> {
  const sample = new DistinctSample<number | string>(distinct_max);
  for (const value of values) sample.add(value);
  return new Map(sample.entries().sort((a, b) => (String(a[0]) < String(b[0]) ? -1 : 1)));
}

describe('DistinctSample', () => {
  it('is the whole distribution while the distinct values fit', () => {
    const sample = new DistinctSample<string>(3);
    for (const value of ['a', 'b', 'a', 'c', 'a']) sample.add(value);
    expect(new Map(sample.entries())).toEqual(
      new Map([
        ['a', 3],
        ['b', 1],
        ['c', 1],
      ]),
    );
    expect(sample.complete).toBe(true);
  });

  it('keeps the same values with exact counts in any order of the stream', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 400 }), { maxLength: 800 }), fc.nat(), (values, seed) => {
        const kept = sampleOf(values, 20);
        expect(sampleOf(shuffled(seededRandom(seed), values), 20)).toEqual(kept);
        for (const [value, count] of kept) expect(count).toBe(values.filter((other) => other === value).length);
      }),
      { numRuns: 40 },
    );
  });

  it('holds at most twice its limit and says that it is not complete', () => {
    const sample = new DistinctSample<number>(100);
    for (let value = 0; value < 50_000; value++) sample.add(value / 7);
    expect(sample.entries().length).toBeLessThanOrEqual(100);
    expect(sample.complete).toBe(false);
  });

  it('gives quantiles of a long stream within four standard errors (seed 6)', () => {
    const random = seededRandom(6);
    const sample = new DistinctSample<number>(2_000);
    for (let row = 0; row < 60_000; row++) sample.add(normal(random));
    const below = sample.entries().filter(([value]) => value < 0.6745).length / sample.entries().length;
    expect(Math.abs(below - 0.75)).toBeLessThan(4 * Math.sqrt((0.75 * 0.25) / 2_000));
  });

  it('keeps texts of any length apart from numbers', () => {
    const long = 'x'.repeat(40);
    expect(sampleOf([long, '1', 1, long], 10)).toEqual(
      new Map<number | string, number>([
        ['1', 1],
        [1, 1],
        [long, 2],
      ]),
    );
  });
});
