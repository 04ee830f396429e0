import { expect, test } from 'vitest';
import { RETRAIN_RUNS, SINK_STATES } from '../../src/control/collections.ts';
import { retry } from '../../src/core/outcome.ts';
import type { RetrainRun } from '../../src/core/retraining.ts';
import { claimNext, recordAttempt } from '../../src/pipeline/outbox-lease.ts';
import { analysisOf, consider, decisionsOf, HOUR_MS, onlyDecision, openCoordinator, told } from './coordinator.ts';
import { answer, type House } from './desk-house.ts';

const signal = new AbortController().signal;
const ann = { actor: 'ann', note: '' };
const deliver = (house: House) => house.courier.deliverNext('target:live', signal);
const runsOf = ({ control }: House): Promise<RetrainRun[]> =>
  control.transaction(async (tx) => (await tx.list(RETRAIN_RUNS, {})).map(({ body }) => body));
const typesSent = (house: House): string[] =>
  house.door.told('target').map(({ type }) => type.replace('leeway.retrain.', ''));

test('a request that its target refuses for good ends run and decision, says so, and the next attempt follows', async () => {
  const { house, retraining } = await openCoordinator();
  await using _ = house;
  house.door.answers.set('target', [answer(404), answer(202)]);
  await consider(house, retraining, analysisOf());
  expect((await deliver(house))?.row.state).toBe('failed');
  const reason = 'its request was not delivered: answered 404';
  expect(await runsOf(house)).toMatchObject([{ state: 'failed', reason }]);
  expect(await onlyDecision(house)).toMatchObject({ state: 'not_fixed', reason: `run failed: ${reason}` });
  expect(await told(house)).toEqual(['requested to target:live', 'not_fixed to ops', 'not_fixed to target:live']);
  await house.clock.advance(HOUR_MS); // the cooldown
  await consider(house, retraining, analysisOf());
  expect((await decisionsOf(house)).map(({ attempt, state }) => [attempt, state])).toEqual([
    [1, 'not_fixed'],
    [2, 'dispatched'],
  ]);
});

test('a request that is given up after its retries ends run and decision as well', async () => {
  const { house, retraining } = await openCoordinator();
  await using _ = house;
  house.door.answers.set('target', [retry('LW-UNREACHABLE', 'no answer')]);
  await consider(house, retraining, analysisOf());
  let row = (await deliver(house))?.row;
  // retries end after ten minutes, and the longest wait is a minute and a fifth
  for (let minute = 0; row?.state !== 'failed' && minute < 20; minute++) {
    await house.clock.advance(72_000);
    row = (await deliver(house))?.row;
  }
  expect(row?.reason).toMatch(/^given up after \d+ attempts: no answer$/);
  expect((await runsOf(house)).map(({ state }) => state)).toEqual(['failed']);
  expect((await onlyDecision(house)).state).toBe('not_fixed');
});

test.each([
  ['while its target is disabled', true],
  ['with nobody to send it', false],
])('a request that expires unsent %s ends run and decision', async (_name, disabled) => {
  const { house, retraining } = await openCoordinator({ decision_ttl_ms: HOUR_MS });
  await using _ = house;
  const state = { state: 'disabled' as const, reason: 'answered 410, gone', updated_at_ms: 0 };
  if (disabled) await house.control.transaction((tx) => tx.insert(SINK_STATES, 'target:live', state));
  await consider(house, retraining, analysisOf());
  await house.clock.advance(HOUR_MS - 1);
  await house.control.transaction((tx) => retraining.expire(tx));
  expect((await onlyDecision(house)).state).toBe('dispatched');
  await house.clock.advance(1);
  if (disabled) expect(await deliver(house)).toBeNull();
  await house.control.transaction((tx) => retraining.expire(tx));
  expect((await onlyDecision(house)).state).toBe('not_fixed');
  expect((await runsOf(house)).map((run) => run.state)).toEqual(['failed']);
  expect((await house.outbox())[0]?.body.state).toBe('failed');
});

test('a delivered request outlives its expiry, and one whose pipeline reports its failure', async () => {
  const { house, retraining } = await openCoordinator({ decision_ttl_ms: HOUR_MS });
  await using _ = house;
  await consider(house, retraining, analysisOf());
  expect((await deliver(house))?.row.state).toBe('delivered');
  await house.clock.advance(HOUR_MS);
  await house.control.transaction((tx) => retraining.expire(tx));
  expect((await onlyDecision(house)).state).toBe('dispatched');

  const { house: other, retraining: reported } = await openCoordinator();
  await using __ = other;
  other.door.answers.set('target', [answer(404)]); // a proxy in between, say: the pipeline has it all the same
  await consider(other, reported, analysisOf());
  await reported.report(String((await onlyDecision(other)).run_id), { state: 'running', at_ms: 0 }, 'local');
  expect((await deliver(other))?.row.state).toBe('failed');
  expect((await onlyDecision(other)).state).toBe('dispatched');
  expect((await runsOf(other)).map(({ state }) => state)).toEqual(['running']);
});

test('a request that waits for its next attempt is not sent after a person cancelled its decision', async () => {
  const { house, retraining } = await openCoordinator();
  await using _ = house;
  house.door.answers.set('target', [answer(503), answer(202)]);
  await consider(house, retraining, analysisOf());
  expect((await deliver(house))?.row.state).toBe('retrying');
  const { id } = await onlyDecision(house);
  await retraining.close(id, 'mia', 'no, stop', 'cancelled');
  for (let minute = 0; minute < 3; minute++) {
    await house.clock.advance(60_000);
    await deliver(house);
  }
  expect(typesSent(house)).toEqual(['requested', 'cancelled']);
  expect((await house.outbox())[0]?.body).toMatchObject({
    state: 'failed',
    reason: 'cancelled before it was delivered',
  });
  expect((await onlyDecision(house)).state).toBe('cancelled');
});

test.each([
  ['arrives', 'delivered', ['cancelled']],
  ['does not arrive', 'retrying', ['cancelled']],
] as const)('a request under way while it is cancelled that %s is not sent again', async (_name, state, after) => {
  const { house, retraining } = await openCoordinator();
  await using _ = house;
  await consider(house, retraining, analysisOf());
  const claimed = await claimNext(house.control, 'target:live', { now_ms: house.clock.now_ms(), lease_ms: 21_000 });
  if (claimed === null) throw new Error('the request is due');
  await retraining.close((await onlyDecision(house)).id, 'mia', 'no, stop', 'cancelled');
  expect(await deliver(house)).toBeNull(); // the cancellation never overtakes what it cancels
  const at_ms = house.clock.now_ms();
  const ended = { ...claimed.document.body, state, lease_until_ms: 0, next_attempt_at_ms: at_ms };
  const outcome = state === 'delivered' ? 'delivered' : 'retry';
  const attempt = { notification_id: claimed.document.id, sink: 'target:live', at_ms, outcome } as const;
  const written = await house.control.transaction((tx) =>
    recordAttempt(tx, claimed.document, ended, { ...attempt, http_status: null, reason: '', duration_ms: 1 }),
  );
  expect(written).toBe(true);
  for (let time = 0; time < 3; time++) await deliver(house);
  expect(typesSent(house)).toEqual(after);
});

test('the request of a decision that is over is not replayed', async () => {
  const { house, retraining } = await openCoordinator();
  await using _ = house;
  house.door.answers.set('target', [answer(404), answer(202)]);
  await consider(house, retraining, analysisOf());
  const failed = await deliver(house);
  await expect(house.courier.replay(failed?.id ?? '', ann)).rejects.toMatchObject({ code: 'LW-CONFLICT' });
});
