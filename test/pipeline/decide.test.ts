import { expect, test } from 'vitest';
import { AUDIT, OUTBOX } from '../../src/control/collections.ts';
import type { Incident } from '../../src/core/incident.ts';
import { appendAudit, verifyAudit } from '../../src/pipeline/audit.ts';
import { findingOf, ruleOf } from '../incident/fixtures.ts';
import { destinationOf, type House, openHouse } from './desk-house.ts';

const ann = { actor: 'ann', note: 'looking' };
const bad = findingOf(0.3);
const good = findingOf(0);

async function opened(house: House): Promise<Incident> {
  await house.desk.judge([bad], house.clock.now_ms());
  const [incident] = await house.incidents();
  if (incident === undefined) throw new Error('expected an incident');
  return incident;
}

const typesOf = async (house: House): Promise<string[]> =>
  (await house.outbox()).map(({ body }) => `${body.sink} ${body.type}`);

test("a breach makes incident, history and one outbox row a matching sink, with the contract's data", async () => {
  const destinations = [
    destinationOf('ops', { types: ['leeway.incident.*'] }),
    destinationOf('pages', { min_severity: 'page' }),
    destinationOf('costs', { types: ['leeway.cost.*', 'leeway.budget.threshold'] }),
  ];
  await using house = await openHouse({ destinations });
  const incident = await opened(house);
  expect(await typesOf(house)).toEqual(['ops leeway.incident.opened']);
  expect(await house.history(incident.id)).toEqual(['opened']);
  const [row] = await house.outbox();
  expect(row?.body.data).toEqual({
    incident: {
      id: incident.id,
      kind: 'slow_rank',
      severity: 'warn',
      status: 'open',
      title: bad.title,
      subjects: [{ type: 'rank', id: '2' }],
      cause: 'thermal',
      started_at_ms: 500,
      opened_at_ms: house.clock.now_ms(),
      resolved_at_ms: null,
      coverage_ratio: 1,
      gpu_seconds_lost: 12,
      usd_lost: '0.42',
      usd_per_hour: '9.00',
      rule: 'straggler.slow_rank',
      runbook_url: 'http://leeway.test/docs/runbooks/straggler.slow_rank.md',
      job: 'digits',
    },
    findings: [
      {
        name: 'straggler.slow_rank',
        value: 0.3,
        threshold: 0.2,
        window: { from_ms: 0, to_ms: 1000 },
        evidence: { clock_ratio: 0.7 },
      },
    ],
    url: `http://leeway.test/incidents/${incident.id}`,
  });
  expect(house.events).toContainEqual({ kind: 'incident', id: incident.id, change: 'opened' });
});

test('judging the same findings again changes nothing but the time of judgement', async () => {
  await using house = await openHouse();
  const incident = await opened(house);
  await house.desk.judge([bad, bad], house.clock.now_ms() + 1000);
  expect(await house.incidents()).toHaveLength(1);
  expect(await house.history(incident.id)).toEqual(['opened']);
  expect(await house.outbox()).toHaveLength(1);
});

test('what runs in the same transaction and fails takes incident, history and outbox with it', async () => {
  await using house = await openHouse();
  const failing = house.desk.judge([bad], 1, { also: () => Promise.reject(new Error('planted')) });
  await expect(failing).rejects.toThrow('planted');
  expect(await house.incidents()).toEqual([]);
  expect(await house.outbox()).toEqual([]);
  expect(house.events).toEqual([]);
});

test("retraining enqueues for its target alone, or for target and sinks, in the judgement's transaction", async () => {
  await using house = await openHouse({
    destinations: [destinationOf('ops'), destinationOf('target:default', { types: [] })],
  });
  await house.desk.judge([bad], 5, {
    also: async (tx, judgements) => {
      expect(judgements.map(({ changes }) => changes.map(({ kind }) => kind))).toEqual([['opened']]);
      const shared = { subject: 'decision/d1', at_ms: 5, data: { decision_id: 'd1' }, target: 'target:default' };
      await house.desk.enqueue(tx, { ...shared, type: 'leeway.retrain.requested', expires_at_ms: 99 });
      await house.desk.enqueue(tx, { ...shared, type: 'leeway.retrain.confirmed', sinks: true });
      await house.desk.enqueue(tx, { ...shared, type: 'leeway.retrain.confirmed', sinks: true });
    },
  });
  expect(await typesOf(house)).toEqual([
    'ops leeway.incident.opened',
    'target:default leeway.retrain.requested',
    'ops leeway.retrain.confirmed',
    'target:default leeway.retrain.confirmed',
  ]);
});

