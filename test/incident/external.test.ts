import { expect, test } from 'vitest';
import { externalFindings } from '../../src/incident/external.ts';
import { openHouse } from '../pipeline/desk-house.ts';
import { ruleOf } from './fixtures.ts';

const START_MS = Date.UTC(2026, 0, 1);
const iso = (at_ms: number) => new Date(at_ms).toISOString();
const alert = (labels: Record<string, string>, rest: Record<string, unknown> = {}) => ({
  labels: { alertname: 'NodeDown', instance: 'n1', ...labels },
  annotations: { summary: 'n1 is down' },
  startsAt: iso(START_MS - 1000),
  ...rest,
});

test('one incident a label set whatever the order of labels, severity aside', () => {
  const [a, b, c, d] =
    externalFindings(
      [
        { labels: { alertname: 'A', instance: 'n1' } },
        { labels: { instance: 'n1', alertname: 'A', severity: 'critical' } },
        { labels: { alertname: 'A', instance: 'n2' } },
        { labels: { alertname: 'A' } },
      ],
      START_MS,
    ) ?? [];
  expect(a?.key).toBe(b?.key);
  expect(new Set([a?.key, c?.key, d?.key]).size).toBe(3);
});

test('critical and page page, everything else warns, a past endsAt is over and a zero one is not', () => {
  const values = externalFindings(
    [
      alert({ severity: 'critical' }),
      alert({ severity: 'Page' }),
      alert({ severity: 'info' }),
      alert({}),
      alert({}, { endsAt: iso(START_MS) }),
      alert({}, { endsAt: '0001-01-01T00:00:00Z' }),
      alert({}, { endsAt: 'tomorrow' }),
    ],
    START_MS,
  );
  expect(values?.map(({ value }) => value)).toEqual([2, 2, 1, 1, 0, 1, 1]);
});

test.each([
  [null],
  [{}],
  [[1]],
  [[{ labels: {} }]],
  [[{ labels: { a: 1 } }]],
  [[{}]],
  [Array(1001).fill({ labels: { a: 'b' } })],
])('what is no list of alerts gives null', (value) => {
  expect(externalFindings(value, START_MS)).toBeNull();
});

test('an alert opens, escalates without a second incident, and ends when its endsAt passes unrepeated', async () => {
  const rule = ruleOf({
    id: 'external.alert',
    finding: 'external.alert',
    fire: { above: 0.5 },
    clear: { below: 0.5 },
    page: { above: 1.5 },
  });
  await using house = await openHouse({ rules: [rule] });
  const judge = (value: unknown, now_ms: number) => house.desk.judge(externalFindings(value, now_ms) ?? [], now_ms);
  await judge([alert({ severity: 'warning' }, { endsAt: iso(START_MS + 5000) })], START_MS);
  await judge([alert({ severity: 'critical' }, { endsAt: iso(START_MS + 9000) })], START_MS + 1000);
  expect(await house.incidents()).toMatchObject([
    { kind: 'external', severity: 'page', status: 'open', title: 'n1 is down', source: 'n1' },
  ]);
  await judge([], START_MS + 8999);
  expect((await house.incidents())[0]?.state).toBe('firing');
  await judge([], START_MS + 9000);
  expect(await house.incidents()).toMatchObject([{ status: 'resolved', state: 'resolved' }]);
});
