import { expect, test } from 'vitest';
import type { KafkaIn, PartitionPosition } from '../../src/transport/kafka-driver.ts';
import { Seat, type SeatEvents } from '../../src/transport/kafka-seat.ts';

function message(offset: bigint): KafkaIn {
  return { offset, key: null, value: null, headers: new Map(), at_ms: 0 };
}

function position(changes: Partial<PartitionPosition>): PartitionPosition {
  return { partition: 0, low: 0n, end: 20n, committed: null, ...changes };
}

/** A seat located at `from` that has taken `count` messages. */
function taken(from: bigint, count: number): Seat {
  const seat = new Seat(null, true);
  seat.locate(position({ committed: from }), silent);
  for (let index = 0; index < count; index++) seat.offsets?.take(from + BigInt(index));
  return seat;
}

const silent: SeatEvents = {
  onRepeats: (what) => {
    throw new Error(what);
  },
  onGap: (partition, from, to) => {
    throw new Error(`partition ${partition} lacks ${from} to ${to}`);
  },
};

test('a partition that is new to us begins where the group stands, or at its first message', () => {
  const cases = [
    [{ committed: 7n }, 7n, 7n],
    [{ committed: null }, 0n, 0n],
    [{ committed: null, low: 3n }, 3n, 3n],
  ] as const;
  for (const [changes, frontier, committed] of cases) {
    const seat = new Seat(null, true);
    expect(seat.offsets).toBeNull();
    expect(seat.locate(position(changes), silent)).toEqual([]);
    expect([seat.offsets?.frontier, seat.offsets?.committed]).toEqual([frontier, committed]);
  }
});

test('where retention passed the group it is put forward, and what was removed unread is told', () => {
  const gaps: unknown[] = [];
  const seat = new Seat(null, true);
  seat.locate(position({ partition: 4, committed: 2n, low: 9n }), {
    ...silent,
    onGap: (...gap) => void gaps.push(gap),
  });
  expect([seat.offsets?.frontier, seat.offsets?.committed]).toEqual([9n, null]);
  expect(gaps).toEqual([[4, 2n, 9n]]);
});

test('of a partition that stays ours nothing can be committed until the group was asked, and what is stored meanwhile counts', () => {
  const before = taken(5n, 3); // 5, 6 and 7 in hand
  const seat = new Seat(before, false);
  expect(seat.offsets).toBeNull();
  seat.done(5n);
  seat.locate(position({ committed: 5n }), silent);
  expect([seat.offsets?.frontier, seat.offsets?.next, seat.offsets?.committed]).toEqual([6n, 8n, null]);
});

test('where others went on meanwhile it goes on after them, and is never put back', () => {
  const ahead = new Seat(taken(5n, 3), false);
  ahead.locate(position({ committed: 12n }), silent);
  expect([ahead.offsets?.frontier, ahead.offsets?.next]).toEqual([12n, 12n]);
  const behind = new Seat(taken(5n, 3), false);
  behind.locate(position({ committed: 2n }), silent); // forgotten: 5 is said again
  expect([behind.offsets?.frontier, behind.offsets?.next]).toEqual([5n, 8n]);
});

test('messages are held back in the order of arrival until it is located; those of another consumer are dropped', () => {
  const seat = new Seat(null, false);
  seat.hold([message(4n)]);
  const again = new Seat(seat, false);
  again.hold([message(5n), message(6n)]);
  const offsets = again.locate(position({ committed: 4n }), silent).map((batch) => batch.map(({ offset }) => offset));
  expect(offsets).toEqual([[4n], [5n, 6n]]);
  const replaced = new Seat(null, true);
  replaced.hold([message(9n)]);
  expect(new Seat(replaced, true).locate(position({ committed: 4n }), silent)).toEqual([]);
});

test('20,000 messages are held back, one more is too many', () => {
  const seat = new Seat(null, true);
  expect(seat.hold(Array.from({ length: 19_999 }, (_, index) => message(BigInt(index))))).toBe(true);
  expect([seat.hold([message(19_999n)]), seat.hold([message(20_000n)])]).toEqual([true, false]);
});

test('a partition that ends before the group’s offset is read from its beginning, unless we have read as far ourselves', () => {
  const told: string[] = [];
  const cut = position({ low: 1n, end: 3n, committed: 9n });
  const fresh = new Seat(null, true);
  fresh.locate(cut, { ...silent, onRepeats: (what) => void told.push(what) });
  expect([fresh.offsets?.frontier, fresh.offsets?.committed]).toEqual([1n, null]);
  const zombie = new Seat(taken(5n, 3), false); // next is 8: the group had gone on to 9 without us
  zombie.locate(cut, { ...silent, onRepeats: (what) => void told.push(what) });
  expect(zombie.offsets?.frontier).toBe(1n);
  const what = "partition 0 ends at 3, before the group's offset 9: read from its beginning";
  expect(told).toEqual([what, what]);
  const own = new Seat(taken(5n, 4), false);
  own.locate(cut, silent);
  expect([own.offsets?.frontier, own.offsets?.next]).toEqual([5n, 9n]);
});
