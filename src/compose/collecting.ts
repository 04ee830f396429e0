import { hostname } from 'node:os';
import { join } from 'node:path';
import type { LoadedConfig } from '../config.ts';
import type { Clock } from '../core/clock.ts';
import type { Bus } from '../core/ports.ts';
import { collect, type CollectorReport } from '../pipeline/collect.ts';
import { Publisher } from '../pipeline/publish.ts';

/** What a running set of collectors tells its role. */
export type CollectorEvents = {
  readonly onReport: (collector: string, report: CollectorReport) => void;
  readonly onRejected: (collector: string, counts: Readonly<Record<string, number>>) => void;
};

export type Collecting = {
  readonly publishers: readonly Publisher[];
  /**
   * Runs every enabled collector until aborted; each publisher ends after its collector's last records. `onOpened` is
   * called once each has tried to open its source.
   */
  readonly run: (signal: AbortSignal, onOpened?: () => void) => Promise<void>;
};

/** The enabled collectors of the configuration, each with a publisher of its own: one source a collector. */
export function createCollecting(
  loaded: LoadedConfig,
  doors: {
    readonly bus: Bus;
    readonly clock: Clock;
    readonly epoch: number;
    /** Records that each publisher holds while the bus refuses; default Publisher's own. */
    readonly buffer_records_max?: number;
  },
  events: CollectorEvents,
): Collecting {
  const node = hostname();
  const { clock } = doors;
  const enabled = loaded.extensions.collectors.flatMap((collector) => {
    const settings = loaded.config.collectors[collector.name];
    return settings === undefined || settings.enabled === false ? [] : [{ collector, settings }];
  });
  const running = enabled.map(({ collector, settings }) => {
    const publisher = new Publisher({ ...doors, source: `${collector.name}@${node}` });
    const run = async (signal: AbortSignal, onOpened: () => void): Promise<void> => {
      const collected = collect(
        {
          collector,
          settings: resolved(loaded, settings),
          interval_ms: settings.interval_ms,
          node,
          clock,
          onReport: (report) => {
            if (report.kind === 'collected') publisher.offer(report.records);
            events.onReport(`${collector.name}@${node}`, report);
          },
          onRejected: (counts) => events.onRejected(`${collector.name}@${node}`, counts),
          onOpened,
        },
        signal,
      );
      const over = new AbortController();
      await Promise.all([collected.finally(() => over.abort()), publisher.run(over.signal)]);
    };
    return { publisher, run };
  });
  return {
    publishers: running.map(({ publisher }) => publisher),
    run: async (signal, onOpened = () => undefined) => {
      const closed = new Set(running);
      const loops = running.map((one) =>
        one.run(signal, () => {
          if (closed.delete(one) && closed.size === 0) onOpened();
        }),
      );
      if (running.length === 0) onOpened();
      await Promise.all(loops);
    },
  };
}

/** `socket: auto` of the workload collector lies in the data directory. */
function resolved(
  loaded: LoadedConfig,
  settings: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  return settings['socket'] === 'auto'
    ? { ...settings, socket: join(loaded.paths.data_dir, 'workload.sock') }
    : settings;
}
