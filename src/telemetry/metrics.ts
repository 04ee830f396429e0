import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { type Clock, systemClock } from '../core/clock.ts';
import type { DeliveryTotal } from '../core/delivery-total.ts';
import { deliveryGauges, type WholeGauge } from './delivery-gauges.ts';
import { createReadings, type Reading } from './scrape-readings.ts';

/** Closed label sets of the service's own metrics (contract: api.md; names are part of it). */
export type SourceKind = 'collector' | 'sender' | 'workload' | 'otlp' | 'remote_write' | 'alertmanager';
export type NotificationOutcome = 'delivered' | 'retry' | 'failed' | 'blocked';

type Amount<Labels> = (labels: Labels, amount?: number) => void;
type Level<Labels> = (labels: Labels, value: number) => void;

/** The metrics of Leeway itself: counters add, gauges set, base units (seconds, bytes). */
export type ServiceMetrics = {
  readonly recordsReceived: Amount<{ source_kind: SourceKind }>;
  readonly recordsRejected: Amount<{ code: string }>;
  readonly framesPublished: Amount<Record<never, string>>;
  readonly framesIngested: Amount<Record<never, string>>;
  readonly framesStored: Amount<Record<never, string>>;
  readonly spoolBytes: Level<Record<never, string>>;
  readonly spoolOldestSeconds: Level<Record<never, string>>;
  readonly ingestLagSeconds: Level<Record<never, string>>;
  readonly storeInsertSeconds: Level<Record<never, string>>;
  readonly analysisLagSeconds: Level<{ engine: string }>;
  readonly incidents: Level<{ kind: string; severity: string; status: string }>;
  readonly notifications: Amount<{ sink: string; outcome: NotificationOutcome }>;
  readonly notificationAgeSeconds: Level<{ sink: string }>;
  readonly retrainDecisions: Amount<{ outcome: string; gate: string }>;
  readonly costUsd: Level<{ category: string }>;
  readonly collectorErrors: Amount<{ collector: string; reason: string }>;
  readonly collectorSeconds: Level<{ collector: string }>;
  /** Sets every `leeway_delivery_*` gauge from the account taken at `at_ms`. */
  readonly delivery: (account: readonly DeliveryTotal[], at_ms: number) => void;
  /** Leaves of them only when the account was last taken. */
  readonly deliveryUnknown: () => void;
  /** Is read at each scrape. What cannot be read is absent there and counted; the rest is served. */
  readonly beforeScrape: (reading: Reading<ReadGauge>) => void;
  /** The exposition: Prometheus text 0.0.4, or OpenMetrics 1.0.0. Never fails. */
  readonly expose: (format: 'prometheus' | 'openmetrics') => Promise<{ content_type: string; text: string }>;
};

/** Gauges that readings set as a whole. */
export type ReadGauge =
  | 'leeway_spool_bytes'
  | 'leeway_spool_oldest_seconds'
  | 'leeway_ingest_lag_seconds'
  | 'leeway_analysis_lag_seconds'
  | 'leeway_incidents'
  | 'leeway_notification_age_seconds'
  | 'leeway_cost_usd';

export type ServiceMetricsOptions = {
  readonly clock?: Clock;
  /** A reading failed that did not fail before. */
  readonly onUnread?: (reading: string, error: unknown) => void;
};

/** Values of one label that are told apart; later ones share "other". Kinds, sinks and codes are far fewer. */
const LABEL_VALUES_MAX = 200;
/** An insert of a frame takes milliseconds; one of a minute means that the store is ill. */
const INSERT_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** Makes the registry with every metric of the contract; counters without labels start at 0. */
export function createServiceMetrics(version: string, options: ServiceMetricsOptions = {}): ServiceMetrics {
  const registry = new Registry();
  const clears = new Map<string, () => void>();
  const made = instruments(registry, clears);
  const unread = counter(
    registry,
    'leeway_scrape_errors_total',
    'Readings that a scrape had to leave out, by reading.',
    ['reading'],
  );
  gauge(registry, 'leeway_build_info', 'Always 1; the version is in its label.', ['version'])({ version }, 1);
  const readings = createReadings<ReadGauge>({
    clock: options.clock ?? systemClock,
    clear: (name) => clears.get(name)?.(),
    onFailed: (reading, error, is_new) => {
      unread({ reading });
      if (is_new) options.onUnread?.(reading, error);
    },
  });
  return {
    ...made,
    beforeScrape: (reading) => {
      unread({ reading: reading.name }, 0);
      readings.add(reading);
    },
    expose: async (format) => {
      await readings.run();
      const text = await registry.metrics();
      return format === 'prometheus'
        ? { content_type: Registry.PROMETHEUS_CONTENT_TYPE, text }
        : { content_type: Registry.OPENMETRICS_CONTENT_TYPE, text: openMetrics(text) };
    },
  };
}

