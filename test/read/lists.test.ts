import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { AUDIT, INCIDENTS, RETRAIN_DECISIONS } from '../../src/control/collections.ts';
import { systemClock } from '../../src/core/clock.ts';
import type { LeewayRecord } from '../../src/core/records.ts';
import type { Decision } from '../../src/core/retraining.ts';
import { intakeOf } from '../../src/cost/intake.ts';
import { costLedger } from '../../src/cost/ledger.ts';
import { step } from '../../src/incident/machine.ts';
import { CostBook, totalsOf } from '../../src/read/costs.ts';
import { listDecisions } from '../../src/read/decisions.ts';
import { deliveryAccount } from '../../src/read/delivery.ts';
import { listIncidents } from '../../src/read/incidents.ts';
import { jobDetail, JobRows, listJobs, listSteps } from '../../src/read/jobs.ts';
import { overview } from '../../src/read/overview.ts';
import { pageOf } from '../../src/read/page.ts';
import { listHistograms, listSamples, listSeries } from '../../src/read/series.ts';
import type { Page, Paging } from '../../src/server/services.ts';
import { START_MS, stepRecord } from '../contract/records.ts';
import { findingOf, ruleOf } from '../incident/fixtures.ts';
import { type LiveStore, openLiveStore } from '../pipeline/live-store.ts';

vi.setConfig({ testTimeout: 30_000 }); // a real store on a machine that others use too

const signal = new AbortController().signal;
const ALL: Paging = { limit: 500, after: null };
/** Text that would do harm if it were ever read as SQL. */
const HOSTILE = [
  "' OR 1=1 --",
  "x'; DROP TABLE leeway.step; --",
  '{job:String}',
  "\\' OR \\'1\\'=\\'1",
  '") OR ("1"="1',
  '%',
  '*',
  "x' UNION ALL SELECT * FROM system.tables --",
];

let live: LiveStore;
let doors: Parameters<typeof deliveryAccount>[0];
beforeAll(async () => {
  live = await openLiveStore();
  doors = { ...live, clock: systemClock };
});
afterAll(() => live[Symbol.asyncDispose]());

/** Every page of `limit` items, following the cursor. */
async function pages<Item>(limit: number, read: (paging: Paging) => Promise<Page<Item>>): Promise<Item[][]> {
  const all: Item[][] = [];
  for (let after: Paging['after'] = null; ; ) {
    const { items, next } = await read({ limit, after });
    all.push([...items]);
    if (next === null) return all;
    expect(all.length).toBeLessThan(100);
    after = next;
  }
}

function ofJob(job: string, records: readonly LeewayRecord[]): LeewayRecord[] {
  return records.map((record) => ({ ...record, job }) as LeewayRecord);
}

test('steps come by step and rank in pages, from and to a step, for some ranks, for an attempt', async () => {
  const steps = [0, 1, 2, 3].flatMap((step) => [0, 1, 2].map((rank) => stepRecord(step, rank)));
  // the second attempt repeats step 3, as a job does that goes on from a checkpoint
  const again = [0, 1, 2].map((rank) => ({ ...stepRecord(3, rank), attempt: 1, at_ms: START_MS + 60_000 }));
  await live.put(ofJob('paged', [...steps, ...again]));
  const none = { ranks: [] };
  const place = ({ step, rank }: { step: number; rank: number }) => `${step}/${rank}`;
  const read = await pages(4, (paging) => listSteps(live.store, 'paged', none, paging));
  expect(read.map((page) => page.length)).toEqual([4, 4, 4, 3]);
  expect(read.flat().map(place)).toEqual('0/0 0/1 0/2 1/0 1/1 1/2 2/0 2/1 2/2 3/0 3/0 3/1 3/1 3/2 3/2'.split(' '));
  const some = await listSteps(live.store, 'paged', { from_step: 1, to_step: 3, ranks: [0, 2] }, ALL);
  expect(some.items.map(place)).toEqual(['1/0', '1/2', '2/0', '2/2']);
  const second = await listSteps(live.store, 'paged', { ranks: [], attempt: 1 }, ALL);
  expect(second.items.map(place)).toEqual(['3/0', '3/1', '3/2']);
  expect(second.items[0]).toEqual({ ...again[0], job: 'paged' });
});

