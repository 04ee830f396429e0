import { expect, test } from 'vitest';
import { webhookBody } from '../../src/formats/webhook-body.ts';
import { notificationOf } from '../alerts/sinks/notifications.ts';

const bytes = (text: string) => Buffer.byteLength(text);
const parsed = (text: string): { data: Record<string, unknown> } => JSON.parse(text);

test('what fits is sent whole', () => {
  const notification = notificationOf();
  expect(parsed(webhookBody(notification)).data).toEqual(notification.data);
});

test('large evidence stays behind data.url, everything else is whole', () => {
  const base = notificationOf();
  const findings = [
    {
      name: 'f',
      value: 1,
      threshold: 0,
      window: { from_ms: 0, to_ms: 1 },
      evidence: { series: Array(5000).fill(1.25) },
    },
  ];
  const body = webhookBody({ ...base, data: { ...base.data, findings } });
  expect(bytes(body)).toBeLessThanOrEqual(20_000);
  expect(parsed(body).data).toMatchObject({
    incident: base.data['incident'],
    url: base.data['url'],
    truncated: true,
    findings: [{ name: 'f', value: 1, evidence: { omitted: 'too large for a webhook, see data.url' } }],
  });
});

test.each([
  [
    'ten thousand features',
    { features: Array.from({ length: 10_000 }, (_, index) => ({ name: `feature ${index}`, p_value: 0.5 })) },
  ],
  ['a text of a megabyte', { reason: 'é'.repeat(500_000) }],
  ['deep lists of long texts', { a: Array(50).fill({ b: Array(50).fill('c'.repeat(3000)) }) }],
])('%s is cut to 20 KB of valid JSON with its url', (_title, extra) => {
  const base = notificationOf();
  const body = webhookBody({ ...base, data: { ...base.data, ...extra } });
  expect(bytes(body)).toBeLessThanOrEqual(20_000);
  expect(parsed(body).data).toMatchObject({ url: base.data['url'], truncated: true });
});
