import { INCIDENTS } from '../control/collections.ts';
import type { Clock } from '../core/clock.ts';
import type { Bus, Control } from '../core/ports.ts';
import type { AnalysisOptions } from '../pipeline/analyse.ts';
import type { CostBook } from '../read/costs.ts';
import type { ServiceMetrics } from '../telemetry/metrics.ts';

// What /metrics shows of the moment of the scrape. Each reading asks one place, so that another one's failure is not its own.

type Scraped = { readonly bus: Bus; readonly costs: CostBook | null; readonly control: Control };

/** Gauges that are read at the moment of a scrape; `costs` null where there is no store to ask. */
export function scrapeGauges(metrics: ServiceMetrics, { bus, costs, control }: Scraped): void {
  metrics.beforeScrape({
    name: 'bus',
    gauges: ['leeway_spool_bytes', 'leeway_spool_oldest_seconds', 'leeway_ingest_lag_seconds'],
    read: () => {
      const { bytes, oldest_ms } = bus.backlog();
      return () => {
        metrics.spoolBytes({}, bytes);
        metrics.spoolOldestSeconds({}, oldest_ms / 1000);
        metrics.ingestLagSeconds({}, oldest_ms / 1000);
      };
    },
  });
  metrics.beforeScrape({ name: 'incidents', gauges: ['leeway_incidents'], read: () => incidents(metrics, control) });
  if (costs !== null)
    metrics.beforeScrape({ name: 'costs', gauges: ['leeway_cost_usd'], read: () => costsOf(metrics, costs) });
}

type Counted = { readonly kind: string; readonly severity: string; readonly status: string };

async function incidents(metrics: ServiceMetrics, control: Control): Promise<() => void> {
  const open = await control.transaction((tx) =>
    tx.list(INCIDENTS, { where: [{ field: 'status', is: '!=', value: 'resolved' }], limit: 10_000 }),
  );
  const counts = new Map<string, { readonly labels: Counted; count: number }>();
  for (const { body } of open) {
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

async function costsOf(metrics: ServiceMetrics, costs: CostBook): Promise<() => void> {
  const { totals } = await costs.ledger({});
  return () => {
    for (const [category, nano_usd] of Object.entries(totals))
      if (category !== 'billed') metrics.costUsd({ category }, Number(nano_usd) / 1e9);
  };
}

/** Keeps what each engine has read until; at a scrape the gauge is the time since, so a stuck engine's lag grows. */
export function analysisLag(metrics: ServiceMetrics, clock: Clock): AnalysisOptions['onAnalysed'] {
  const read_until_ms = new Map<string, number>();
  metrics.beforeScrape({
    name: 'analysis',
    gauges: ['leeway_analysis_lag_seconds'],
    read: () => () => {
      for (const [engine, until_ms] of read_until_ms)
        metrics.analysisLagSeconds({ engine }, (clock.elapsed_ms() - until_ms) / 1000);
    },
  });
  return (engine, until_ms) => void read_until_ms.set(engine, until_ms);
}
