import { type Board, buildDashboard, type Dashboard, type Panel } from './grafana.ts';
import { PROMETHEUS, prometheusQuery } from './prometheus-query.ts';

// Metrics are those of src/telemetry/metrics.ts.

type Graph = {
  readonly title: string;
  readonly description: string;
  readonly unit: string;
  readonly expr: string;
  readonly legend: string;
};

function graph({ expr, legend, ...text }: Graph): Panel {
  return { kind: 'timeseries', ...text, query: prometheusQuery(expr, legend) };
}

const BOARD: Board = {
  uid: 'leeway-service-health',
  title: 'Leeway: service health',
  description: 'Whether Leeway itself keeps up: what arrives, what is stored, what it found and whom it told.',
  tags: ['leeway'],
  plugin: PROMETHEUS,
  choices: [],
  rows: [
    {
      title: 'Records',
      panels: [
        graph({
          title: 'Records received by source kind',
          description: 'Records a second that passed the door, by kind of source.',
          unit: 'cps',
          expr: 'sum by (source_kind) (rate(leeway_records_received_total[$__rate_interval]))',
          legend: '{{source_kind}}',
        }),
        graph({
          title: 'Records rejected by code',
          description:
            'Records a second that were refused at the door. The codes are explained in the reference of errors.',
          unit: 'cps',
          expr: 'sum by (code) (rate(leeway_records_rejected_total[$__rate_interval]))',
          legend: '{{code}}',
        }),
        graph({
          title: 'Spool',
          description: 'Bytes that are accepted and wait for the store. It must return towards 0.',
          unit: 'bytes',
          expr: 'sum by (instance) (leeway_spool_bytes)',
          legend: '{{instance}}',
        }),
      ],
    },
    {
      title: 'Delay',
      panels: [
        graph({
          title: 'Age of the oldest frame not stored',
          description: 'How long the oldest accepted frame has waited for the store.',
          unit: 's',
          expr: 'max by (instance) (leeway_spool_oldest_seconds)',
          legend: '{{instance}}',
        }),
        graph({
          title: 'Insert p99',
          description: 'Upper estimate of the 99th percentile of the duration of an insert, from its histogram.',
          unit: 's',
          expr: 'histogram_quantile(0.99, sum by (le) (rate(leeway_store_insert_seconds_bucket[$__rate_interval])))',
          legend: 'p99',
        }),
        graph({
          title: 'Analysis delay by engine',
          description: 'Age of the newest row that an engine has not read.',
          unit: 's',
          expr: 'max by (engine) (leeway_analysis_lag_seconds)',
          legend: '{{engine}}',
        }),
      ],
    },
    {
      title: 'What it found and whom it told',
      panels: [
        graph({
          title: 'Incidents not resolved',
          description: 'Incidents by kind and severity, in any state but resolved.',
          unit: 'none',
          expr: 'sum by (kind, severity) (max by (kind, severity, status) (leeway_incidents{status!="resolved"}))',
          legend: '{{kind}} {{severity}}',
        }),
        graph({
          title: 'Notifications by sink and outcome',
          description: 'Delivery attempts a second.',
          unit: 'cps',
          expr: 'sum by (sink, outcome) (rate(leeway_notifications_total[$__rate_interval]))',
          legend: '{{sink}} {{outcome}}',
        }),
        graph({
          title: 'Age of the oldest notification',
          description: 'How long the oldest notification that is not delivered has waited, a sink.',
          unit: 's',
          expr: 'max by (sink) (leeway_notification_age_seconds)',
          legend: '{{sink}}',
        }),
      ],
    },
  ],
};

/** Health of the Leeway service over its own /metrics, as Prometheus scraped them. */
export function serviceHealth(): Dashboard {
  return buildDashboard(BOARD);
}