test('a key that an engine no longer lists is clear where it looked, unknown where it had no data, untouched where it did not run', async () => {
  await using house = await openHouse();
  await opened(house);
  const at = house.clock.now_ms();
  const stateAfter = async (evaluated: { job: string; data: boolean } | null, now_ms: number) => {
    const ran = evaluated === null ? [] : [{ finding: bad.name, scope: { job: evaluated.job }, data: evaluated.data }];
    await house.desk.judge([], now_ms, { evaluated: ran });
    return (await house.incidents())[0]?.state;
  };
  expect(await stateAfter(null, at + 1)).toBe('firing');
  expect(await stateAfter({ job: 'another', data: true }, at + 2)).toBe('firing');
  expect(await stateAfter({ job: 'digits', data: false }, at + 3)).toBe('no_data');
  expect(await stateAfter({ job: 'digits', data: true }, at + 4)).toBe('resolved');
});

test('an incident that nobody judges any more says so after no_data_ms and ends after no_data_resolve_ms', async () => {
  await using house = await openHouse({ rules: [ruleOf({ no_data_ms: 1000, no_data_resolve_ms: 5000 })] });
  const incident = await opened(house);
  const at = house.clock.now_ms();
  await house.desk.judge([], at + 1000);
  expect((await house.incidents())[0]?.state).toBe('no_data');
  await house.desk.judge([], at + 6000);
  expect((await house.incidents())[0]).toMatchObject({ state: 'resolved', status: 'resolved' });
  expect(await house.history(incident.id)).toEqual(['opened', 'no_data', 'resolved']);
});

test('a rule whose file is gone ends its incidents and says why', async () => {
  await using house = await openHouse();
  await opened(house);
  house.desk.reload({ rules: [], recipients: [] });
  await house.desk.judge([bad], house.clock.now_ms() + 1);
  expect((await house.incidents())[0]).toMatchObject({ state: 'resolved', watched: 0 });
});

test('a drift incident also tells leeway.drift.detected to those who asked for it', async () => {
  const rule = ruleOf({ id: 'drift.features', finding: 'drift.features' });
  await using house = await openHouse({ rules: [rule] });
  const features = [{ name: 'age', statistic: 'ks', value: 0.4, p_value: 1e-9, contribution: 0.8 }];
  const drift = findingOf(3, {
    name: 'drift.features',
    key: 'model:m/drift',
    scope: { model: 'm', version: 'v2' },
    evidence: { features, e_value: 40 },
  });
  await house.desk.judge([drift], 7000);
  expect(await typesOf(house)).toEqual(['ops leeway.incident.opened', 'ops leeway.drift.detected']);
  expect((await house.outbox())[1]?.body.data).toMatchObject({
    model: 'm',
    version: 'v2',
    detected_at_ms: 7000,
    estimated_start_ms: 500,
    features,
    e_value: 40,
  });
});

test('a silenced incident opens unheard, says so, and is told when the silence ends if it is still there', async () => {
  await using house = await openHouse();
  const now_ms = house.clock.now_ms();
  const matchers = [{ field: 'job', value: 'dig*' } as const];
  await house.desk.silence({ matchers, starts_at_ms: now_ms, ends_at_ms: now_ms + 1000, comment: 'maintenance' }, ann);
  const incident = await opened(house);
  expect(await house.outbox()).toEqual([]);
  expect(await house.history(incident.id)).toEqual(['opened', 'held']);
  await house.desk.judge([bad], now_ms + 999);
  expect(await house.outbox()).toEqual([]);
  await house.desk.judge([bad], now_ms + 1000);
  expect(await typesOf(house)).toEqual(['ops leeway.incident.opened']);
  expect(await house.history(incident.id)).toEqual(['opened', 'held', 'told']);
});

test('what came and went inside a silence is never told', async () => {
  await using house = await openHouse();
  const now_ms = house.clock.now_ms();
  const matchers = [{ field: 'subject', value: 'rank:2' } as const];
  await house.desk.silence({ matchers, starts_at_ms: now_ms, ends_at_ms: now_ms + 1000, comment: '' }, ann);
  await opened(house);
  await house.desk.judge([good], now_ms + 500);
  await house.desk.judge([], now_ms + 2000);
  expect((await house.incidents())[0]?.state).toBe('resolved');
  expect(await house.outbox()).toEqual([]);
});

