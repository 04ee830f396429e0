import { describe, expect, test } from 'vitest';
import { alertmanager } from '../../../alerts/sinks/alertmanager.ts';
import { pagerduty } from '../../../alerts/sinks/pagerduty.ts';
import { slack } from '../../../alerts/sinks/slack.ts';
import { contextOf, notificationOf, NOW_MS } from './notifications.ts';

const KEY = 'R'.repeat(32);
const answer = (status: number, body = '', headers: Record<string, string> = {}) => ({ status, headers, body });
const watchdog = notificationOf({
  type: 'leeway.watchdog',
  subject: 'sink/x',
  severity: null,
  data: { at_ms: NOW_MS },
});

describe('slack', () => {
  const context = contextOf({ url_file: 'f' }, { url_file: ['https://hooks.slack.example/services/T/B/x'] });
  const said = (
    notification = notificationOf(),
  ): {
    text: string;
    blocks: { type: string; text?: { text: string }; fields?: { text: string }[]; elements?: { text: string }[] }[];
  } => JSON.parse(slack.render(notification, context).body);

  test('says what, where, since when and what it costs, with links, and a fallback text', () => {
    const { text, blocks } = said();
    expect(slack.render(notificationOf(), context).url).toBe('https://hooks.slack.example/services/T/B/x');
    expect(text).toContain('Warning: Rank 2 is 30 % slower than usual (thermal)');
    const all = JSON.stringify(blocks);
    expect(all).toContain('$0.42, $9.00/h');
    expect(all).toContain('<http://leeway.test/incidents/inc_1|Open in Leeway>');
    expect(all).toContain('straggler.slow_rank.md|Runbook>');
  });

  test('names from telemetry cannot mention, link or format', () => {
    const { text, blocks } = said(notificationOf({}, { title: '<!channel> <http://evil|click> *bold* & more' }));
    expect(text).not.toContain('<!channel>');
    expect(text).toContain('&lt;!channel&gt;');
    expect(blocks[0]?.text?.text).toContain('&amp; more');
    expect(blocks[0]?.text?.text).not.toContain('<http');
  });

  test('the limits of Slack hold for the longest names, escapes included', () => {
    const long = '<&>'.repeat(5000);
    const subjects = Array.from({ length: 500 }, (_, index) => ({ type: 'rank', id: `${index}${'&'.repeat(500)}` }));
    const { text, blocks } = said(notificationOf({}, { title: long, cause: long, subjects }));
    expect(text.length).toBeLessThanOrEqual(3000);
    expect(blocks.length).toBeLessThanOrEqual(50);
    for (const block of blocks) {
      expect(block.text?.text.length ?? 0).toBeLessThanOrEqual(3000);
      expect(block.fields?.length ?? 0).toBeLessThanOrEqual(10);
      for (const field of block.fields ?? []) expect(field.text.length).toBeLessThanOrEqual(2000);
      expect(block.elements?.length ?? 0).toBeLessThanOrEqual(10);
    }
    expect(text).not.toMatch(/&(?!(amp|lt|gt);)/);
  });

  test('only 200 with "ok" is delivered; a dead hook is gone; rate limits wait', () => {
    expect(slack.classify(answer(200, 'ok'), NOW_MS).kind).toBe('ok');
    expect(slack.classify(answer(200, 'invalid_blocks'), NOW_MS)).toMatchObject({
      kind: 'reject',
      code: 'LW-DELIVERY',
    });
    expect(slack.classify(answer(404, 'no_service'), NOW_MS)).toMatchObject({ kind: 'reject', code: 'LW-SINK-GONE' });
    expect(slack.classify(answer(400, 'invalid_payload'), NOW_MS)).toMatchObject({
      kind: 'reject',
      code: 'LW-DELIVERY',
    });
    expect(slack.classify(answer(429, '', { 'retry-after': '3' }), NOW_MS)).toMatchObject({
      kind: 'retry',
      after_ms: 3000,
    });
  });

  test('a 200 whose body was cut short before its "ok" is delivered: nobody can say that it was refused', () => {
    for (const body of ['', 'o'])
      expect(slack.classify({ ...answer(200, body), body_cut: true }, NOW_MS).kind).toBe('ok');
    expect(slack.classify(answer(200, ''), NOW_MS).kind).toBe('reject');
  });

  test('a secret file without an address is a configuration error', () => {
    expect(() => slack.render(notificationOf(), contextOf({}, { url_file: ['nonsense'] }))).toThrow(
      expect.objectContaining({ code: 'LW-CONFIG' }),
    );
    expect(said(watchdog).text).toContain('Leeway is alive');
  });
});

