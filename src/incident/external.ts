import Type, { type Static } from 'typebox';
import { compareUtf8 } from '../core/canonical.ts';
import { compiled } from '../core/compiled.ts';
import type { Finding } from '../core/finding.ts';
import { hash64 } from './identity.ts';

const labels = Type.Record(Type.String({ maxLength: 256 }), Type.String({ maxLength: 4096 }), { maxProperties: 64 });
const date = Type.String({ maxLength: 64 });

/** An alert of Alertmanager's API v2 (`POST /api/v2/alerts`); unknown fields are allowed there, so they are here. */
export const ExternalAlertSchema = Type.Object({
  labels,
  annotations: Type.Optional(labels),
  startsAt: Type.Optional(date),
  endsAt: Type.Optional(date),
  generatorURL: Type.Optional(Type.String({ maxLength: 4096 })),
});
export type ExternalAlert = Static<typeof ExternalAlertSchema>;
const alert = compiled(ExternalAlertSchema);

/** Alerts of one request: Prometheus sends at most 64 (`notifier`, maxBatchSize 256 since 3.0). */
export const EXTERNAL_ALERTS_MAX = 1000;

/**
 * Alerts of another system as findings: one key a label set (without `severity`, so that an escalation stays one
 * incident), value 2 for `critical` and `page`, 1 for the rest, 0 once `endsAt` has passed. Null when `value` is no list
 * of alerts; an unreadable time counts as absent.
 */
export function externalFindings(value: unknown, now_ms: number): Finding[] | null {
  if (!Array.isArray(value) || value.length > EXTERNAL_ALERTS_MAX) return null;
  const findings: Finding[] = [];
  for (const item of value) {
    if (!alert.check(item) || Object.keys(item.labels).length === 0) return null;
    findings.push(findingOf(item, now_ms));
  }
  return findings;
}

function findingOf(item: ExternalAlert, now_ms: number): Finding {
  const names = Object.keys(item.labels).sort(compareUtf8);
  const identity = names.filter((name) => name !== 'severity').map((name) => [name, item.labels[name]]);
  const starts_ms = timeOf(item.startsAt);
  const ends_ms = timeOf(item.endsAt);
  const over = ends_ms !== null && ends_ms <= now_ms;
  const loud = ['critical', 'page'].includes((item.labels['severity'] ?? '').toLowerCase());
  const name = item.labels['alertname'] ?? 'alert';
  return {
    name: 'external.alert',
    key: `external:${hash64(JSON.stringify(identity))}`,
    scope: { source: item.labels['instance'] ?? 'alertmanager' },
    subjects: [{ type: 'alert', id: name }],
    cause: 'external',
    value: over ? 0 : loud ? 2 : 1,
    reason: null,
    data_count: 1,
    coverage_ratio: 1,
    window: { from_ms: starts_ms ?? now_ms, to_ms: now_ms },
    started_at_ms: starts_ms,
    gpu_seconds_lost: null,
    usd_lost: null,
    usd_per_hour: null,
    title: item.annotations?.['summary'] ?? item.annotations?.['description'] ?? name,
    evidence: {
      labels: item.labels,
      annotations: item.annotations ?? {},
      generator_url: item.generatorURL ?? null,
      ...(ends_ms === null ? {} : { ends_at_ms: ends_ms }),
    },
  };
}

/** Go's zero time means "not yet" there. */
function timeOf(text: string | undefined): number | null {
  if (text === undefined || text.startsWith('0001-01-01')) return null;
  const at_ms = Date.parse(text);
  return Number.isNaN(at_ms) ? null : at_ms;
}
