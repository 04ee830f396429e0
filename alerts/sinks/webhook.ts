import Type from 'typebox';
import { defineSink } from '../../src/core/define.ts';
import { classifyHttp } from '../../src/formats/http-outcome.ts';
import { webhookBody } from '../../src/formats/webhook-body.ts';

/** Types that are for one kind of sink only and no part of the webhook contract. */
const NOT_OURS = new Set(['leeway.incident.acknowledged']);

/**
 * Any HTTPS endpoint: one POST that carries Standard Webhooks 1.0.0 (id, time of the attempt, HMAC-SHA256) and
 * CloudEvents 1.0 in binary mode at once (contract: api.md "Webhooks that Leeway sends").
 */
export const webhook = defineSink({
  name: 'webhook',
  about: 'POST to an address of yours, signed by Standard Webhooks and readable as a CloudEvent.',
  config: Type.Object(
    {
      url: Type.String({ pattern: '^https?://[^\\s]+$', maxLength: 2048 }),
      /** A file with `whsec_` + base64; a second line is the next secret during a rotation. */
      secret_file: Type.Optional(Type.String({ minLength: 1 })),
    },
    { additionalProperties: false },
  ),
  accepts: (type) => !NOT_OURS.has(type),
  render: (notification, { settings, secrets, installation, now_ms, sign }) => {
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
  },
  classify: classifyHttp,
});

/** CloudEvents HTTP binding §3.1.3.2: what is not printable ASCII, `"` and `%` travel percent-encoded as UTF-8. */
function headerText(text: string): string {
  return text.replaceAll(/[^\x21-\x7e]|["%]/gu, (letter) => encodeURIComponent(letter));
}
