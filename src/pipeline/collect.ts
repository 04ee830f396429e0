import { type Clock, every } from '../core/clock.ts';
import type { AnyCollector, OpenCollector } from '../core/define.ts';
import { LeewayError } from '../core/errors.ts';
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
  /** After each attempt to open the source, whether or not it is there: from the first on, its sockets listen. */
  readonly onOpened?: () => void;
};

/** An absent source is looked for again this often: a driver may be installed while we run. */
const ABSENT_RETRY_MS = 60_000;
const OPEN_RETRY_MS = 5_000;
/** The reading at the end takes what came in since the last tick; a source that hangs must not hold up the end. */
const LAST_TICK_MS = 2_000;

/**
 * Opens one collector and reads it every `interval_ms` until aborted, then once more, so that what a source holds is
 * not lost. "Never on this machine" is said once an opening and looked at again each minute; a failure costs its tick
 * only.
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
    onReport(failure(error));
    return OPEN_RETRY_MS;
  } finally {
    options.onOpened?.();
  }
  await using held = opened;
  const absent = new AbortController();
  const stopped = AbortSignal.any([signal, absent.signal]);
  await every(
    clock,
    options.interval_ms,
    async () => {
      if (!(await tick(options, held, stopped))) absent.abort();
    },
    { signal: stopped, onError: (error) => onReport(failure(error)) },
  );
  if (!absent.signal.aborted) await lastTick(options, held);
  return ABSENT_RETRY_MS;
}

function failure(error: unknown): CollectorReport {
  if (error instanceof LeewayError) return { kind: 'failed', code: error.code, reason: error.message };
  return { kind: 'failed', code: 'LW-INTERNAL', reason: error instanceof Error ? error.message : String(error) };
}

/** Reads the source once and reports; false when it is not on this machine. */
async function tick(options: CollectOptions, opened: OpenCollector, signal: AbortSignal): Promise<boolean> {
  const { clock, onReport } = options;
  const started_ms = clock.elapsed_ms();
  const outcome = await opened.collect(signal);
  if (opened.rejected !== undefined) options.onRejected(opened.rejected());
  switch (outcome.kind) {
    case 'ok':
      onReport({ kind: 'collected', records: outcome.value, seconds: (clock.elapsed_ms() - started_ms) / 1000 });
      return true;
    case 'retry':
      onReport({ kind: 'failed', code: outcome.code, reason: outcome.reason });
      return true;
    case 'reject':
      onReport({ kind: 'absent', reason: outcome.reason });
      return false;
  }
}

async function lastTick(options: CollectOptions, opened: OpenCollector): Promise<void> {
  const limit = new AbortController();
  const done = new AbortController();
  const late = options.clock.sleep(LAST_TICK_MS, done.signal).then(
    () => limit.abort(),
    () => undefined, // the reading ended in time
  );
  try {
    await Promise.race([tick(options, opened, limit.signal), late]);
  } catch (error) {
    options.onReport(failure(error));
  } finally {
    done.abort();
  }
}
