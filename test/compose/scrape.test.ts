import { expect, test } from 'vitest';
import { absentBus, absentStore } from '../../src/compose/absent-doors.ts';
import { type PlannedRole, ROLE_PLANS } from '../../src/compose/role-plan.ts';
import { scrapeGauges } from '../../src/compose/scrape.ts';
import { ManualClock } from '../../src/core/clock.ts';
import { LeewayError } from '../../src/core/errors.ts';
import type { Control } from '../../src/core/ports.ts';
import { CostBook } from '../../src/read/costs.ts';
import { reject, retry } from '../../src/core/outcome.ts';
import { createServiceMetrics } from '../../src/telemetry/metrics.ts';
import { findingOf, ruleOf } from '../incident/fixtures.ts';
import { answer, destinationOf, openHouse } from '../pipeline/desk-house.ts';

const NO_COSTS = new CostBook(absentStore(), []);

/** Samples of a scrape whose names begin with one of `names`. */
async function samples(metrics: ReturnType<typeof createServiceMetrics>, ...names: string[]): Promise<string[]> {
  const { text } = await metrics.expose('prometheus');
  return text.split('\n').filter((line) => names.some((name) => line.startsWith(name)));
}

/** A PostgreSQL that is away. */
function goneControl(): Control {
  const refuse = async (): Promise<never> => {
    throw new LeewayError('LW-CONTROL-GONE', 'the control store does not answer');
  };
  return { transaction: refuse, lease: refuse, release: refuse, [Symbol.asyncDispose]: async () => undefined };
}

test('while store and control store are gone a scrape has all that the process knows itself', async () => {
  const metrics = createServiceMetrics('1.2.3');
  metrics.framesPublished({}, 12);
  const bus = { ...absentBus(), backlog: () => ({ ...absentBus().backlog(), bytes: 4096, oldest_ms: 1_500 }) };
  scrapeGauges(metrics, {
    plan: ROLE_PLANS.all,
    bus,
    costs: NO_COSTS,
    control: goneControl(),
    clock: new ManualClock(),
    sinks: () => ['ops'],
  });
  expect(
    await samples(
      metrics,
      'leeway_frames_published',
      'leeway_spool',
      'leeway_incidents',
      'leeway_cost',
      'leeway_scrape',
    ),
  ).toEqual([
    'leeway_frames_published_total 12',
    'leeway_spool_bytes 4096',
    'leeway_spool_oldest_seconds 1.5',
    'leeway_scrape_errors_total{reading="bus"} 0',
    'leeway_scrape_errors_total{reading="incidents"} 1',
    'leeway_scrape_errors_total{reading="notifications"} 1',
    'leeway_scrape_errors_total{reading="costs"} 1',
  ]);
});

test('the age of a notification is that of the oldest one that waits, a sink, whatever was attempted last', async () => {
  const destinations = [destinationOf('ops'), destinationOf('chat')];
  await using house = await openHouse({ destinations });
  const { clock, control, courier } = house;
  const metrics = createServiceMetrics('1.2.3', { clock });
  scrapeGauges(metrics, {
    plan: ROLE_PLANS.worker,
    bus: absentBus(),
    costs: NO_COSTS,
    control,
    clock,
    sinks: () => ['ops', 'chat'],
  });
  const ages = () => samples(metrics, 'leeway_notification_age');
  const age = (sink: string, seconds: number) => `leeway_notification_age_seconds{sink="${sink}"} ${seconds}`;
  const told = (n: number) => house.desk.judge([findingOf(0.5, { key: `job:digits/slow_rank/${n}` })], clock.now_ms());
  const deliver = async (): Promise<void> => {
    for (const { id } of destinations) while ((await courier.deliverNext(id, new AbortController().signal)) !== null);
  };
  expect(await ages()).toEqual([age('ops', 0), age('chat', 0)]);

  house.door.answers.set('ops', [retry('LW-UNREACHABLE', 'no answer')]);
  await told(1);
  await deliver();
  await clock.advance(100_000);
  await told(2); // attempted last, for both
  await deliver();
  expect(await ages()).toEqual([age('ops', 100), age('chat', 0)]);
  await clock.advance(400_000); // nothing is attempted: it ages all the same
  expect(await ages()).toEqual([age('ops', 500), age('chat', 0)]);

  house.door.answers.set('ops', [answer(204)]);
  await deliver();
  expect(await ages()).toEqual([age('ops', 0), age('chat', 0)]);
});

test('a notification that the egress rules block waits, too', async () => {
  await using house = await openHouse();
  const { clock, control, courier } = house;
  const metrics = createServiceMetrics('1.2.3', { clock });
  scrapeGauges(metrics, {
    plan: ROLE_PLANS.worker,
    bus: absentBus(),
    costs: NO_COSTS,
    control,
    clock,
    sinks: () => ['ops'],
  });
  house.door.answers.set('ops', [reject('LW-EGRESS', 'a private address')]);
  await house.desk.judge([findingOf(0.5)], clock.now_ms());
  await courier.deliverNext('ops', new AbortController().signal);
  await clock.advance(60_000);
  expect((await house.outbox()).map(({ body }) => body.state)).toEqual(['blocked']);
  expect(await samples(metrics, 'leeway_notification_age')).toEqual(['leeway_notification_age_seconds{sink="ops"} 60']);
});

