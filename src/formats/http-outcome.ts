import type { SinkResponse } from '../core/define.ts';
import { ok, type Outcome, reject, retry } from '../core/outcome.ts';

/** The longest Retry-After that is obeyed: a day. More is a mistake or a refusal, and the horizon of retries rules. */
const RETRY_AFTER_MS_MAX = 86_400_000;
const AGAIN = new Set([408, 425, 429]);

/**
 * What an HTTP answer means for a delivery (contract: api.md): 2xx delivered; 410 = never again; 408, 425, 429 and 5xx
 * retry, obeying Retry-After; any redirect and every other 4xx are final.
 */
export function classifyHttp(response: SinkResponse, now_ms: number): Outcome {
  const { status } = response;
  if (status >= 200 && status < 300) return ok(undefined);
  if (status === 410) return reject('LW-SINK-GONE', 'answered 410, gone');
  if (AGAIN.has(status) || status >= 500)
    return retry('LW-DELIVERY', `answered ${status}`, retryAfterMs(response.headers['retry-after'], now_ms));
  if (status >= 300 && status < 400) return reject('LW-DELIVERY', `answered ${status}; redirects are not followed`);
  return reject('LW-DELIVERY', `answered ${status}`);
}

/** Retry-After in milliseconds: seconds or an HTTP date (RFC 9110 §10.2.3); null when absent or unreadable. */
export function retryAfterMs(value: string | undefined, now_ms: number): number | null {
  if (value === undefined) return null;
  const text = value.trim();
  if (/^\d{1,9}$/.test(text)) return Math.min(Number(text) * 1000, RETRY_AFTER_MS_MAX);
  const at_ms = /^[A-Za-z]{3},/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(at_ms) ? null : Math.min(Math.max(0, at_ms - now_ms), RETRY_AFTER_MS_MAX);
}
