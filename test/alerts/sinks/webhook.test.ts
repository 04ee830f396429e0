import { HTTP } from 'cloudevents';
import { Webhook } from 'standardwebhooks';
import { expect, test } from 'vitest';
import { webhook } from '../../../alerts/sinks/webhook.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { createHttpClient } from '../../../src/transport/http-client.ts';
import { verifyWebhook } from '../../../src/transport/webhook-signature.ts';
import { Receiver } from '../../transport/receiver.ts';
import { contextOf, notificationOf, NOW_MS } from './notifications.ts';

const secretOf = (text: string) => `whsec_${Buffer.from(text.padEnd(32, '.')).toString('base64')}`;
const OLD = secretOf('the old secret');
const NEW = secretOf('the new secret');
const signal = new AbortController().signal;

test('a receiver verifies the signature with the Standard Webhooks library and reads a CloudEvent from the same POST', async () => {
  await using receiver = await Receiver.open((response) => response.writeHead(204).end());
  const client = createHttpClient({
    egress: { allow_hosts: ['127.0.0.1'], allow_cidrs: [], allow_http: true },
    clock: systemClock,
    timeout_ms: 5000,
  });
  const notification = notificationOf();
  const context = {
    ...contextOf({ url: `http://127.0.0.1:${receiver.port}/hook` }, { secret_file: [OLD] }),
    now_ms: systemClock.now_ms(),
  };
  const answer = await client.post(webhook.render(notification, context), signal);
  expect(answer.kind === 'ok' ? webhook.classify(answer.value, NOW_MS).kind : answer).toBe('ok');
  const [received] = receiver.received;
  if (received === undefined) throw new Error('nothing arrived');
  const body = new Webhook(OLD).verify(received.body, received.headers);
  expect(body).toEqual({ type: notification.type, timestamp: '2026-01-02T03:04:05.000Z', data: notification.data });
  expect(() => new Webhook(NEW).verify(received.body, received.headers)).toThrow();
  const event = HTTP.toEvent({ headers: received.headers, body: received.body });
  expect(event).toMatchObject({
    id: 'msg_1',
    source: '/leeway/test',
    type: 'leeway.incident.opened',
    subject: 'incident/inc_1',
    specversion: '1.0',
    time: '2026-01-02T03:04:05.000Z',
    datacontenttype: 'application/json',
  });
  expect(received.headers).toMatchObject({ 'content-type': 'application/json', 'webhook-id': 'msg_1' });
});

test('during a rotation both secrets verify, and a forged body verifies with neither', () => {
  const request = webhook.render(
    notificationOf(),
    contextOf({ url: 'https://a.example' }, { secret_file: [NEW, OLD] }),
  );
  expect(request.headers['webhook-signature']?.split(' ')).toHaveLength(2);
  const now_ms = NOW_MS + 1000;
  expect(verifyWebhook([OLD], request, now_ms)).toBe(true);
  expect(verifyWebhook([NEW], request, now_ms)).toBe(true);
  expect(verifyWebhook([secretOf('another')], request, now_ms)).toBe(false);
  expect(verifyWebhook([OLD, NEW], { ...request, body: request.body.replace('inc_1', 'inc_2') }, now_ms)).toBe(false);
});

test('a retry has the same id and body, and a signature over the time of its own attempt', () => {
  const context = contextOf({ url: 'https://a.example' }, { secret_file: [OLD] });
  const first = webhook.render(notificationOf(), context);
  const second = webhook.render(notificationOf(), { ...context, now_ms: context.now_ms + 3_600_000 });
  expect(second.body).toBe(first.body);
  expect(second.headers['webhook-id']).toBe(first.headers['webhook-id']);
  expect(Number(second.headers['webhook-timestamp'])).toBe(Number(first.headers['webhook-timestamp']) + 3600);
  expect(second.headers['webhook-signature']).not.toBe(first.headers['webhook-signature']);
});

test('a signature is refused more than five minutes off either way, without headers, and of another version', () => {
  const request = webhook.render(notificationOf(), contextOf({ url: 'https://a.example' }, { secret_file: [OLD] }));
  const sent_ms = NOW_MS + 1000;
  expect([-301, -300, 300, 301].map((s) => verifyWebhook([OLD], request, sent_ms + s * 1000))).toEqual([
    false,
    true,
    true,
    false,
  ]);
  for (const name of ['webhook-id', 'webhook-timestamp', 'webhook-signature'])
    expect(
      verifyWebhook([OLD], { ...request, headers: { ...request.headers, [name]: undefined } }, sent_ms),
      name,
    ).toBe(false);
  const signature = request.headers['webhook-signature'] ?? '';
  const other = { ...request.headers, 'webhook-signature': signature.replace('v1,', 'v2,') };
  expect(verifyWebhook([OLD], { ...request, headers: other }, sent_ms)).toBe(false);
});

test.each(['', 'plain', 'whsec_', 'whsec_not base64', 'WHSEC_AAAA'])(
  'a secret "%s" is a configuration error that does not show it',
  (secret) => {
    const context = contextOf({ url: 'https://a.example' }, { secret_file: [secret] });
    expect(() => webhook.render(notificationOf(), context)).toThrow(expect.objectContaining({ code: 'LW-CONFIG' }));
  },
);

test('subjects that are no header text travel percent-encoded', () => {
  const request = webhook.render(
    notificationOf({ subject: 'decision/mödel "x" 100%\r\nx: y' }),
    contextOf({ url: 'https://a.example' }),
  );
  expect(request.headers['ce-subject']).toBe('decision/m%C3%B6del%20%22x%22%20100%25%0D%0Ax:%20y');
  expect(request.headers['webhook-signature']).toBeUndefined();
});