describe('pagerduty', () => {
  const context = contextOf({ base_url: 'https://events.pagerduty.example/' }, { routing_key_file: [KEY] });
  const event = (notification = notificationOf()): Record<string, unknown> & { payload: Record<string, unknown> } =>
    JSON.parse(pagerduty.render(notification, context).body);

  test('an opening triggers, an acknowledgement acknowledges and a resolution resolves under one dedup_key', () => {
    const of = (last: string) => event(notificationOf({ type: `leeway.incident.${last}` }));
    const all = ['opened', 'escalated', 'acknowledged', 'resolved'].map(of);
    expect(all.map((item) => item['event_action'])).toEqual(['trigger', 'trigger', 'acknowledge', 'resolve']);
    expect(new Set(all.map((item) => item['dedup_key']))).toEqual(new Set(['leeway:test:inc_1']));
    expect(all[0]).toMatchObject({
      routing_key: KEY,
      payload: {
        summary: 'Rank 2 is 30 % slower than usual (thermal)',
        source: 'rank 2',
        severity: 'warning',
        component: 'digits',
        class: 'slow_rank',
        timestamp: '2026-01-02T03:04:05.000Z',
      },
      links: [{ href: 'http://leeway.test/incidents/inc_1' }, { text: 'Runbook' }],
      client_url: 'http://leeway.test/incidents/inc_1',
    });
    expect(pagerduty.render(notificationOf(), context).url).toBe('https://events.pagerduty.example/v2/enqueue');
  });

  test('a page is critical and a test is only information', () => {
    expect(event(notificationOf({ severity: 'page' })).payload['severity']).toBe('critical');
    expect(event(watchdog).payload['severity']).toBe('info');
  });

  test('the limits hold: summary 1024, event 512,000 bytes with the evidence left out first', () => {
    const base = notificationOf({}, { title: 'x'.repeat(5000) });
    const large = event({ ...base, data: { ...base.data, findings: ['y'.repeat(600_000)] } });
    expect(String(large.payload['summary']).length).toBe(1024);
    expect(Buffer.byteLength(JSON.stringify(large))).toBeLessThanOrEqual(512_000);
    expect(large.payload['custom_details']).toHaveProperty('note');
  });

  test('accepts incidents alone, retries 429 and 5xx, and wants a routing key of 32', () => {
    expect(
      ['leeway.incident.opened', 'leeway.incident.acknowledged', 'leeway.retrain.requested', 'leeway.cost.anomaly'].map(
        pagerduty.accepts,
      ),
    ).toEqual([true, true, false, false]);
    expect([202, 400, 429, 500].map((status) => pagerduty.classify(answer(status), NOW_MS).kind)).toEqual([
      'ok',
      'reject',
      'retry',
      'retry',
    ]);
    expect(() =>
      pagerduty.render(notificationOf(), contextOf({ base_url: 'https://x' }, { routing_key_file: ['short'] })),
    ).toThrow(expect.objectContaining({ code: 'LW-CONFIG' }));
  });
});

describe('alertmanager', () => {
  const context = contextOf({ url: 'https://am.example/alertmanager/', resend_ms: 60_000 });
  const alerts = (
    notification = notificationOf(),
  ): {
    labels: Record<string, string>;
    annotations: Record<string, string>;
    startsAt: string;
    endsAt: string;
    generatorURL: string;
  }[] => JSON.parse(alertmanager.render(notification, context).body);

  test('an open incident is an alert of API v2 that lasts an hour unless it is repeated', () => {
    expect(alertmanager.render(notificationOf(), context).url).toBe('https://am.example/alertmanager/api/v2/alerts');
    expect(alerts()).toMatchObject([
      {
        labels: {
          alertname: 'straggler.slow_rank',
          severity: 'warning',
          incident: 'inc_1',
          job: 'digits',
          kind: 'slow_rank',
        },
        annotations: { summary: 'Rank 2 is 30 % slower than usual (thermal)', cause: 'thermal' },
        startsAt: '2026-01-02T03:04:05.000Z',
        endsAt: '2026-01-02T04:04:06.000Z',
        generatorURL: 'http://leeway.test/incidents/inc_1',
      },
    ]);
  });

  test('a resolution ends the same labels at its own time', () => {
    const [open] = alerts();
    const [over] = alerts(notificationOf({ type: 'leeway.incident.resolved' }, { resolved_at_ms: NOW_MS + 500 }));
    expect(over?.labels).toEqual(open?.labels);
    expect(over?.endsAt).toBe('2026-01-02T03:04:05.500Z');
  });

  test('an escalation ends the warning and starts the page', () => {
    const sent = alerts(notificationOf({ type: 'leeway.incident.escalated', severity: 'page' }));
    expect(sent.map(({ labels, endsAt }) => [labels['severity'], endsAt])).toEqual([
      ['critical', '2026-01-02T04:04:06.000Z'],
      ['warning', '2026-01-02T03:04:05.000Z'],
    ]);
  });

  test('endsAt is never before startsAt, whatever the clocks said', () => {
    const [over] = alerts(notificationOf({ type: 'leeway.incident.resolved' }, { resolved_at_ms: NOW_MS - 10_000 }));
    expect(over?.endsAt).toBe(over?.startsAt);
  });
});