test('steps of one step, rank and time are each on one page, and a cursor that is none is the fault of who asks', async () => {
  const same = ['a', 'b', 'c'].map((run) => ({ ...stepRecord(7, 0), run }));
  await live.put(ofJob('same', same));
  const read = await pages(1, (paging) => listSteps(live.store, 'same', { ranks: [] }, paging));
  expect(new Set(read.flat().map((row) => Reflect.get(row, 'run')))).toEqual(new Set(['a', 'b', 'c']));
  expect(read.length).toBe(3);
  const at = (value: string) => listSteps(live.store, 'same', { ranks: [] }, { limit: 1, after: { value, id: value } });
  for (const value of ['NaN/0/0/0', '1e300/0/0/0', '1/0/0', '1/0/0/18446744073709551616', ''])
    await expect(at(value)).rejects.toMatchObject({ code: 'LW-USAGE' });
});

test('samples from and to a part of a millisecond are those between, and forged cursors are refused', async () => {
  const all = await listSamples(live.store, '1', { from: 1.5, to: 2.5 }, ALL);
  expect(all.items).toEqual([]);
  const after = (value: string | number, id: string) => ({ limit: 1, after: { value, id } });
  for (const value of [Number.NaN, 1e300, '5', 1.5])
    await expect(listSamples(live.store, '1', {}, after(value, '1'))).rejects.toMatchObject({ code: 'LW-USAGE' });
  for (const id of ['abc', '-1', '18446744073709551616']) {
    await expect(listSeries(live.store, {}, after('m', id))).rejects.toMatchObject({ code: 'LW-USAGE' });
    await expect(listHistograms(live.store, '1', {}, after(5, id))).rejects.toMatchObject({ code: 'LW-USAGE' });
  }
});

test('a page of jobs goes on where it was when the job it ended with no longer fits the filter', async () => {
  const now_ms = START_MS + 7_200_000;
  const one = (job: string, at_ms: number): LeewayRecord[] => ofJob(job, [{ ...stepRecord(1), at_ms }]);
  const names = ['f-z', 'f-c', 'f-y', 'f-b'];
  await live.put(names.flatMap((job, place) => one(job, now_ms - 1_000 * (place + 1))));
  const jobs = { rows: new JobRows(live.store, systemClock), control: live.control };
  const running = (paging: Paging, at_ms: number) =>
    listJobs(jobs, { filter: { state: 'running' }, paging, now_ms: at_ms });
  const first = await running({ limit: 2, after: null }, now_ms);
  expect(first.items.map(({ job }) => job)).toEqual(['f-z', 'f-c']);
  const went = { job: 'f-c', type: 'heartbeat', rank: 0, at_ms: now_ms, step: 1, state: 'exited' } as const;
  await live.put([went]);
  const later = { rows: new JobRows(live.store, systemClock), control: live.control };
  const second = await listJobs(later, {
    filter: { state: 'running' },
    paging: { limit: 2, after: first.next },
    now_ms,
  });
  expect(second.items.map(({ job }) => job)).toEqual(['f-y', 'f-b']);
});

test('jobs are listed by their start, filtered, and end when their ranks said so last', async () => {
  const now_ms = START_MS + 3_600_000;
  const started = (job: string, from_ms: number, count: number): LeewayRecord[] =>
    ofJob(
      job,
      Array.from({ length: count }, (_, index) => ({ ...stepRecord(index), at_ms: from_ms + index * 1_000 })),
    );
  const placed = (job: string, team: string): LeewayRecord => ({
    type: 'job',
    job,
    at_ms: START_MS,
    world_size: 1,
    ranks: [{ rank: 0, node: 'n1', gpu: 0 }],
    team,
  });
  const beat = (job: string, at_ms: number, state: 'exited' | 'running'): LeewayRecord => ({
    type: 'heartbeat',
    job,
    rank: 0,
    at_ms,
    step: 1,
    state,
  });
  await live.put([
    ...started('a-oldest', now_ms - 300_000, 3),
    ...started('b-middle', now_ms - 60_000, 61),
    ...started('c-newest', now_ms - 30_000, 31),
    placed('b-middle', 'vision'),
    // went away once and came back: not ended
    beat('b-middle', now_ms - 50_000, 'exited'),
    beat('b-middle', now_ms - 1_000, 'running'),
    beat('c-newest', now_ms, 'exited'),
  ]);
  const rows = new JobRows(live.store, systemClock);
  const jobs = { rows, control: live.control };
  const mine = ({ job }: { job: string }) => /^[abc]-/.test(job);
  const listed = (await listJobs(jobs, { filter: {}, paging: ALL, now_ms })).items.filter(mine);
  expect(listed.map(({ job, state, team }) => [job, state, team])).toEqual(
    [
      ['c-newest', 'ended', ''],
      ['b-middle', 'running', 'vision'],
      ['a-oldest', 'ended', ''],
    ].map(([job, state, team]) => [job, state, team === '' ? null : team]),
  );
  const team = await listJobs(jobs, { filter: { team: 'vision' }, paging: ALL, now_ms });
  expect(team.items.map(({ job }) => job)).toEqual(['b-middle']);
  const recent = await listJobs(jobs, { filter: { from: now_ms, to: now_ms + 1 }, paging: ALL, now_ms });
  expect(recent.items.filter(mine).map(({ job }) => job)).toEqual(['c-newest', 'b-middle']);
  const paged = await pages(1, (paging) => listJobs(jobs, { filter: {}, paging, now_ms }));
  expect(
    paged
      .flat()
      .filter(mine)
      .map(({ job }) => job),
  ).toEqual(['c-newest', 'b-middle', 'a-oldest']);
  // 31 steps of 950.5 ms on one rank
  const detail = await jobDetail({ store: live.store, control: live.control }, 'c-newest', now_ms);
  expect(detail).toMatchObject({ last_step: 30, median_step_ms: 950.5, coverage_ratio: 1 });
  expect(detail.gpu_seconds).toBeCloseTo((31 * 950.5) / 1_000, 9);
  await expect(jobDetail({ store: live.store, control: live.control }, 'none', now_ms)).rejects.toMatchObject({
    code: 'LW-NOT-FOUND',
  });
});

