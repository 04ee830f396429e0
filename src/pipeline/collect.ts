import { type Clock, every } from '../core/clock.ts';
import type { AnyCollector, OpenCollector } from '../core/define.ts';
import type { LeewayRecord } from '../core/records.ts';

/** What one collector says after a tick, for the source list and the metrics. */
export type CollectorReport =
  | { readonly kind: 'collected'; readonly records: readonly LeewayRecord[]; readonly seconds: number }
  | { readonly kind: 'absent'; readonly reason: string }
  | { readonly kind: 'failed'; readonly code: string; readonly reason: string };

export type CollectOptions = {
  readonly collector: AnyCollector;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly interval_ms: number;
  readonly node: string;
  readonly clock: Clock;
  readonly onReport: (report: CollectorReport) => void;
  readonly onRejected: (counts: Readonly<Record<string, number>>) => void;
};

/** An absent source is looked for again this often: a driver may be installed while we run. */
const ABSENT_RETRY_MS = 60_000;
const OPEN_RETRY_MS = 5_000;

/**
 * Opens one collector and reads it every `interval_ms` until aborted. "Never on this machine" is said once and looked
 * at again each minute; a failure costs its tick only.
 */
export async function collect(options: CollectOptions, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const rest_ms = await collectOpened(options, signal);
    await options.clock.sleep(rest_ms, signal).catch(() => undefined); // aborted while asleep: the loop's end
  }
}

/** Runs one opened collector to its end; returns how long to wait before it is opened again. */
async function collectOpened(options: CollectOptions, signal: AbortSignal): Promise<number> {
  const { collector, settings, clock, node, onReport } = options;
  let opened: OpenCollector;
  try {
    opened = await collector.open({ settings, clock, node });
  } catch (error) {
    onReport({ kind: 'failed', code: 'LW-INTERNAL', reason: error instanceof Error ? error.message : String(error) });
    return OPEN_RETRY_MS;
  }
  await using held = opened;
  const stop = new AbortController();
  await every(clock, options.interval_ms, () => tick(options, held, stop), {
    signal: AbortSignal.any([signal, stop.signal]),
    onError: (error) =>
      onReport({ kind: 'failed', code: 'LW-INTERNAL', reason: error instanceof Error ? error.message : String(error) }),
  });
  return ABSENT_RETRY_MS;
}

async function tick(options: CollectOptions, opened: OpenCollector, stop: AbortController): Promise<void> {
  const started_ms = options.clock.elapsed_ms();
  const outcome = await opened.collect(stop.signal);
  if (opened.rejected !== undefined) options.onRejected(opened.rejected());
  if (outcome.kind === 'ok') {
    const seconds = (options.clock.elapsed_ms() - started_ms) / 1000;
    options.onReport({ kind: 'collected', records: outcome.value, seconds });
  } else if (outcome.kind === 'reject') {
    options.onReport({ kind: 'absent', reason: outcome.reason });
    stop.abort();
  } else options.onReport({ kind: 'failed', code: outcome.code, reason: outcome.reason });
}
