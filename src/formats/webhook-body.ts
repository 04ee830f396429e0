import type { Notification } from '../core/define.ts';
import { LIMITS } from '../core/limits.ts';

/** Items that a list in a body keeps when everything does not fit; the whole is behind `data.url`. */
const KEEP = [100, 30, 10, 3, 0];

/**
 * The body of a webhook (contract: api.md): `{"type","timestamp","data"}` of at most 20 KB in UTF-8. The timestamp is the
 * event's, so that the body is the same on every retry. What does not fit is left out from the most detailed inwards,
 * evidence first, then the tails of lists and long texts, and `data.truncated` says so.
 */
export function webhookBody(notification: Notification, bytes_max: number = LIMITS.webhook_body_bytes_max): string {
  const whole = written(notification, notification.data);
  if (fits(whole, bytes_max)) return whole;
  const plain = withoutEvidence(notification.data);
  for (const keep of KEEP) {
    const body = written(notification, { ...shortened(plain, keep, 2000), truncated: true });
    if (fits(body, bytes_max)) return body;
  }
  return written(notification, { ...shortened(plain, 0, 64), truncated: true });
}

function written({ type, at_ms }: Notification, data: object): string {
  return JSON.stringify({ type, timestamp: new Date(at_ms).toISOString(), data });
}

function fits(body: string, bytes_max: number): boolean {
  return new TextEncoder().encode(body).length <= bytes_max;
}

function withoutEvidence(data: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const findings = data['findings'];
  const evidence = { omitted: 'too large for a webhook, see data.url' };
  if (!Array.isArray(findings)) return 'evidence' in data ? { ...data, evidence } : { ...data };
  return { ...data, findings: findings.map((finding: object) => ({ ...finding, evidence })) };
}

/** Lists cut to `keep` items and texts to `letters`, at any depth; addresses and ids are short and stay whole. */
function shortened(value: Readonly<Record<string, unknown>>, keep: number, letters: number): Record<string, unknown> {
  const cut = (item: unknown): unknown => {
    if (typeof item === 'string') return item.length > letters ? `${item.slice(0, letters)}…` : item;
    if (Array.isArray(item)) return item.slice(0, keep).map(cut);
    if (typeof item === 'object' && item !== null)
      return Object.fromEntries(Object.entries(item).map(([key, inner]) => [key, cut(inner)]));
    return item;
  };
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, key === 'url' ? item : cut(item)]));
}
