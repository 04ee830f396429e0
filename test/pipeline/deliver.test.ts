import { expect, test } from 'vitest';
import { alertmanager } from '../../alerts/sinks/alertmanager.ts';
import { DELIVERY_ATTEMPTS, SINK_STATES } from '../../src/control/collections.ts';
import { reject, retry } from '../../src/core/outcome.ts';
import { seededRandom } from '../../src/core/random.ts';
import { backoffMs } from '../../src/pipeline/backoff.ts';
import { claimNext } from '../../src/pipeline/outbox-lease.ts';
import { findingOf } from '../incident/fixtures.ts';
import { answer, destinationOf, type House, openHouse, POLICY } from './desk-house.ts';

const signal = new AbortController().signal;
const ann = { actor: 'ann', note: '' };
const finding = (rank: number, value = 0.3) =>
  findingOf(value, { key: `rank/${rank}`, subjects: [{ type: 'rank', id: String(rank) }] });

async function deliver(house: House, sink = 'ops') {
  return house.courier.deliverNext(sink, signal);
}

const stateOf = async (house: House, sink = 'ops') =>
  (await house.control.transaction((tx) => tx.get(SINK_STATES, sink)))?.body.state;

test.each([
  [200, 'delivered'],
  [204, 'delivered'],
  [299, 'delivered'],
  [301, 'failed'],
  [302, 'failed'],
  [307, 'failed'],
  [400, 'failed'],
  [401, 'failed'],
  [404, 'failed'],
  [410, 'failed'],
  [422, 'failed'],
  [408, 'retrying'],
  [425, 'retrying'],
  [429, 'retrying'],
  [500, 'retrying'],
  [502, 'retrying'],
  [503, 'retrying'],
  [599, 'retrying'],
] as const)('an answer of %i leaves the notification %s', async (status, state) => {
  await using house = await openHouse();
  house.door.answers.set('ops', [answer(status)]);
  await house.desk.judge([finding(1)], house.clock.now_ms());
  const delivered = await deliver(house);
  expect(delivered?.row.state).toBe(state);
  expect(delivered?.attempt.http_status).toBe(status);
  expect(await deliver(house)).toBeNull();
});

test('network errors and time-outs are retried, egress blocks, and every attempt is on record', async () => {
  await using house = await openHouse();
  house.door.answers.set('ops', [
    retry('LW-UNREACHABLE', 'refused'),
    retry('LW-TIMEOUT', 'late'),
    reject('LW-EGRESS', 'closed'),
    answer(200),
  ]);
  await house.desk.judge([finding(1)], house.clock.now_ms());
  const outcomes: unknown[] = [];
  for (let count = 0; count < 4; count++) {
    const delivered = await deliver(house);
    outcomes.push([delivered?.attempt.outcome, delivered?.row.state, await stateOf(house)]);
    await house.clock.advance(60_000);
  }
  expect(outcomes).toEqual([
    ['retry', 'retrying', 'retrying'],
    ['retry', 'retrying', 'retrying'],
    ['blocked', 'blocked', 'blocked'],
    ['delivered', 'delivered', 'ok'],
  ]);
  const attempts = await house.control.transaction((tx) => tx.list(DELIVERY_ATTEMPTS, {}));
  expect(attempts.map(({ id }) => id.split('/')[1])).toEqual(['000001', '000002', '000003', '000004']);
  expect(new Set(house.door.told('ops').map(({ id }) => id)).size).toBe(1);
});

test('attempt n waits retry_base * 2^(n-1), at most retry_max, within a fifth, over many draws', () => {
  const random = seededRandom(7);
  for (const [attempt, plain_ms] of [
    [1, 5000],
    [2, 10_000],
    [3, 20_000],
    [4, 40_000],
    [5, 60_000],
    [30, 60_000],
  ] as const) {
    const waits = Array.from({ length: 500 }, () => backoffMs(POLICY, attempt, null, random));
    expect(Math.min(...waits)).toBeGreaterThanOrEqual(plain_ms * 0.8);
    expect(Math.max(...waits)).toBeLessThanOrEqual(plain_ms * 1.2);
    expect(Math.max(...waits) - Math.min(...waits)).toBeGreaterThan(plain_ms * 0.35);
  }
  expect(backoffMs(POLICY, 1, 30_000, random)).toBe(30_000);
});

