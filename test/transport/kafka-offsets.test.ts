import { expect, test } from 'vitest';
import { PartitionOffsets } from '../../src/transport/kafka-offsets.ts';

test('the frontier stays before the first message that is not dealt with, whatever was done after it', () => {
  const offsets = new PartitionOffsets(10n);
  for (const offset of [10n, 11n, 12n]) expect(offsets.take(offset)).toBe(true);
  offsets.done(12n);
  offsets.done(11n);
  expect(offsets.frontier).toBe(10n);
  offsets.done(10n);
  expect(offsets.frontier).toBe(13n);
});

test('a message that comes again after a rebalance is not taken twice, dealt with or not', () => {
  const offsets = new PartitionOffsets(0n);
  offsets.take(0n);
  offsets.take(1n);
  offsets.done(0n);
  expect([offsets.take(0n), offsets.take(1n), offsets.take(2n)]).toEqual([false, false, true]);
  expect(offsets.frontier).toBe(1n);
});

test('offsets may have gaps: the frontier is one past the last message taken when all are dealt with', () => {
  const offsets = new PartitionOffsets(0n);
  offsets.take(3n);
  offsets.take(70n);
  offsets.done(3n);
  expect(offsets.frontier).toBe(70n);
  offsets.done(70n);
  expect(offsets.frontier).toBe(71n);
  expect(offsets.next).toBe(71n);
});

test('what another member has dealt with is passed over; what comes after it stays open', () => {
  const offsets = new PartitionOffsets(0n);
  for (const offset of [0n, 1n, 2n, 3n]) offsets.take(offset);
  offsets.done(3n);
  offsets.passTo(2n);
  expect([offsets.frontier, offsets.next]).toEqual([2n, 4n]);
  offsets.passTo(1n); // said before: nothing is put back
  expect([offsets.frontier, offsets.next]).toEqual([2n, 4n]);
  offsets.passTo(9n);
  expect([offsets.frontier, offsets.next, offsets.take(8n), offsets.take(9n)]).toEqual([9n, 9n, false, true]);
});

test('with nothing taken the frontier is where the group goes on', () => {
  expect(new PartitionOffsets(42n).frontier).toBe(42n);
});
