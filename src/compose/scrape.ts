import { INCIDENTS, OUTBOX } from '../control/collections.ts';
import type { Clock } from '../core/clock.ts';
import type { Bus, Control } from '../core/ports.ts';
import type { AnalysisOptions } from '../pipeline/analyse.ts';
import type { CostBook } from '../read/costs.ts';
import type { ServiceMetrics } from '../telemetry/metrics.ts';
import type { RolePlan } from './role-plan.ts';

// What /metrics shows of the moment of the scrape. Each reading asks one place, so that another one's failure is not its own.

type Scraped = {
  readonly plan: Pick<RolePlan, 'bus' | 'shows'>;
  readonly bus: Bus;
  readonly costs: CostBook;
  readonly control: Control;
  readonly clock: Clock;
  /** The destinations that are configured now. */
  readonly sinks: () => readonly string[];
};

/** Gauges that are read at the moment of a scrape, as far as `plan` shows them. */
export function scrapeGauges(metrics: ServiceMetrics, scraped: Scraped): void {
  const { plan, control } = scraped;
  metrics.beforeScrape({
    name: 'bus',
    gauges: ['leeway_spool_bytes', 'leeway_spool_oldest_seconds', 'leeway_ingest_lag_seconds'],
    read: plan.bus ? () => backlog(metrics, scraped.bus) : () => () => undefined, // without a bus they are absent, not 0
  });
  if (plan.shows.shared) {
    metrics.beforeScrape({ name: 'incidents', gauges: ['leeway_incidents'], read: () => incidents(metrics, control) });
    metrics.beforeScrape({
      name: 'notifications',
      gauges: ['leeway_notification_age_seconds'],
      read: () => oldestWaiting(metrics, scraped),
    });
  }
  if (plan.shows.costs)
    metrics.beforeScrape({ name: 'costs', gauges: ['leeway_cost_usd'], read: () => costsOf(metrics, scraped) });
}

function backlog(metrics: ServiceMetrics, bus: Bus): () => void {
  const { bytes, oldest_ms } = bus.backlog();
  return () => {
    metrics.spoolBytes({}, bytes);
    metrics.spoolOldestSeconds({}, oldest_ms / 1000);
    metrics.ingestLagSeconds({}, oldest_ms / 1000);
  };
}

/** Every status but `resolved`: named, they are found by the index; 100,000 resolved ones took 389 ms otherwise, now 1 ms. */
const OPEN = ['open', 'acknowledged', 'snoozed'] as const;

type Counted = { readonly kind: string; readonly severity: string; readonly status: string };

async function incidents(metrics: ServiceMetrics, control: Control): Promise<() => void> {
  const open = await control.transaction((tx) =>
    tx.list(INCIDENTS, { where: [{ field: 'status', is: 'in', value: OPEN }], limit: 10_000 }),
  );
  const counts = new Map<string, { readonly labels: Counted; count: number }>();
  for (const { body } of open) {
    if (body.opened_at_ms === null) continue; // pending: shown to nobody yet
    const { kind, severity, status } = body;
    const name = `${kind}/${severity}/${status}`;
    const held = counts.get(name) ?? { labels: { kind, severity, status }, count: 0 };
    held.count++;
    counts.set(name, held);
  }
  return () => {
    for (const { labels, count } of counts.values()) metrics.incidents(labels, count);
  };
}

/**
 * How long the oldest notification of each destination has waited. One state a look: with both at once sqlite reads all rows
 * of the destination, 48 ms of 100,000 delivered ones, instead of 0.05 ms. Rows of a destination that was taken out of the
 * configuration wait for nobody.
 */
async function oldestWaiting(
  metrics: ServiceMetrics,
  { control, clock, sinks }: Pick<Scraped, 'control' | 'clock' | 'sinks'>,
): Promise<() => void> {
  const ages = await control.transaction(async (tx) => {
    const now_ms = clock.now_ms();
    const found = new Map<string, number>();
    for (const sink of sinks())
      for (const state of ['retrying', 'blocked']) {
        const [oldest] = await tx.list(OUTBOX, {
          where: [
            { field: 'sink', is: '=', value: sink },
            { field: 'state', is: '=', value: state },
          ],
          order: { field: 'at_ms', descending: false },
          limit: 1,
        });
        const age_ms = oldest === undefined ? 0 : now_ms - oldest.body.at_ms;
        found.set(sink, Math.max(found.get(sink) ?? 0, age_ms));
      }
    return found;
  });
  return () => {
    for (const [sink, age_ms] of ages) metrics.notificationAgeSeconds({ sink }, age_ms / 1000);
  };
}

async function costsOf(
  metrics: ServiceMetrics,
  { costs, clock }: Pick<Scraped, 'costs' | 'clock'>,
): Promise<() => void> {
  const today = await costs.today(clock.now_ms());
  return () => {
    for (const [category, nano_usd] of today) metrics.costUsd({ category }, Number(nano_usd) / 1e9);
  };
}

/** The lag of each engine, as long as this process analyses. */
export type AnalysisLag = {
  readonly onAnalysed: AnalysisOptions['onAnalysed'];
  /** Another process analyses. */
  readonly forget: () => void;
};

/** Keeps what each engine has read until; at a scrape the gauge is the time since, so a stuck engine's lag grows. */
export function analysisLag(metrics: ServiceMetrics, clock: Clock): AnalysisLag {
  const read_until_ms = new Map<string, number>();
  metrics.beforeScrape({
    name: 'analysis',
    gauges: ['leeway_analysis_lag_seconds'],
    read: () => () => {
      for (const [engine, until_ms] of read_until_ms)
        metrics.analysisLagSeconds({ engine }, (clock.elapsed_ms() - until_ms) / 1000);
    },
  });
  return {
    onAnalysed: (engine, until_ms) => void read_until_ms.set(engine, until_ms),
    forget: () => read_until_ms.clear(),
  };
}
