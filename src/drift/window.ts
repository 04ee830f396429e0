import { BinCounter, type FeatureCounts, type FeatureRow, type Reference, type WindowCounts } from './reference.ts';

/** A window being counted against a reference. */
export type OpenWindow = ReadonlyMap<string, BinCounter>;

/** An empty window of `reference`'s features. */
export function openWindow(reference: Reference): OpenWindow {
  return new Map(Object.entries(reference.features).map(([name, feature]) => [name, new BinCounter(feature.binning)]));
}

/** Counts one row into an open window; features that the reference lacks are ignored, absent ones count as missing. */
export function binRow(window: OpenWindow, row: FeatureRow): void {
  for (const [name, counter] of window) counter.add(row[name]);
}

/** The counts of an open window, as JSON. */
export function closeWindow(
  window: OpenWindow,
  span: { readonly from_ms: number; readonly to_ms: number },
): WindowCounts {
  return { ...span, features: Object.fromEntries([...window].map(([name, counter]) => [name, counter.counts()])) };
}

/** Counts all `rows` of a span against `reference`. */
export function windowOfRows(
  reference: Reference,
  rows: Iterable<FeatureRow>,
  span: { readonly from_ms: number; readonly to_ms: number },
): WindowCounts {
  const window = openWindow(reference);
  for (const row of rows) binRow(window, row);
  return closeWindow(window, span);
}

/**
 * Adds windows up, exactly and in any order: counts add, the span covers all. Counts of one feature whose lengths
 * differ were made against different edges; the first length wins and the others are left out.
 */
export function mergeWindows(windows: readonly WindowCounts[]): WindowCounts {
  const features: Record<string, FeatureCounts> = {};
  let from_ms = Infinity;
  let to_ms = -Infinity;
  for (const window of windows) {
    from_ms = Math.min(from_ms, window.from_ms);
    to_ms = Math.max(to_ms, window.to_ms);
    for (const [name, next] of Object.entries(window.features)) {
      const held = features[name];
      if (held === undefined) features[name] = next;
      else if (held.counts.length === next.counts.length) features[name] = sumOf(held, next);
    }
  }
  return { from_ms, to_ms, features };
}

function sumOf(a: FeatureCounts, b: FeatureCounts): FeatureCounts {
  return {
    counts: a.counts.map((count, bin) => count + (b.counts[bin] ?? 0)),
    missing: a.missing + b.missing,
    n: a.n + b.n,
  };
}