function instruments(
  registry: Registry,
  clears: Map<string, () => void>,
): Omit<ServiceMetrics, 'beforeScrape' | 'expose'> {
  const c = (name: string, help: string, labels: readonly string[] = []) => counter(registry, name, help, labels);
  const g = (name: string, help: string, labels: readonly string[] = []) => gauge(registry, name, help, labels);
  const read = (name: ReadGauge, help: string, labels: readonly string[] = []) => {
    const whole = wholeGauge(registry, name, help, labels);
    clears.set(name, whole.clear);
    const bounded = boundedLabels();
    return (given: Labels, value: number): void => whole.set(bounded(given), value);
  };
  const own = {
    recordsReceived: c('leeway_records_received_total', 'Records that arrived, by kind of source.', ['source_kind']),
    recordsRejected: c('leeway_records_rejected_total', 'Records refused at the door, by reason.', ['code']),
    framesPublished: c('leeway_frames_published_total', 'Frames durable in the bus.'),
    framesIngested: c('leeway_frames_ingested_total', 'Frames read from the bus.'),
    framesStored: c('leeway_frames_stored_total', 'Frames durable in the telemetry store.'),
    spoolBytes: read('leeway_spool_bytes', 'Bytes waiting in the spool.'),
    spoolOldestSeconds: read('leeway_spool_oldest_seconds', 'Age of the oldest frame that the store does not hold.'),
    ingestLagSeconds: read(
      'leeway_ingest_lag_seconds',
      'Age of the oldest accepted frame that is not stored yet, as leeway_spool_oldest_seconds.',
    ),
    storeInsertSeconds: histogram(registry, 'leeway_store_insert_seconds', 'Duration of one insert into the store.'),
    analysisLagSeconds: read('leeway_analysis_lag_seconds', 'Age of the oldest row that an engine may not have read.', [
      'engine',
    ]),
    incidents: read('leeway_incidents', 'Incidents that opened and are not resolved, by kind, severity and status.', [
      'kind',
      'severity',
      'status',
    ]),
    notifications: c('leeway_notifications_total', 'Delivery attempts by sink and outcome.', ['sink', 'outcome']),
    notificationAgeSeconds: read(
      'leeway_notification_age_seconds',
      'Age of the oldest notification that a sink was not told yet, 0 when there is none.',
      ['sink'],
    ),
    retrainDecisions: c('leeway_retrain_decisions_total', 'Retraining decisions by outcome and deciding gate.', [
      'outcome',
      'gate',
    ]),
    costUsd: read('leeway_cost_usd', 'Cost of the current UTC day by category, the hour under way included.', [
      'category',
    ]),
    collectorErrors: c('leeway_collector_errors_total', 'Failed collections by collector and reason.', [
      'collector',
      'reason',
    ]),
    collectorSeconds: g('leeway_collector_seconds', 'Duration of the last collection.', ['collector']),
  };
  const { show, forget } = deliveryGauges((name, help, labels) => wholeGauge(registry, name, help, labels));
  return { ...own, delivery: show, deliveryUnknown: forget };
}

type Labels = Readonly<Record<string, string>>;

function counter(registry: Registry, name: string, help: string, labels: readonly string[]) {
  const metric = new Counter({ name, help, labelNames: [...labels], registers: [registry] });
  const bounded = boundedLabels();
  return (given: Labels, amount = 1): void => metric.inc(bounded(given), amount);
}

function gauge(registry: Registry, name: string, help: string, labels: readonly string[]) {
  const metric = new Gauge({ name, help, labelNames: [...labels], registers: [registry] });
  const bounded = boundedLabels();
  return (given: Labels, value: number): void => metric.set(bounded(given), value);
}

/** A gauge whose labels the caller bounds. */
function wholeGauge(registry: Registry, name: string, help: string, labels: readonly string[]): WholeGauge {
  const metric = new Gauge({ name, help, labelNames: [...labels], registers: [registry] });
  const clear = (): void => {
    metric.reset();
    if (labels.length === 0) metric.remove(); // reset sets a gauge without labels to 0
  };
  return { clear, set: (given, value) => metric.set({ ...given }, value) };
}

function histogram(registry: Registry, name: string, help: string) {
  const metric = new Histogram({ name, help, buckets: INSERT_SECONDS, registers: [registry] });
  return (_labels: Labels, value: number): void => metric.observe(value);
}

/** Keeps the number of series bounded whatever arrives as a label's value. */
function boundedLabels(): (labels: Labels) => Record<string, string> {
  const seen = new Map<string, Set<string>>();
  return (labels) => {
    const kept: Record<string, string> = {};
    for (const [label, value] of Object.entries(labels)) {
      const values = seen.get(label) ?? new Set();
      seen.set(label, values);
      if (values.size < LABEL_VALUES_MAX) values.add(value);
      kept[label] = values.has(value) ? value : 'other';
    }
    return kept;
  };
}

/**
 * Prometheus text as OpenMetrics 1.0.0: a counter's family is named without `_total`, no blank lines, `# EOF` at the
 * end. (prom-client 15.1.3 renames its counters for ever when asked for OpenMetrics once.)
 */
function openMetrics(text: string): string {
  const lines = text.split('\n').filter((line) => line !== '');
  const counters = new Set(lines.flatMap((line) => /^# TYPE (\S+)_total counter$/.exec(line)?.[1] ?? []));
  const renamed = lines.map((line) => {
    const [, keyword = '', family = '', rest = ''] = /^# (HELP|TYPE) (\S+)_total (.*)$/.exec(line) ?? [];
    return counters.has(family) ? `# ${keyword} ${family} ${rest}` : line;
  });
  return `${renamed.join('\n')}\n# EOF\n`;
}
