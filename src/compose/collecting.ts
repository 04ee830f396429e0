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
  /** Runs every enabled collector and its publisher until aborted. */
  readonly run: (signal: AbortSignal) => Promise<void>;
};

/** The enabled collectors of the configuration, each with a publisher of its own: one source a collector. */
export function createCollecting(
  loaded: LoadedConfig,
  doors: { readonly bus: Bus; readonly clock: Clock; readonly epoch: number },
  events: CollectorEvents,
): Collecting {
  const node = hostname();
  const { bus, clock, epoch } = doors;
  const enabled = loaded.extensions.collectors.flatMap((collector) => {
    const settings = loaded.config.collectors[collector.name];
    return settings === undefined || settings.enabled === false ? [] : [{ collector, settings }];
  });
  const running = enabled.map(({ collector, settings }) => {
    const publisher = new Publisher({ bus, clock, epoch, source: `${collector.name}@${node}` });
    const run = async (signal: AbortSignal): Promise<void> => {
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
        },
        signal,
      );
      await Promise.all([collected, publisher.run(signal)]);
    };
    return { publisher, run };
  });
  return {
    publishers: running.map(({ publisher }) => publisher),
    run: async (signal) => {
      await Promise.all(running.map(({ run }) => run(signal)));
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
