/** A value with how often it was seen. */
export type Seen = { readonly value: number; readonly count: number };

/**
 * Ascending bin edges for a numeric feature, at most `bins_max − 1` of them (bins_max >= 4): bin 0 is below the first
 * edge, bin i is [edge i−1, edge i), the last bin is at or above the last edge. The first edge is the smallest seen
 * value and the last lies just above the largest, so the outer bins hold what was never seen before. Values that hold
 * at least one bin's share of all rows get a bin of their own; the rest is cut into equal shares, half-way between two
 * neighbouring values.
 *
 * The edges depend on the values' ranks only, which keeps two-sample tests on the bins valid although the same
 * reference rows chose the edges (see feature-test.ts). Needs `seen` ascending by value, finite.
 */
export function quantileEdges(seen: readonly Seen[], bins_max: number): number[] {
  const first = seen[0];
  const last = seen.at(-1);
  if (first === undefined || last === undefined) return [];
  const above = last.value + Math.max(Number.MIN_VALUE, Math.abs(last.value) * Number.EPSILON);
  const inner = innerEdges(seen, bins_max - 2).filter((edge) => edge > first.value);
  return Number.isFinite(above) ? [first.value, ...inner, above] : [first.value, ...inner];
}

function innerEdges(seen: readonly Seen[], bins_max: number): number[] {
  let rest = seen.reduce((sum, item) => sum + item.count, 0);
  const heavy = rest / bins_max;
  const edges: number[] = [];
  let held = 0;
  for (let index = 0; index + 1 < seen.length && edges.length < bins_max - 1; index++) {
    const item = seen[index];
    const next = seen[index + 1];
    if (item === undefined || next === undefined) break;
    held += item.count;
    const full = held >= rest / (bins_max - edges.length);
    const nextAlone = next.count >= heavy && edges.length < bins_max - 2;
    if (!full && !nextAlone) continue;
    edges.push(between(item.value, next.value));
    rest -= held;
    held = 0;
  }
  return edges;
}

function between(low: number, high: number): number {
  const span = high - low;
  const middle = Number.isFinite(span) ? low + span / 2 : low / 2 + high / 2; // the whole range of doubles overflows
  return middle > low ? middle : high;
}

/** Bin of `value`: the number of edges at or below it. O(log edges). +Infinity falls into the last bin. */
export function binOf(edges: ArrayLike<number>, value: number): number {
  let low = 0;
  let high = edges.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((edges[middle] ?? 0) <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}
