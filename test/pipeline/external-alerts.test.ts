import { expect, test } from 'vitest';
import { EXTERNAL_ALERTS } from '../../src/control/collections.ts';
import { LIMITS } from '../../src/core/limits.ts';
import type { AlertMessage } from '../../src/incident/external-message.ts';
import { ExternalAlerts } from '../../src/pipeline/external-alerts.ts';
import { ruleOf } from '../incident/fixtures.ts';
import { type House, openHouse } from './desk-house.ts';

const RULE = ruleOf({
  id: 'external.alert',
  finding: 'external.alert',
  fire: { above: 0.5 },
  clear: { below: 0.5 },
  page: { above: 1.5 },
});

function message(labels: Record<string, string>, changes: Partial<AlertMessage> = {}): AlertMessage {
  return {
    labels: { alertname: 'NodeDown', instance: 'n1', ...labels },
    annotations: { summary: 'n1 is down' },
    generator_url: null,
    starts_ms: null,
    ends_ms: null,
    ...changes,
  };
}

/** A second of the service: what changed is judged. */
async function second(house: House, alerts: ExternalAlerts): Promise<number> {
  await house.clock.advance(1000);
  const now_ms = house.clock.now_ms();
  const findings = await alerts.findings(now_ms);
  await house.desk.judge(findings, now_ms);
  return findings.length;
}

const remembered = async ({ control }: House): Promise<number> =>
  control.transaction((tx) => tx.count(EXTERNAL_ALERTS, []));

test('an alert opens, escalates without a second incident, and ends when its end passes unrepeated', async () => {
  await using house = await openHouse({ rules: [RULE] });
  const alerts = new ExternalAlerts(house.control);
  const start_ms = house.clock.now_ms();
  await alerts.take([message({ severity: 'warning' }, { ends_ms: start_ms + 5000 })], start_ms);
  await second(house, alerts);
  expect(await house.incidents()).toMatchObject([{ kind: 'external', severity: 'warn', status: 'open' }]);
  await alerts.take([message({ severity: 'critical' }, { ends_ms: start_ms + 9000 })], start_ms + 1000);
  await second(house, alerts);
  expect(await house.incidents()).toMatchObject([
    { severity: 'page', status: 'open', title: 'n1 is down', source: 'n1' },
  ]);
  for (let at = 2; at < 8; at++) await second(house, alerts);
  expect((await house.incidents())[0]?.state).toBe('firing');
  await second(house, alerts);
  expect(await house.incidents()).toMatchObject([{ status: 'resolved', resolved_at_ms: start_ms + 9000 }]);
});

test('what stays quiet for five minutes ends, also when the service was restarted meanwhile', async () => {
  await using house = await openHouse({ rules: [RULE] });
  const start_ms = house.clock.now_ms();
  const first = new ExternalAlerts(house.control);
  await first.take([message({})], start_ms);
  await second(house, first);
  const restarted = new ExternalAlerts(house.control);
  await house.clock.advance(297_000);
  await second(house, restarted);
  expect((await house.incidents())[0]?.status).toBe('open');
  await house.clock.advance(600);
  await house.desk.judge(await restarted.findings(house.clock.now_ms()), house.clock.now_ms());
  expect((await house.incidents())[0]?.status).toBe('open'); // 299.6 s
  await second(house, restarted);
  expect(await house.incidents()).toMatchObject([{ status: 'resolved' }]);
});

test('an alert that was taken just before a crash opens its incident after the restart', async () => {
  await using house = await openHouse({ rules: [RULE] });
  await new ExternalAlerts(house.control).take([message({})], house.clock.now_ms());
  await second(house, new ExternalAlerts(house.control));
  expect(await house.incidents()).toMatchObject([{ status: 'open' }]);
});

test('an alert that was closed while nobody judged ends after the restart, however long that took', async () => {
  await using house = await openHouse({ rules: [RULE] });
  const far_ms = house.clock.now_ms() + 1e12;
  const before = new ExternalAlerts(house.control);
  await before.take([message({}, { ends_ms: far_ms })], house.clock.now_ms());
  await second(house, before);
  await before.take([message({}, { ends_ms: house.clock.now_ms() })], house.clock.now_ms());
  await house.clock.advance(86_400_000);
  await second(house, new ExternalAlerts(house.control));
  expect(await house.incidents()).toMatchObject([{ status: 'resolved' }]);
  expect(await remembered(house)).toBe(0);
});

test('between two looks only what changed is judged again, every 15 s everything', async () => {
  await using house = await openHouse({ rules: [RULE] });
  const alerts = new ExternalAlerts(house.control);
  const all = Array.from({ length: 40 }, (_, index) => message({ instance: `n${index}` }));
  await alerts.take(all, house.clock.now_ms());
  expect(await second(house, alerts)).toBe(40);
  await house.clock.advance(6000);
  await second(house, alerts);
  expect(await second(house, alerts)).toBe(0); // 5 s back from 8 s nothing was told
  await alerts.take([message({ instance: 'n7' })], house.clock.now_ms());
  expect(await second(house, alerts)).toBe(1);
  await house.clock.advance(7000);
  expect(await second(house, alerts)).toBe(40);
});

test('new alerts beyond the limit are refused and counted, known ones go on, room is made of what is over', async () => {
  await using house = await openHouse({ rules: [RULE] });
  const alerts = new ExternalAlerts(house.control);
  const max = LIMITS.external_alerts_max;
  const now_ms = house.clock.now_ms();
  const named = (from: number, to: number, changes: Partial<AlertMessage> = {}) =>
    Array.from({ length: to - from }, (_, index) => message({ instance: `n${from + index}` }, changes));
  expect(await alerts.take(named(0, max), now_ms)).toEqual({ refused: 0 });
  expect(await alerts.take(named(max - 1, max + 3), now_ms)).toEqual({ refused: 3 });
  expect(await alerts.take(named(max, max + 3, { ends_ms: now_ms - 1 }), now_ms)).toEqual({ refused: 0 });
  expect(await alerts.take(named(0, 2, { ends_ms: now_ms - 1 }), now_ms)).toEqual({ refused: 0 });
  const later_ms = now_ms + 20_000;
  expect(await alerts.take(named(max, max + 3), later_ms)).toEqual({ refused: 1 });
  expect(await remembered(house)).toBe(max);
});

test('a resolve by a person holds while the alert goes on, and the next episode opens again', async () => {
  await using house = await openHouse({ rules: [RULE] });
  const alerts = new ExternalAlerts(house.control);
  const repeat = async () => {
    await alerts.take([message({})], house.clock.now_ms());
    await second(house, alerts);
  };
  await repeat();
  const [opened] = await house.incidents();
  await house.desk.resolve(opened?.id ?? '', { actor: 'local', note: 'known' });
  await repeat();
  expect(await house.incidents()).toMatchObject([{ status: 'resolved' }]);
  await alerts.take([message({}, { ends_ms: house.clock.now_ms() })], house.clock.now_ms());
  await second(house, alerts);
  await repeat();
  expect((await house.incidents()).map(({ status }) => status)).toContain('open');
});
