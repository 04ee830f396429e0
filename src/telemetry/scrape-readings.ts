import type { Clock } from '../core/clock.ts';
import { untilAborted } from '../core/until-aborted.ts';

/** Figures that are read at the moment of a scrape and are known, or not known, together. */
export type Reading<Gauge extends string> = {
  /** Value of the label `reading` of `leeway_scrape_errors_total`: what is read, or where. */
  readonly name: 'bus' | 'incidents' | 'notifications' | 'costs' | 'analysis' | 'delivery';
  /** The gauges that it sets as a whole: they are empty before, and stay so when it fails. */
  readonly gauges: readonly Gauge[];
  /** Reads; what it gives sets the gauges, at once. A read that comes too late sets nothing. */
  readonly read: () => Promise<() => void> | (() => void);
};

/** What readings are for, and where their failures go. */
export type ReadingOptions<Gauge extends string> = {
  readonly clock: Clock;
  /** Leaves a gauge without series. */
  readonly clear: (gauge: Gauge) => void;
  /** A reading failed; `is_new`: the one before did not. */
  readonly onFailed: (name: Reading<Gauge>['name'], error: unknown, is_new: boolean) => void;
};

/** A scrape waits this long for its readings. Prometheus gives up after 10 s, and then has nothing at all. */
const READING_MS_MAX = 3_000;

/**
 * The readings of all scrapes. `run` does them side by side and never fails: a reading that fails, or is not there in
 * three seconds, leaves its own gauges empty and the others alone. One that goes on meanwhile is not started a second
 * time, so that scrapes do not pile up before a store that hangs.
 */
export function createReadings<Gauge extends string>(options: ReadingOptions<Gauge>) {
  const runs: ((patience: AbortSignal) => Promise<void>)[] = [];
  return {
    add: (reading: Reading<Gauge>): void => void runs.push(repeatable(reading, options)),
    run: async (): Promise<void> => {
      const patience = new AbortController();
      const done = new AbortController();
      void options.clock.sleep(READING_MS_MAX, done.signal).then(
        () => patience.abort(new Error(`not read within ${READING_MS_MAX} ms`)),
        () => undefined, // all were read
      );
      await Promise.all(runs.map((run) => run(patience.signal)));
      done.abort();
    },
  };
}

function repeatable<Gauge extends string>(
  { name, gauges, read }: Reading<Gauge>,
  { clear, onFailed }: ReadingOptions<Gauge>,
): (patience: AbortSignal) => Promise<void> {
  let running: Promise<() => void> | null = null;
  let is_failing = false;
  const start = (): Promise<() => void> => {
    const started = (async () => read())();
    const ended = (): void => void (running = null);
    started.then(ended, ended);
    return started;
  };
  return async (patience) => {
    running ??= start();
    try {
      const set = await untilAborted(running, patience);
      for (const gauge of gauges) clear(gauge);
      set();
      is_failing = false;
    } catch (error) {
      for (const gauge of gauges) clear(gauge);
      onFailed(name, error, !is_failing);
      is_failing = true;
    }
  };
}