test('what was told before a silence and resolves inside it is told to be resolved when the silence ends', async () => {
  await using house = await openHouse();
  await opened(house);
  const now_ms = house.clock.now_ms();
  const matchers = [{ field: 'kind', value: 'slow_rank' } as const];
  await house.desk.silence({ matchers, starts_at_ms: now_ms, ends_at_ms: now_ms + 1000, comment: '' }, ann);
  await house.desk.judge([good], now_ms + 500);
  expect(await typesOf(house)).toEqual(['ops leeway.incident.opened']);
  await house.desk.judge([], now_ms + 1000);
  expect(await typesOf(house)).toEqual(['ops leeway.incident.opened', 'ops leeway.incident.resolved']);
});

test('a resolution owed from a silence is told when it ends, also while the same fault has opened anew', async () => {
  await using house = await openHouse({ rules: [ruleOf({ for_ms: 0, keep_firing_ms: 0, reopen_ms: 60_000 })] });
  const judge = (finding: typeof bad) => house.desk.judge([finding], house.clock.now_ms());
  const first = await opened(house);
  const now_ms = house.clock.now_ms();
  const matchers = [{ field: 'rule' as const, value: '*' }];
  await house.desk.silence({ matchers, starts_at_ms: now_ms, ends_at_ms: now_ms + 300_000, comment: '' }, ann);
  for (let time = 0; time < 2; time++) await judge(good); // recovering, resolved
  await house.clock.advance(120_000);
  await judge(bad); // beyond reopen_ms: another incident
  const second = (await house.incidents()).find(({ id }) => id !== first.id);
  expect(await typesOf(house)).toEqual(['ops leeway.incident.opened']);
  await house.clock.advance(180_000);
  for (let time = 0; time < 3; time++) await judge(bad);
  const told = (await house.outbox()).map(({ body }) => [body.type, body.incident_id]);
  expect(told).toHaveLength(3);
  expect(told).toContainEqual(['leeway.incident.resolved', first.id]);
  expect(told).toContainEqual(['leeway.incident.opened', second?.id]);
  const after = await house.incidents();
  expect(after.find(({ id }) => id === first.id)).toMatchObject({ owed: null, watched: 0, state: 'resolved' });
  expect(after.find(({ id }) => id === second?.id)).toMatchObject({ owed: null, watched: 1, state: 'firing' });
});

test('a muted rule judges and tells nobody; unmuting tells what is still there', async () => {
  await using house = await openHouse();
  await house.desk.mute('straggler.slow_rank', ann);
  await opened(house);
  expect(await house.outbox()).toEqual([]);
  await house.desk.unmute('straggler.slow_rank', ann);
  await house.desk.judge([bad], house.clock.now_ms() + 1);
  expect(await typesOf(house)).toEqual(['ops leeway.incident.opened']);
  await expect(house.desk.mute('nobody', ann)).rejects.toMatchObject({ code: 'LW-NOT-FOUND' });
});

test('a snooze is quiet, ends by itself and reminds if the fault is still there', async () => {
  await using house = await openHouse();
  const incident = await opened(house);
  const now_ms = house.clock.now_ms();
  const snoozed = await house.desk.snooze(incident.id, now_ms + 1000, ann);
  expect(snoozed).toMatchObject({ status: 'snoozed', snoozed_until_ms: now_ms + 1000 });
  await house.desk.judge([bad], now_ms + 999);
  expect(await house.outbox()).toHaveLength(1);
  await house.desk.judge([bad], now_ms + 1000);
  expect((await house.incidents())[0]?.status).toBe('open');
  expect(await typesOf(house)).toEqual(['ops leeway.incident.opened', 'ops leeway.incident.opened']);
  expect(await house.history(incident.id)).toEqual(['opened', 'snoozed', 'snooze_ended', 'told']);
  // a time of no use: past, beyond 400 days, beyond what a date can say
  for (const until_ms of [1, house.clock.now_ms() + 400 * 86_400_000 + 1, 9e15, Number.NaN])
    await expect(house.desk.snooze(incident.id, until_ms, ann)).rejects.toMatchObject({ code: 'LW-BODY' });
});

test('a snoozed incident that resolves is told to be resolved, once', async () => {
  await using house = await openHouse();
  const incident = await opened(house);
  const now_ms = house.clock.now_ms();
  await house.desk.snooze(incident.id, now_ms + 1000, ann);
  await house.desk.judge([good], now_ms + 10);
  await house.desk.judge([good], now_ms + 5000);
  expect(await typesOf(house)).toEqual(['ops leeway.incident.opened', 'ops leeway.incident.resolved']);
});