test('the next attempt is not made before its time, and Retry-After is obeyed where it is longer', async () => {
  await using house = await openHouse();
  house.door.answers.set('ops', [answer(503, { 'retry-after': '120' }), answer(200)]);
  await house.desk.judge([finding(1)], house.clock.now_ms());
  const first = await deliver(house);
  expect(first?.row.next_attempt_at_ms).toBe(house.clock.now_ms() + 120_000);
  await house.clock.advance(119_999);
  expect(await deliver(house)).toBeNull();
  await house.clock.advance(1);
  expect((await deliver(house))?.row.state).toBe('delivered');
});

test('after retry_for_ms it is given up, and a replay starts again under the same id', async () => {
  await using house = await openHouse();
  house.door.answers.set('ops', [answer(500)]);
  await house.desk.judge([finding(1)], house.clock.now_ms());
  for (let minute = 0; minute < 12; minute++) {
    await deliver(house);
    await house.clock.advance(72_000);
  }
  const [row] = await house.outbox();
  expect(row?.body.state).toBe('failed');
  // five seconds doubling to a minute, for ten minutes: 5+10+20+40 = 75 s for four, then one a minute: at most 5 + 9 = 14
  expect(row?.body.attempts).toBeLessThanOrEqual(14);
  house.door.answers.set('ops', [answer(200)]);
  await house.courier.replay(row?.id ?? '', ann);
  expect((await deliver(house))?.row.state).toBe('delivered');
  expect(new Set(house.door.told('ops').map(({ id }) => id))).toEqual(new Set([row?.id]));
  await expect(house.courier.replay('msg_none', ann)).rejects.toMatchObject({ code: 'LW-NOT-FOUND' });
});

test('a crash after sending and before recording sends the same id again once the lease has ended', async () => {
  await using house = await openHouse();
  await house.desk.judge([finding(1)], house.clock.now_ms());
  const lease_ms = 2 * POLICY.timeout_ms + 1000;
  const lost = await claimNext(house.control, 'ops', { now_ms: house.clock.now_ms(), lease_ms });
  expect(lost?.document.body.attempts).toBe(1);
  expect(await deliver(house)).toBeNull();
  await house.clock.advance(lease_ms);
  const again = await deliver(house);
  expect(again?.id).toBe(lost?.document.id);
  expect(house.door.told('ops').map(({ id }) => id)).toEqual([lost?.document.id]);
  expect(again?.row).toMatchObject({ state: 'delivered', attempts: 2 });
});

test('a stop during an attempt records nothing and leaves the row to the next worker', async () => {
  await using house = await openHouse();
  house.door.answers.set('ops', ['hang']);
  await house.desk.judge([finding(1)], house.clock.now_ms());
  const stop = new AbortController();
  const attempt = house.courier.deliverNext('ops', stop.signal);
  stop.abort(new Error('stopping'));
  await expect(attempt).rejects.toThrow('stopping');
  expect((await house.outbox())[0]?.body).toMatchObject({ state: 'retrying', delivered_at_ms: null });
});

test('an answer that came as the service stopped is on record: nobody hears the same twice', async () => {
  await using house = await openHouse();
  await house.desk.judge([finding(1)], house.clock.now_ms());
  const attempt = house.courier.deliverNext('ops', AbortSignal.abort(new Error('stopping')));
  expect((await attempt)?.row.state).toBe('delivered');
  expect((await house.outbox())[0]?.body.state).toBe('delivered');
});

test('410 disables the sink, tells it elsewhere, holds what follows, and a good test opens it again', async () => {
  await using house = await openHouse();
  house.door.answers.set('ops', [answer(410), answer(200)]);
  await house.desk.judge([finding(1), finding(2)], house.clock.now_ms());
  expect((await deliver(house))?.row.state).toBe('failed');
  expect(house.disabled).toEqual(['ops']);
  expect(await stateOf(house)).toBe('disabled');
  expect(await deliver(house)).toBeNull();
  expect(await house.courier.test('ops', ann, signal)).toMatchObject({ outcome: 'delivered', http_status: 200 });
  expect(await stateOf(house)).toBe('ok');
  expect((await deliver(house))?.row.state).toBe('delivered');
});

test('a resolution never overtakes its opening, while other incidents go on', async () => {
  await using house = await openHouse();
  house.door.answers.set('ops', [answer(500), answer(200)]);
  await house.desk.judge([finding(1)], house.clock.now_ms());
  await deliver(house);
  await house.clock.advance(10);
  await house.desk.judge([finding(1, 0), finding(2)], house.clock.now_ms());
  expect((await deliver(house))?.row).toMatchObject({ type: 'leeway.incident.opened', attempts: 1 });
  expect(await deliver(house)).toBeNull();
  await house.clock.advance(6001);
  const told = [await deliver(house), await deliver(house)].map((delivered) => delivered?.row.type);
  expect(told).toEqual(['leeway.incident.opened', 'leeway.incident.resolved']);
});

