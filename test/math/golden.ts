import { readFileSync } from 'node:fs';

/** A golden file beside the tests, made by scripts/golden/statistics.py from scipy. */
export function golden<Shape>(name: string): Shape {
  return JSON.parse(readFileSync(new URL(`./golden/${name}.json`, import.meta.url), 'utf8')) as Shape; // the parse door
}

/** |value − expected| relative to the expected value; absolute where that is 0. */
export function relativeError(value: number, expected: number): number {
  return Math.abs(value - expected) / (expected === 0 ? 1 : Math.abs(expected));
}

/** Counts of two samples at their pooled distinct values, ascending. */
export function pooled(x: readonly number[], y: readonly number[]): { values: number[]; x: number[]; y: number[] } {
  const values = [...new Set([...x, ...y])].sort((a, b) => a - b);
  const count = (sample: readonly number[]): number[] => {
    const tally = new Map<number, number>();
    for (const value of sample) tally.set(value, (tally.get(value) ?? 0) + 1);
    return values.map((value) => tally.get(value) ?? 0);
  };
  return { values, x: count(x), y: count(y) };
}