test('acknowledging keeps it open and quiet, a second time changes nothing, and an escalation lifts it', async () => {
  await using house = await openHouse({ rules: [ruleOf({ page: { above: 0.5 } })] });
  const incident = await opened(house);
  expect(await house.desk.acknowledge(incident.id, ann)).toMatchObject({
    status: 'acknowledged',
    acknowledged_by: 'ann',
  });
  await house.desk.acknowledge(incident.id, ann);
  expect(await house.history(incident.id)).toEqual(['opened', 'acknowledged']);
  await house.desk.judge([findingOf(0.6)], house.clock.now_ms() + 1);
  expect((await house.incidents())[0]).toMatchObject({ status: 'open', severity: 'page' });
  expect(await typesOf(house)).toEqual(['ops leeway.incident.opened', 'ops leeway.incident.escalated']);
});

test('resolving by hand tells it, stays though the fault still shows, and a second time changes nothing', async () => {
  await using house = await openHouse();
  const incident = await opened(house);
  expect(await house.desk.resolve(incident.id, ann)).toMatchObject({ status: 'resolved', state: 'resolved' });
  await house.desk.resolve(incident.id, ann);
  await house.desk.judge([bad], house.clock.now_ms() + 1000);
  expect((await house.incidents()).map(({ status }) => status)).toEqual(['resolved']);
  expect(await typesOf(house)).toEqual(['ops leeway.incident.opened', 'ops leeway.incident.resolved']);
  await expect(house.desk.acknowledge(incident.id, ann)).rejects.toMatchObject({ code: 'LW-CONFLICT' });
});

test("a pending incident is nobody's business: it cannot be acknowledged", async () => {
  await using house = await openHouse({ rules: [ruleOf({ for_ms: 1000 })] });
  await house.desk.judge([{ ...bad, started_at_ms: null }], house.clock.now_ms());
  const [incident] = await house.incidents();
  if (incident?.state !== 'pending') throw new Error('nothing is pending');
  await expect(house.desk.acknowledge(incident.id, ann)).rejects.toMatchObject({ code: 'LW-NOT-FOUND' });
  await expect(house.desk.resolve('inc_none', ann)).rejects.toMatchObject({ code: 'LW-NOT-FOUND' });
});

test.each([
  ['no matcher', { matchers: [], starts_at_ms: 0, ends_at_ms: 9e15 }],
  ['an end before its start', { matchers: [{ field: 'job', value: 'a' } as const], starts_at_ms: 10, ends_at_ms: 5 }],
  [
    'more than 400 days',
    { matchers: [{ field: 'job', value: 'a' } as const], starts_at_ms: 1.7e12, ends_at_ms: 1.9e12 },
  ],
])('a silence with %s is refused', async (_title, silence) => {
  await using house = await openHouse();
  await expect(house.desk.silence({ ...silence, comment: '' }, ann)).rejects.toMatchObject({ code: 'LW-BODY' });
});

test('what people do is in the audit log, which verifies, and any later change of it is found', async () => {
  await using house = await openHouse();
  const incident = await opened(house);
  await house.desk.acknowledge(incident.id, ann);
  await house.desk.mute('straggler.slow_rank', ann);
  await house.desk.resolve(incident.id, { actor: 'bob', note: 'fixed' });
  const entries = await house.control.transaction((tx) => tx.list(AUDIT, {}));
  expect(entries.map(({ body }) => [body.actor, body.action])).toEqual([
    ['ann', 'incident.acknowledge'],
    ['ann', 'rule.mute'],
    ['bob', 'incident.resolve'],
  ]);
  expect(await house.control.transaction(verifyAudit)).toMatchObject({ whole: true, entries: 3 });
  const [, second] = entries;
  if (second === undefined) throw new Error('expected three entries');
  await house.control.transaction((tx) =>
    tx.update(AUDIT, second.id, second.revision, { ...second.body, actor: 'eve' }),
  );
  expect(await house.control.transaction(verifyAudit)).toMatchObject({ whole: false, sequence: 2 });
  await house.control.transaction((tx) => tx.remove(AUDIT, second.id));
  expect(await house.control.transaction(verifyAudit)).toMatchObject({ whole: false, sequence: 2 });
});

test('an audit log of more than a page verifies', async () => {
  await using house = await openHouse();
  await house.control.transaction(async (tx) => {
    for (let count = 0; count < 1001; count++)
      await appendAudit(tx, { at_ms: count, actor: 'a', action: 'b', subject: 'c', detail: { count } });
  });
  expect(await house.control.transaction(verifyAudit)).toMatchObject({ whole: true, entries: 1001 });
  expect(await house.control.transaction((tx) => tx.count(OUTBOX, []))).toBe(0);
});