test('a page goes on where it was though its last item is gone', () => {
  const items = ['a', 'b', 'd', 'e'];
  const same = (item: string) => item;
  expect(pageOf(items, { limit: 2, after: { value: 'c', id: 'c' } }, same).items).toEqual(['d', 'e']);
  expect(pageOf(items, { limit: 2, after: { value: 'z', id: 'z' } }, same)).toEqual({ items: [], next: null });
});

test('incidents are listed by opening in pages that later ones do not move, with every filter of the contract', async () => {
  const insert = async (index: number, model: string): Promise<void> => {
    const key = `model:${model}/drift/${index}`;
    const scope = { model, version: `v${index % 2}` };
    const finding = findingOf(1, { key, scope, cause: index % 3 === 0 ? 'concept' : 'data' });
    const { incident } = step(null, ruleOf({ for_ms: 0 }), finding, START_MS + index * 1_000);
    if (incident === null) throw new Error('the finding opened nothing');
    await live.control.transaction((tx) => tx.insert(INCIDENTS, incident.id, incident));
  };
  for (let index = 0; index < 10; index++) await insert(index, 'listed');
  const opened = (page: readonly { opened_at_ms: number | null }[]) =>
    page.map(({ opened_at_ms }) => ((opened_at_ms ?? 0) - START_MS) / 1_000);
  const first = await listIncidents(live.control, { model: 'listed' }, { limit: 4, after: null });
  expect(opened(first.items)).toEqual([9, 8, 7, 6]);
  await insert(20, 'listed');
  const second = await listIncidents(live.control, { model: 'listed' }, { limit: 4, after: first.next });
  expect(opened(second.items)).toEqual([5, 4, 3, 2]);
  const last = await listIncidents(live.control, { model: 'listed' }, { limit: 4, after: second.next });
  expect([opened(last.items), last.next]).toEqual([[1, 0], null]);
  const some = async (filter: Parameters<typeof listIncidents>[1]) =>
    opened((await listIncidents(live.control, { model: 'listed', ...filter }, ALL)).items);
  expect(await some({ version: 'v1' })).toEqual([9, 7, 5, 3, 1]);
  expect(await some({ cause: 'concept' })).toEqual([9, 6, 3, 0]);
  expect(await some({ from: START_MS + 3_000, to: START_MS + 6_000 })).toEqual([5, 4, 3]);
  expect(await some({ status: ['open', 'acknowledged'] })).toHaveLength(11);
  expect(await some({ status: ['resolved'] })).toEqual([]);
});

function decisionOf(id: string, changes: Partial<Decision>): Decision {
  return {
    id,
    model: 'digits',
    version: 'v1',
    policy: 'live',
    state: 'deferred',
    reason: '',
    created_at_ms: START_MS,
    updated_at_ms: START_MS,
    expires_at_ms: START_MS + 1,
    incident_id: 'inc_1',
    episode_id: 'inc_1@1',
    attempt: 1,
    dispatch_key: id,
    run_id: null,
    dispatched_at_ms: null,
    reserved_nano_usd: '0',
    approved_by: null,
    gates: [],
    drift: {},
    data: { from_ms: 0, to_ms: 1, rows: 0, labelled_rows: 0 },
    accuracy_before: null,
    accuracy_drifted: null,
    accuracy_after: null,
    after: [],
    events: [],
    ...changes,
  };
}

