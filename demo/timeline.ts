/**
 * Unix milliseconds with fractions, UTC: the process's start plus its monotonic clock. The arrival of ranks at a collective
 * differs by tenths of a millisecond, which whole milliseconds would round away.
 */
export function unixNow_ms(): number {
  return performance.timeOrigin + performance.now();
}

/** Unix time at which this process began, milliseconds. */
export function processStart_ms(): number {
  return performance.timeOrigin;
}
