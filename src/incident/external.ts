import { assert } from '../core/assert.ts';
import { compareUtf8 } from '../core/canonical.ts';
import type { StoredAlert } from '../core/external-alert.ts';
import type { Finding } from '../core/finding.ts';
import type { AlertMessage } from './external-message.ts';
import { hash64 } from './identity.ts';

/** The id of a label set, all of it: where its alert is remembered. */
export function alertId(labels: AlertMessage['labels']): string {
  const text = canonical(labels, () => true);
  return `alert_${hash64(text)}${hash64(`${text}#`)}`;
}

function canonical(labels: AlertMessage['labels'], counts: (label: string) => boolean): string {
  const names = Object.keys(labels).filter(counts).sort(compareUtf8);
  return JSON.stringify(names.map((label) => [label, labels[label]]));
}

/**
 * What is known of an alert after one more message; the very same object where the message says nothing new.
 * A firing message holds until its end, without one for RESOLVE_TIMEOUT_MS (Alertmanager's resolve_timeout). Repeats, in
 * whatever order they come, change nothing: a firing one that began before the alert was closed and names no later end
 * than was named before, and a closing one of an earlier episode, or of the end that is known already.
 */
export function mergeAlert(known: StoredAlert | null, message: AlertMessage, now_ms: number): StoredAlert {
  const { ends_ms } = message;
  return ends_ms !== null && ends_ms <= now_ms
    ? closed(known, message, { ends_ms, now_ms })
    : fires(known, message, now_ms);
}

/** `global.resolve_timeout` of Alertmanager, its default. */
const RESOLVE_TIMEOUT_MS = 300_000;

function closed(
  known: StoredAlert | null,
  message: AlertMessage,
  { ends_ms, now_ms }: { ends_ms: number; now_ms: number },
): StoredAlert {
  const starts_ms = message.starts_ms ?? ends_ms;
  if (known === null)
    return { ...first(message, now_ms), starts_ms, ends_ms, timeout: false, asserted_ms: null, closed_ms: ends_ms };
  const closed_ms = Math.max(known.closed_ms ?? ends_ms, ends_ms);
  const told = known.closed_ms !== null && ends_ms <= known.closed_ms;
  const fires = known.ends_ms > now_ms;
  if (told && (!fires || message.starts_ms !== null)) return known;
  const earlier = message.starts_ms !== null && message.starts_ms < known.starts_ms && ends_ms <= known.starts_ms;
  if (fires && earlier) return { ...known, closed_ms };
  return { ...known, ends_ms: fires ? ends_ms : closed_ms, timeout: false, closed_ms, updated_at_ms: now_ms };
}

function fires(known: StoredAlert | null, message: AlertMessage, now_ms: number): StoredAlert {
  const ends_ms = message.ends_ms ?? now_ms + RESOLVE_TIMEOUT_MS;
  const timeout = message.ends_ms === null;
  const starts_ms = message.starts_ms ?? now_ms;
  if (known === null)
    return { ...first(message, now_ms), starts_ms, ends_ms, timeout, asserted_ms: message.ends_ms, closed_ms: null };
  const going = known.ends_ms > now_ms;
  if (isRepeat(known, message, going)) return known;
  const asserted_ms = timeout ? known.asserted_ms : Math.max(known.asserted_ms ?? ends_ms, ends_ms);
  const until_ms = going && (timeout || !known.timeout) ? Math.max(known.ends_ms, ends_ms) : ends_ms;
  const shown = !going || ends_ms >= known.ends_ms ? message : known;
  return {
    ...known,
    annotations: shown.annotations,
    generator_url: shown.generator_url,
    starts_ms: going ? Math.min(known.starts_ms, starts_ms) : starts_ms,
    ends_ms: until_ms,
    timeout: timeout && until_ms === ends_ms,
    asserted_ms,
    updated_at_ms: now_ms,
  };
}

/** Its end was named before, and it began before the alert was closed or no earlier than what fires already. */
function isRepeat(known: StoredAlert, { starts_ms, ends_ms }: AlertMessage, going: boolean): boolean {
  const { closed_ms, asserted_ms } = known;
  if (asserted_ms === null || starts_ms === null || ends_ms === null || ends_ms > asserted_ms) return false;
  return (closed_ms !== null && starts_ms < closed_ms) || (going && starts_ms >= known.starts_ms);
}

function first(message: AlertMessage, now_ms: number) {
  const { labels, annotations, generator_url } = message;
  const key = `external:${hash64(canonical(labels, (label) => label !== 'severity'))}`;
  return { key, labels, annotations, generator_url, updated_at_ms: now_ms };
}

/** Characters of a title: what a list shows in two lines. */
const TITLE_MAX = 300;

/**
 * What alerts come to at `now_ms`, one finding a key: a label set without its `severity`, so that an escalation stays one
 * incident. Value 2 while one of them that is `critical` or `page` fires, 1 while another does, 0 once all are over.
 * `alerts` holds every alert of each key that it names.
 */
export function externalFindings(alerts: readonly StoredAlert[], now_ms: number): Finding[] {
  const keys = Map.groupBy(alerts, ({ key }) => key);
  return [...keys.values()].map((group) => findingOf(group, now_ms));
}

function findingOf(group: readonly StoredAlert[], now_ms: number): Finding {
  const firing = group.filter(({ ends_ms }) => ends_ms > now_ms);
  const ranked = (firing.length === 0 ? group : firing).toSorted(
    (one, other) => weight(other) - weight(one) || other.ends_ms - one.ends_ms,
  );
  const shown = ranked[0];
  assert(shown !== undefined, 'a key is named by the alerts that have it');
  const { labels, annotations, generator_url, key } = shown;
  const starts_ms = Math.min(now_ms, ...ranked.map((item) => item.starts_ms));
  const alertname = labels['alertname'] ?? 'alert';
  return {
    name: 'external.alert',
    key,
    scope: { source: labels['instance'] ?? 'alertmanager' },
    subjects: [{ type: 'alert', id: alertname }],
    cause: 'external',
    value: firing.length === 0 ? 0 : weight(shown),
    reason: null,
    data_count: group.length,
    coverage_ratio: 1,
    window: { from_ms: starts_ms, to_ms: now_ms },
    started_at_ms: starts_ms,
    gpu_seconds_lost: null,
    usd_lost: null,
    usd_per_hour: null,
    title: (annotations['summary'] || annotations['description'] || alertname).slice(0, TITLE_MAX),
    evidence: { labels, annotations, generator_url, ends_at_ms: Math.max(...group.map(({ ends_ms }) => ends_ms)) },
  };
}

function weight({ labels }: StoredAlert): 1 | 2 {
  return ['critical', 'page'].includes((labels['severity'] ?? '').toLowerCase()) ? 2 : 1;
}