test('decisions are filtered by state, model, version, policy and incident', async () => {
  const decisions = [
    decisionOf('dec_1', { version: 'v1' }),
    decisionOf('dec_2', { version: 'v2', state: 'dispatched', created_at_ms: START_MS + 1 }),
    decisionOf('dec_3', { policy: 'other', state: 'confirmed', incident_id: 'inc_2', created_at_ms: START_MS + 2 }),
  ];
  await live.control.transaction(async (tx) => {
    for (const decision of decisions) await tx.insert(RETRAIN_DECISIONS, decision.id, decision);
  });
  const ids = async (filter: Parameters<typeof listDecisions>[1]) =>
    (await listDecisions(live.control, filter, ALL)).items.map(({ id }) => id);
  expect(await ids({})).toEqual(['dec_3', 'dec_2', 'dec_1']);
  expect(await ids({ version: 'v2' })).toEqual(['dec_2']);
  expect(await ids({ policy: 'other' })).toEqual(['dec_3']);
  expect(await ids({ incident_id: 'inc_1' })).toEqual(['dec_2', 'dec_1']);
  expect(await ids({ state: ['deferred', 'confirmed'] })).toEqual(['dec_3', 'dec_1']);
  expect(await ids({ from: START_MS + 1, to: START_MS + 2 })).toEqual(['dec_2']);
});

test.each(HOSTILE)('%s in an id or a filter finds nothing and harms nothing', async (text) => {
  await live.put(ofJob('safe', [stepRecord(1)]));
  const count = async (): Promise<unknown> => live.store.query('SELECT count() AS n FROM leeway.step', {}, signal);
  const before = await count();
  const now_ms = START_MS + 60_000;
  const jobs = { rows: new JobRows(live.store, systemClock), control: live.control };
  expect((await listSteps(live.store, text, { ranks: [] }, ALL)).items).toEqual([]);
  await expect(jobDetail({ store: live.store, control: live.control }, text, now_ms)).rejects.toMatchObject({
    code: 'LW-NOT-FOUND',
  });
  for (const filter of [{ job: text }, { team: text }, { model: text }])
    expect((await listJobs(jobs, { filter, paging: ALL, now_ms })).items).toEqual([]);
  for (const filter of [{ kind: text }, { model: text }, { rule: text }, { status: [text] }])
    expect((await listIncidents(live.control, filter, ALL)).items).toEqual([]);
  for (const filter of [{ version: text }, { state: [text] }])
    expect((await listDecisions(live.control, filter, ALL)).items).toEqual([]);
  expect(await count()).toEqual(before);
});

test('a job whose name is hostile text is found by it, and only it', async () => {
  for (const text of HOSTILE) await live.put(ofJob(text, [stepRecord(1)]));
  for (const text of HOSTILE)
    expect((await listSteps(live.store, text, { ranks: [] }, ALL)).items).toEqual(ofJob(text, [stepRecord(1)]));
});

const HOUR_MS = 3_600_000;
const MONEY: LeewayRecord[] = [
  {
    type: 'asset',
    id: 'node-1',
    kind: 'gpu_node',
    gpus: 8,
    from_ms: START_MS,
    to_ms: START_MS + 5 * HOUR_MS,
    provider: 'aws',
    region: 'us-east-1',
    instance_type: 'p5.48xlarge',
    pricing: 'on_demand',
    account: '1',
  },
  {
    type: 'price',
    asset: 'node-1',
    from_ms: START_MS,
    usd_per_hour: '55.040000001',
    source: 'list',
    retrieved_on: '2026-01-01',
  },
  ...[3, 5].map(
    (gpus, index): LeewayRecord => ({
      type: 'claim',
      asset: 'node-1',
      tenant: { team: `team-${index}`, job: 'pretrain' },
      from_ms: START_MS + index * 1_234_567,
      to_ms: START_MS + (index + 2) * 4_321_987,
      gpus,
      mode: 'whole',
    }),
  ),
];

