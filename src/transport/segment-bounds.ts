import { SAMPLES, type TableName } from '../core/tables.ts';
import type { SpoolOptions } from './spool-options.ts';

/** When a segment is full, and how old it is closed for an idle consumer. */
export type Bounds = { readonly rows_max: number; readonly bytes_max: number; readonly close_ms: number };

/**
 * Freshness against statements a second: at 300 ms a busy table costs three inserts a second. Samples come in masses, and what
 * an insert of them and its merges cost falls with its size: 0.70 CPU-seconds a million at 100,000 rows, 0.25 at a million.
 */
const CLOSE_MS = { records: 300, samples: 1_000 };
/** 200,000 wide rows are about 30 MB of columns, which the store sorts in memory; a million samples are as much. */
const SEGMENT_ROWS_MAX = { records: 200_000, samples: 1_000_000 };
const SEGMENT_BYTES_MAX = 48 * 1_048_576;
/** Of a small quota a segment is at most a sixteenth: one is being delivered, and one is what policy drops at once. */
const SEGMENT_SHARE = 16;

/** The bounds of segments of `table`. */
export function boundsOf(
  table: TableName,
  options: Pick<SpoolOptions, 'bytes_max' | 'close_ms' | 'segment_rows_max' | 'segment_bytes_max'>,
): Bounds {
  const kind = table === SAMPLES ? 'samples' : 'records';
  const { bytes_max, close_ms, segment_rows_max, segment_bytes_max } = options;
  return {
    rows_max: segment_rows_max ?? SEGMENT_ROWS_MAX[kind],
    bytes_max: segment_bytes_max ?? Math.min(SEGMENT_BYTES_MAX, bytes_max / SEGMENT_SHARE),
    close_ms: close_ms ?? CLOSE_MS[kind],
  };
}
