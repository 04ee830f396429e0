import { expect, test } from 'vitest';
import { LIMITS } from '../../src/core/limits.ts';
import { parseAlerts } from '../../src/incident/external-message.ts';

const labels = { alertname: 'NodeDown', instance: 'n1' };
const errorsOf = (body: unknown) => parseAlerts(body).errors;

test('an alert is read with its times in Unix ms; nanoseconds, offsets and Go zero times are what they mean', () => {
  const body = [
    {
      labels,
      annotations: { summary: 'n1 is down' },
      startsAt: '2026-01-01T00:00:00.123456789Z',
      endsAt: '2026-01-01T01:00:00+01:00',
      generatorURL: 'http://prometheus:9090/graph',
      fingerprint: 'unknown fields are kept out, not refused',
    },
    { labels, annotations: null, startsAt: null, endsAt: '0001-01-01T00:00:00.000Z' },
  ];
  // 2026-01-01T00:00:00Z is 1_767_225_600_000; the offset of +01:00 brings 01:00 back to midnight
  expect(parseAlerts([body[1]])).toEqual({
    messages: [{ labels, annotations: {}, generator_url: null, starts_ms: null, ends_ms: null }],
    errors: [],
  });
  expect(parseAlerts([{ ...body[0], endsAt: '2026-01-01T01:00:01+01:00' }]).messages).toEqual([
    {
      labels,
      annotations: { summary: 'n1 is down' },
      generator_url: 'http://prometheus:9090/graph',
      starts_ms: 1_767_225_600_123,
      ends_ms: 1_767_225_601_000,
    },
  ]);
  expect(errorsOf([body[0]])).toMatchObject([{ path: 'body[0].endsAt', expected: 'not before startsAt' }]);
});

test('labels with an empty value do not count', () => {
  expect(parseAlerts([{ labels: { ...labels, team: '' } }]).messages[0]?.labels).toEqual(labels);
  expect(errorsOf([{ labels: { team: '' } }])).toMatchObject([{ path: 'body[0].labels', got: 'none' }]);
});

test('each wrong alert is named by its place, the others are read', () => {
  const { messages, errors } = parseAlerts([
    { labels },
    1,
    { labels: { a: 1 } },
    {},
    { labels, endsAt: 'tomorrow' },
    { labels, startsAt: 1_767_225_600_000 },
    { labels: { alertname: 'Other' } },
    { labels: [] },
    { labels: { '': 'no name' } },
    { labels, annotations: { text: { deep: true } } },
    { labels, endsAt: '2026-13-01T00:00:00Z' },
    { labels: Object.fromEntries(Array.from({ length: 65 }, (_, index) => [`l${index}`, 'x'])) },
  ]);
  expect(messages.map((message) => message.labels['alertname'])).toEqual(['NodeDown', 'Other']);
  expect(errors.map(({ path, got }) => [path, got])).toEqual([
    ['body[1]', 'number'],
    ['body[2].labels.a', 'number'],
    ['body[3]', 'object'],
    ['body[4].endsAt', '"tomorrow"'],
    ['body[5].startsAt', 'number'],
    ['body[7].labels', 'a list'],
    ['body[8].labels', 'an empty name'],
    ['body[9].annotations.text', 'object'],
    ['body[10].endsAt', '"2026-13-01T00:00:00Z"'],
    ['body[11].labels', 'object'],
  ]);
});

test.each([[null], [{}], ['[]'], [1]])('%j is no list of alerts', (body) => {
  expect(parseAlerts(body)).toMatchObject({ messages: [], errors: [{ path: 'body', expected: 'a list of alerts' }] });
});

test('a list is at most so long, an alert at most so large', () => {
  const many = Array.from({ length: LIMITS.external_alerts_request_max + 1 }, () => ({ labels }));
  expect(parseAlerts(many)).toMatchObject({ messages: [], errors: [{ path: 'body', got: String(many.length) }] });
  expect(parseAlerts(many.slice(1)).messages).toHaveLength(LIMITS.external_alerts_request_max);
  const large = { labels, annotations: { description: 'x'.repeat(LIMITS.external_alert_bytes_max) } };
  expect(errorsOf([large])).toMatchObject([{ path: 'body[0]' }]);
});

test('names that mean something to JavaScript are names like any other', () => {
  const { messages, errors } = parseAlerts(
    JSON.parse('[{"labels":{"__proto__":"p","constructor":"c","toString":"t"},"__proto__":{"labels":{}}}]'),
  );
  expect(errors).toEqual([]);
  expect(Object.entries(messages[0]?.labels ?? {})).toEqual([
    ['__proto__', 'p'],
    ['constructor', 'c'],
    ['toString', 't'],
  ]);
  expect(Object.getPrototypeOf(messages[0]?.labels)).toBe(Object.prototype);
});
