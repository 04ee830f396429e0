import { expect, test } from 'vitest';
import { DELIVERY_ATTEMPTS } from '../../src/control/collections.ts';
import { pruneOutbox } from '../../src/pipeline/outbox-retention.ts';
import { findingOf } from '../incident/fixtures.ts';
import { answer, openHouse } from './desk-house.ts';

const DAY_MS = 86_400_000;
const signal = new AbortController().signal;

test('after forty days what was delivered goes with its attempts, and what still waits stays', async () => {
  await using house = await openHouse();
  house.door.answers.set('ops', [answer(200), answer(500)]);
  const start_ms = house.clock.now_ms();
  await house.desk.judge([findingOf(0.3, { key: 'a' }), findingOf(0.3, { key: 'b' })], start_ms);
  await house.courier.deliverNext('ops', signal);
  await house.courier.deliverNext('ops', signal);
  expect(await pruneOutbox(house.control, start_ms + 40 * DAY_MS)).toBe(0);
  expect(await pruneOutbox(house.control, start_ms + 40 * DAY_MS + 1)).toBe(1);
  expect((await house.outbox()).map(({ body }) => body.state)).toEqual(['retrying']);
  expect(await house.control.transaction((tx) => tx.count(DELIVERY_ATTEMPTS, []))).toBe(1);
});