test('costs of stored records are those of the ledger on the same records, to the nano-dollar, also after more came', async () => {
  const book = new CostBook(live.store, []);
  await live.put(MONEY.slice(0, 3));
  const first = await book.costs({ group_by: ['team'] });
  expect(first.totals).toEqual(totalsOf(costLedger(intakeOf(MONEY.slice(0, 3)))));
  // 5 hours at 55.040000001: nothing is lost to rounding
  expect(first.totals.billed_nano_usd).toBe('275200000005');
  await live.put(MONEY.slice(3));
  const answer = await book.costs({ group_by: ['team'], period: 'hour' });
  expect(answer.totals).toEqual(totalsOf(costLedger(intakeOf(MONEY))));
  expect(answer.items.reduce((sum, { nano_usd }) => sum + BigInt(nano_usd), 0n)).toBe(275_200_000_005n);
  const hour = await book.costs({ group_by: ['team'], from: START_MS + HOUR_MS, to: START_MS + 2 * HOUR_MS });
  expect(hour.totals.billed_nano_usd).toBe('55040000001');
  expect(await book.ledger({})).toBe(await book.ledger({}));
  await expect(book.explain({ asset: HOSTILE[0] ?? '' })).rejects.toMatchObject({ code: 'LW-NOT-FOUND' });
});

test('the account adds up at every look while batches come, and misses nothing that was acknowledged', async () => {
  const begun = [0, 0, 0];
  const acknowledged = [0, 0, 0];
  const sending = Promise.all(
    [0, 1, 2].map(async (sender) => {
      const source = `sender-${sender}`;
      for (let sequence = 1; sequence <= 10; sequence++) {
        const from = 1_000 * sender + 10 * sequence;
        const records = ofJob(
          'accounted',
          Array.from({ length: 10 }, (_, index) => stepRecord(from + index, sender)),
        );
        begun[sender] = 10 * sequence;
        await live.bus.publish({ source, epoch: 1, sequence, records }, signal);
        acknowledged[sender] = 10 * sequence;
        await systemClock.sleep(10, signal);
      }
    }),
  );
  let done = false;
  void sending.then(() => {
    done = true;
  });
  do {
    const atLeast = acknowledged.map((rows, sender) => [`sender-${sender}`, rows] as const);
    const items = await deliveryAccount(doors, [], signal);
    for (const item of items) {
      const lost = Object.values(item.declared_loss).reduce((sum, count) => sum + count, 0);
      expect(item.emitted).toBe(item.stored + item.in_flight + lost);
    }
    for (const [index, [sender, rows]] of atLeast.entries()) {
      const emitted = items.find(({ source }) => source === sender)?.emitted ?? 0;
      expect([sender, emitted >= rows && emitted <= (begun[index] ?? 0)]).toEqual([sender, true]);
    }
  } while (!done || live.bus.backlog().in_flight.length > 0);
  await sending;
  const items = (
    await deliveryAccount(doors, [{ source: 'sender-1', epoch: 1, reasons: { buffer_full: 7 } }], signal)
  ).filter(({ source }) => source.startsWith('sender-'));
  expect(
    items.map(({ source, emitted, stored, sequences_missing }) => [source, emitted, stored, sequences_missing]),
  ).toEqual([
    ['sender-0', 100, 100, 0],
    ['sender-1', 107, 100, 0],
    ['sender-2', 100, 100, 0],
  ]);
  expect(items[1]?.declared_loss).toEqual({ buffer_full: 7 });
});

test('the overview counts what the lists hold', async () => {
  const now_ms = START_MS + HOUR_MS;
  const delivery = await deliveryAccount(doors, [], signal);
  const jobs = await listJobs(
    { rows: new JobRows(live.store, systemClock), control: live.control },
    { filter: {}, paging: ALL, now_ms },
  );
  const costs = new CostBook(live.store, []);
  const { store, control } = live;
  const shown = await overview({ store, control, costs, jobs: jobs.items, models: [], delivery, lag_ms: 5, now_ms });
  const incidents = await listIncidents(live.control, { status: ['open', 'acknowledged', 'snoozed'] }, ALL);
  expect(shown.incidents.open).toBe(incidents.items.length);
  expect(shown.incidents.page + shown.incidents.warn).toBe(shown.incidents.open);
  expect(shown.jobs.running).toBe(jobs.items.filter(({ state }) => state !== 'ended').length);
  expect(shown.delivery).toMatchObject({
    stored: delivery.reduce((sum, { stored }) => sum + stored, 0),
    in_flight: 0,
    lag_ms: 5,
  });
  // hours 0 and 1 of the day so far, at 55.040000001 each
  expect(shown.cost.today_nano_usd).toBe('110080000002');
  expect(await live.control.transaction((tx) => tx.count(AUDIT, []))).toBe(0);
});
