import type { SeriesKind } from '../core/samples.ts';

/** Metric types of remote write 1.0 (MetricMetadata.MetricType) and 2.0 (Metadata.MetricType), which number alike. */
const KINDS: readonly SeriesKind[] = [
  'unknown',
  'counter',
  'gauge',
  'histogram',
  'gauge_histogram',
  'summary',
  'info',
  'state_set',
];

/** The kind of a metric type number; `unknown` for one that does not exist (yet). */
export function metricKind(type: number): SeriesKind {
  return KINDS[type] ?? 'unknown';
}