test('what expires is not sent any more and says so', async () => {
  await using house = await openHouse();
  const at_ms = house.clock.now_ms();
  await house.control.transaction((tx) =>
    house.desk.enqueue(tx, {
      type: 'leeway.retrain.requested',
      subject: 'decision/1',
      at_ms,
      data: {},
      target: 'ops',
      expires_at_ms: at_ms + 1000,
    }),
  );
  await house.clock.advance(1000);
  expect((await deliver(house))?.row).toMatchObject({ state: 'failed', reason: 'expired before it could be sent' });
  expect(house.door.requests).toEqual([]);
});

test('a sink that never answers delays no other', async () => {
  await using house = await openHouse({ destinations: [destinationOf('slow'), destinationOf('quick')] });
  house.door.answers.set('slow', ['hang']);
  const stop = new AbortController();
  const running = house.courier.run(stop.signal);
  await house.desk.judge([finding(1), finding(2), finding(3)], house.clock.now_ms());
  for (let turn = 0; turn < 20; turn++) await house.clock.advance(250);
  expect(house.door.told('quick')).toHaveLength(3);
  expect(house.door.told('slow')).toHaveLength(1);
  stop.abort(new Error('done'));
  await running;
});

test('a test takes the real path and signature, is audited, and an unknown sink is not found', async () => {
  await using house = await openHouse();
  const result = await house.courier.test('ops', ann, signal);
  expect(result).toEqual({ outcome: 'delivered', http_status: 204, reason: 'accepted' });
  expect(house.door.requests[0]?.headers).toMatchObject({ 'ce-type': 'leeway.watchdog', 'ce-subject': 'sink/ops' });
  expect(house.door.requests[0]?.headers['webhook-signature']).toMatch(/^v1,/);
  await expect(house.courier.test('nobody', ann, signal)).rejects.toMatchObject({ code: 'LW-NOT-FOUND' });
});

test('a blocked test says so without a status and does not count as a success', async () => {
  await using house = await openHouse();
  house.door.answers.set('ops', [reject('LW-EGRESS', 'closed')]);
  expect(await house.courier.test('ops', ann, signal)).toEqual({
    outcome: 'blocked',
    http_status: null,
    reason: 'closed',
  });
  expect(await stateOf(house)).toBe('blocked');
});

test('a destination that forgets is told again of what is open, under the same id, and of nothing that is over', async () => {
  const settings = { url: 'https://am.example', resend_ms: 60_000 };
  await using house = await openHouse({ destinations: [destinationOf('am', { definition: alertmanager, settings })] });
  await house.desk.judge([finding(1), finding(2)], house.clock.now_ms());
  await deliver(house, 'am');
  expect(await house.courier.resend('am', signal)).toBe(1);
  await deliver(house, 'am');
  expect(await house.courier.resend('am', signal)).toBe(2);
  await house.desk.judge([finding(1, 0)], house.clock.now_ms());
  await deliver(house, 'am');
  expect(await house.courier.resend('am', signal)).toBe(1);
  const last = house.door.requests.at(-1)?.body ?? '';
  expect(JSON.parse(last)[0].endsAt).toBe(new Date(house.clock.now_ms() + 3_600_000).toISOString());
  expect((await house.outbox()).map(({ body }) => body.attempts)).toEqual([1, 1, 1]);
});

test('the worker resends by the rhythm of the destination, and never to one that remembers', async () => {
  const settings = { url: 'https://am.example', resend_ms: 5000 };
  const destinations = [destinationOf('ops'), destinationOf('am', { definition: alertmanager, settings })];
  await using house = await openHouse({ destinations });
  const stop = new AbortController();
  const running = house.courier.run(stop.signal);
  await house.desk.judge([finding(1)], house.clock.now_ms());
  for (let turn = 0; turn < 60; turn++) await house.clock.advance(250);
  stop.abort(new Error('done'));
  await running;
  const sent = house.door.requests.filter(({ url }) => url.includes('am.example')).length;
  // in 15 s: one delivery, then a reminder every 5 s to 5.5 s (the worker looks twice a second): two or three, one more at the start
  expect(sent).toBeGreaterThanOrEqual(3);
  expect(sent).toBeLessThanOrEqual(5);
  expect(house.door.told('ops')).toHaveLength(1);
});
