import { assert } from '../core/assert.ts';

/**
 * Benjamini–Hochberg q-values of `p_values`, in the order given; null entries (not tested) stay null and do not count.
 * A test is a discovery at false discovery rate f when its q-value is at most f. A p-value that is no number from 0 to 1
 * is a programmer's error: one NaN would make all the q-values NaN, and nothing a discovery.
 * Source: Benjamini & Hochberg 1995; as scipy's `false_discovery_control`.
 */
export function benjaminiHochberg(p_values: readonly (number | null)[]): (number | null)[] {
  for (const p of p_values) assert(p === null || (p >= 0 && p <= 1), `a p-value must lie from 0 to 1, got ${p}`);
  const tested = p_values.flatMap((p, index) => (p === null ? [] : [{ p, index }]));
  tested.sort((a, b) => b.p - a.p);
  const q: (number | null)[] = p_values.map(() => null);
  let smallest = 1;
  tested.forEach(({ p, index }, above) => {
    smallest = Math.min(smallest, (p * tested.length) / (tested.length - above));
    q[index] = smallest;
  });
  return q;
}
