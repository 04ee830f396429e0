import type { Notification, SinkContext, SinkRequest } from '../core/define.ts';
import { webhookBody } from './webhook-body.ts';

/**
 * The one POST of every webhook that Leeway sends: Standard Webhooks 1.0.0 (id, time of the attempt, HMAC-SHA256, one
 * signature a secret) and CloudEvents 1.0 in binary mode at once (contract: api.md "Webhooks that Leeway sends").
 */
export function webhookRequest(
  notification: Notification,
  { settings, secrets, installation, now_ms, sign }: SinkContext<{ readonly url: string }>,
): SinkRequest {
  const body = webhookBody(notification);
  const timestamp_s = Math.floor(now_ms / 1000);
  const keys = secrets['secret_file'] ?? [];
  const signature = sign(keys, { id: notification.id, timestamp_s, body });
  return {
    url: settings.url,
    headers: {
      'content-type': 'application/json',
      'user-agent': 'leeway',
      'webhook-id': notification.id,
      'webhook-timestamp': String(timestamp_s),
      ...(keys.length === 0 ? {} : { 'webhook-signature': signature }),
      'ce-specversion': '1.0',
      'ce-id': notification.id,
      'ce-source': `/leeway/${installation}`,
      'ce-type': notification.type,
      'ce-subject': headerText(notification.subject),
      'ce-time': new Date(notification.at_ms).toISOString(),
    },
    body,
  };
}

/** CloudEvents HTTP binding §3.1.3.2: what is not printable ASCII, `"` and `%` travel percent-encoded as UTF-8. */
function headerText(text: string): string {
  return text.replaceAll(/[^\x21-\x7e]|["%]/gu, (letter) => encodeURIComponent(letter));
}
