import { Webhook } from 'standardwebhooks';
import { LeewayError } from '../core/errors.ts';

/** Seconds that a signed time may be off, both ways (Standard Webhooks 1.0.0 "Verifying webhook authenticity"). */
const TOLERANCE_S = 300;

/**
 * The `webhook-signature` of Standard Webhooks 1.0.0: `v1,<base64 HMAC-SHA256 of id.timestamp.body>`, one for each
 * secret (two during rotation), separated by a space. Secrets are `whsec_` + base64. Throws LW-CONFIG for another form.
 */
export function signWebhook(
  secrets: readonly string[],
  message: { readonly id: string; readonly timestamp_s: number; readonly body: string },
): string {
  return secrets.map((secret) => signed(secret, message)).join(' ');
}

function signed(secret: string, { id, timestamp_s, body }: { id: string; timestamp_s: number; body: string }): string {
  if (!/^whsec_[A-Za-z0-9+/]{4,}={0,2}$/.test(secret))
    throw new LeewayError('LW-CONFIG', 'a webhook secret is not "whsec_" followed by base64; write a new secret file');
  return new Webhook(secret).sign(id, new Date(timestamp_s * 1000), body);
}

/**
 * Whether a request carries a signature that one of `secrets` made, within five minutes of `now_ms`. Header names in
 * lower case. Comparison takes the same time wherever the first difference is.
 */
export function verifyWebhook(
  secrets: readonly string[],
  request: { readonly headers: Readonly<Record<string, string | undefined>>; readonly body: string },
  now_ms: number,
): boolean {
  const { 'webhook-id': id, 'webhook-timestamp': time, 'webhook-signature': given } = request.headers;
  if (id === undefined || given === undefined || time === undefined || !/^\d{1,12}$/.test(time)) return false;
  const timestamp_s = Number(time);
  if (Math.abs(Math.floor(now_ms / 1000) - timestamp_s) > TOLERANCE_S) return false;
  const candidates = given.split(' ').slice(0, 16);
  let good = false;
  for (const secret of secrets) {
    const expected = signed(secret, { id, timestamp_s, body: request.body });
    for (const candidate of candidates) good = sameText(candidate, expected) || good;
  }
  return good;
}

function sameText(a: string, b: string): boolean {
  let difference = a.length ^ b.length;
  for (let index = 0; index < b.length; index++) difference |= (a.charCodeAt(index) || 0) ^ b.charCodeAt(index);
  return difference === 0;
}