test('each role shows what it has: a gateway nothing of the control store, a console no bus, costs where they are served', async () => {
  await using house = await openHouse();
  const { clock, control } = house;
  const shown = async (role: PlannedRole): Promise<string[]> => {
    const metrics = createServiceMetrics('1.2.3', { clock });
    const costs = new CostBook({ ...absentStore(), query: async () => [], marks: async () => new Map() }, []);
    scrapeGauges(metrics, { plan: ROLE_PLANS[role], bus: absentBus(), costs, control, clock, sinks: () => ['ops'] });
    const lines = await samples(
      metrics,
      'leeway_spool_bytes',
      'leeway_notification',
      'leeway_cost_usd{category="idle"}',
    );
    return lines.map((line) => line.replace(/[{ ].*/, ''));
  };
  const [bus, waiting, cost] = ['leeway_spool_bytes', 'leeway_notification_age_seconds', 'leeway_cost_usd'];
  expect(await shown('all')).toEqual([bus, waiting, cost]);
  expect(await shown('gateway')).toEqual([bus]);
  expect(await shown('worker')).toEqual([bus, waiting]);
  expect(await shown('console')).toEqual([waiting, cost]);
});

test('an incident is counted once it opened, by what people did about it, until it is resolved', async () => {
  await using house = await openHouse({ rules: [ruleOf({ for_ms: 60_000, keep_firing_ms: 0 })] });
  const { clock, control, desk } = house;
  const metrics = createServiceMetrics('1.2.3', { clock });
  scrapeGauges(metrics, {
    plan: ROLE_PLANS.worker,
    bus: absentBus(),
    costs: NO_COSTS,
    control,
    clock,
    sinks: () => [],
  });
  const shown = () => samples(metrics, 'leeway_incidents');
  const counted = (status: string, count: number) =>
    `leeway_incidents{kind="slow_rank",severity="warn",status="${status}"} ${count}`;
  const judge = (...values: number[]) =>
    desk.judge(
      values.map((value, n) => findingOf(value, { key: `job:digits/slow_rank/${n}`, started_at_ms: null })),
      clock.now_ms(),
    );
  await judge(0.5, 0.5);
  expect((await house.incidents()).map(({ state, status }) => `${state} ${status}`)).toEqual([
    'pending open',
    'pending open',
  ]);
  expect(await shown()).toEqual([]);
  await clock.advance(60_000);
  await judge(0.5, 0.5);
  expect(await shown()).toEqual([counted('open', 2)]);
  const [first] = await house.incidents();
  await desk.acknowledge(first?.id ?? '', { actor: 'me', note: '' });
  expect((await shown()).sort()).toEqual([counted('acknowledged', 1), counted('open', 1)]);
  for (let look = 0; look < 3; look++) {
    await clock.advance(60_000);
    await judge(0, 0);
  }
  expect((await house.incidents()).map(({ status }) => status)).toEqual(['resolved', 'resolved']);
  expect(await shown()).toEqual([]);
});

test('costs are those of the UTC day so far, not of days before or of hours to come', async () => {
  await using house = await openHouse();
  const { clock, control } = house; // 2026-01-01T00:00Z
  const metrics = createServiceMetrics('1.2.3', { clock });
  const [from_ms, day_ms] = [clock.now_ms(), 86_400_000];
  const machine = { provider: 'aws', region: 'r', instance_type: 'p5', pricing: 'on_demand', account: 'a', gpus: 8 };
  const records = [
    { type: 'asset', id: 'n1', kind: 'gpu_node', from_ms, to_ms: from_ms + 10 * day_ms, ...machine },
    { type: 'price', asset: 'n1', from_ms, usd_per_hour: '1.00', source: 's', retrieved_on: '2026-01-01' },
  ];
  const store = { ...absentStore(), query: async () => [], marks: async () => new Map() };
  const costs = new CostBook(store, records);
  scrapeGauges(metrics, { plan: ROLE_PLANS.console, bus: absentBus(), costs, control, clock, sinks: () => [] });
  const total = async (): Promise<number> => {
    const lines = await samples(metrics, 'leeway_cost_usd');
    return lines.reduce((sum, line) => sum + Number(line.split(' ')[1]), 0);
  };
  await clock.advance(5.5 * 3_600_000);
  expect(await total()).toBe(6); // the hours 0 to 5, of 1 USD
  await clock.advance(day_ms);
  expect(await total()).toBe(6); // again, of the second day; the first one's 24 are gone
  await clock.advance(20 * day_ms);
  expect(await total()).toBe(0); // the asset is gone
});
