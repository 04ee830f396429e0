import { expect, test } from 'vitest';
import { createServiceMetrics } from '../../src/telemetry/metrics.ts';

/** Copied from the contract (api.md "Metrics of the service itself"): name, type, labels. */
const CONTRACT: readonly (readonly [string, string])[] = [
  ['leeway_records_received_total', 'counter'],
  ['leeway_records_rejected_total', 'counter'],
  ['leeway_frames_published_total', 'counter'],
  ['leeway_frames_ingested_total', 'counter'],
  ['leeway_frames_stored_total', 'counter'],
  ['leeway_spool_bytes', 'gauge'],
  ['leeway_spool_oldest_seconds', 'gauge'],
  ['leeway_ingest_lag_seconds', 'gauge'],
  ['leeway_store_insert_seconds', 'histogram'],
  ['leeway_analysis_lag_seconds', 'gauge'],
  ['leeway_incidents', 'gauge'],
  ['leeway_notifications_total', 'counter'],
  ['leeway_notification_age_seconds', 'gauge'],
  ['leeway_retrain_decisions_total', 'counter'],
  ['leeway_cost_usd', 'gauge'],
  ['leeway_collector_errors_total', 'counter'],
  ['leeway_collector_seconds', 'gauge'],
  ['leeway_build_info', 'gauge'],
];

/** The account of the delivery, and scrapes themselves, beside the contract. */
const BESIDE: readonly (readonly [string, string])[] = [
  ['leeway_scrape_errors_total', 'counter'],
  ['leeway_delivery_emitted_records', 'gauge'],
  ['leeway_delivery_stored_records', 'gauge'],
  ['leeway_delivery_in_flight_records', 'gauge'],
  ['leeway_delivery_declared_loss_records', 'gauge'],
  ['leeway_delivery_unaccounted_records', 'gauge'],
  ['leeway_delivery_duplicates_absorbed_records', 'gauge'],
  ['leeway_delivery_late_records', 'gauge'],
  ['leeway_delivery_lost_batches', 'gauge'],
  ['leeway_delivery_oldest_in_flight_seconds', 'gauge'],
  ['leeway_delivery_account_timestamp_seconds', 'gauge'],
];

test('every metric of the contract and of the account is exposed under its name, and no other', async () => {
  const { text, content_type } = await createServiceMetrics('1.2.3').expose('prometheus');
  const types = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => `${name} ${type}`);
  expect(new Set(types)).toEqual(new Set([...CONTRACT, ...BESIDE].map(([name, type]) => `${name} ${type}`)));
  expect(content_type).toContain('version=0.0.4');
  expect(text).toContain('leeway_build_info{version="1.2.3"} 1');
});

test('counters add and gauges set, with the labels of the contract', async () => {
  const metrics = createServiceMetrics('1.2.3');
  metrics.recordsReceived({ source_kind: 'sender' }, 5);
  metrics.recordsReceived({ source_kind: 'sender' });
  metrics.notifications({ sink: 'ops', outcome: 'delivered' });
  metrics.retrainDecisions({ outcome: 'deferred', gate: 'cooldown' });
  metrics.collectorErrors({ collector: 'host', reason: 'timeout' });
  metrics.collectorSeconds({ collector: 'host' }, 0.004);
  metrics.analysisLagSeconds({ engine: 'drift' }, 1.5);
  metrics.incidents({ kind: 'slow_rank', severity: 'page', status: 'open' }, 2);
  metrics.costUsd({ category: 'idle' }, 12.5);
  metrics.framesPublished({}, 3);
  metrics.spoolBytes({}, 1024);
  metrics.spoolBytes({}, 512);
  metrics.storeInsertSeconds({}, 0.02);
  const { text } = await metrics.expose('prometheus');
  for (const line of [
    'leeway_records_received_total{source_kind="sender"} 6',
    'leeway_notifications_total{sink="ops",outcome="delivered"} 1',
    'leeway_retrain_decisions_total{outcome="deferred",gate="cooldown"} 1',
    'leeway_collector_errors_total{collector="host",reason="timeout"} 1',
    'leeway_collector_seconds{collector="host"} 0.004',
    'leeway_analysis_lag_seconds{engine="drift"} 1.5',
    'leeway_incidents{kind="slow_rank",severity="page",status="open"} 2',
    'leeway_cost_usd{category="idle"} 12.5',
    'leeway_frames_published_total 3',
    'leeway_frames_stored_total 0',
    'leeway_spool_bytes 512',
    'leeway_store_insert_seconds_bucket{le="0.025"} 1',
    'leeway_store_insert_seconds_bucket{le="0.01"} 0',
    'leeway_store_insert_seconds_count 1',
  ])
    expect(text.split('\n')).toContain(line);
});

test('OpenMetrics names the family of a counter without _total and ends with # EOF', async () => {
  const metrics = createServiceMetrics('1.2.3');
  metrics.recordsReceived({ source_kind: 'sender' }, 6);
  const { text, content_type } = await metrics.expose('openmetrics');
  expect(content_type).toContain('application/openmetrics-text; version=1.0.0');
  expect(text).toContain(
    '# TYPE leeway_records_received counter\nleeway_records_received_total{source_kind="sender"} 6\n',
  );
  expect(text.endsWith('\n# EOF\n')).toBe(true);
  expect(text).not.toContain('\n\n');
  const again = await metrics.expose('prometheus');
  expect(again.text).toContain('# TYPE leeway_records_received_total counter'); // asking once changed nothing
});

test('the values of a label are bounded: 200 are told apart, the rest is "other"', async () => {
  const metrics = createServiceMetrics('1.2.3');
  for (let index = 0; index < 250; index++) metrics.recordsRejected({ code: `code-${index}` });
  const { text } = await metrics.expose('prometheus');
  expect(text.match(/^leeway_records_rejected_total\{/gm)?.length).toBe(201);
  expect(text).toContain('leeway_records_rejected_total{code="other"} 50');
});

test('a label with quotes, backslashes and line ends cannot forge a line', async () => {
  const metrics = createServiceMetrics('1.2.3');
  metrics.collectorErrors({ collector: 'a"} 1\nforged 1', reason: '\\' });
  const { text } = await metrics.expose('prometheus');
  expect(text).not.toMatch(/^forged/m);
});
