import type { SeriesKind } from '../core/samples.ts';
import type { ServingMapping } from './catalog-mapping.ts';
import { countsFailures, servingName } from './serving-name.ts';
import type { ServingPart, ServingWindows } from './serving-windows.ts';

type Described = { readonly labels: Readonly<Record<string, string>>; readonly kind: SeriesKind };

/**
 * A serving series as a part of its server's windows; null when no label names a model or there is no room. `source`: the
 * replica of a series that names none.
 */
export function servingPart(
  windows: ServingWindows,
  { labels, kind }: Described,
  mapping: ServingMapping,
  source: string,
): ServingPart | null {
  const name = servingName(mapping.system, labels, source);
  if (name === null) return null;
  const { __name__: _, le, ...others } = labels;
  // the stages of Triton's computation are one histogram, those of others lie under their own labels
  const group = mapping.system === 'triton' ? mapping.field : `${mapping.field}|${JSON.stringify(others)}`;
  const isDelta = kind === 'counter_delta' || kind === 'histogram_delta';
  const bound = mapping.part === 'bucket' ? Number(le === '+Inf' ? Infinity : le) : null;
  if (Number.isNaN(bound)) return null;
  return windows.part(name, {
    mapping,
    group,
    le: bound,
    failed: countsFailures(labels),
    reader: readerOf(labels),
    isDelta,
  });
}

/** Labels by which those who read the same server differ: external labels of a pair of Prometheus, and their jobs. */
const READERS = ['job', 'prometheus', 'prometheus_replica', '__replica__', 'replica'];

function readerOf(labels: Readonly<Record<string, string>>): string {
  return READERS.map((name) => labels[name] ?? '').join('|');
}
