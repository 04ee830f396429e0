/**
 * Benjamini–Hochberg q-values of `p_values`, in the order given; null entries (not tested) stay null and do not count.
 * A test is a discovery at false discovery rate f when its q-value is at most f.
 * Source: Benjamini & Hochberg 1995; as scipy's `false_discovery_control`.
 */
export function benjaminiHochberg(p_values: readonly (number | null)[]): (number | null)[] {
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
