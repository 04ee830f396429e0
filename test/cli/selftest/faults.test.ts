import { expect, test } from 'vitest';
import { type Fault, faultAt } from '../../../src/cli/selftest/faults.ts';

test('faults have their shares: of a hundred equal draws 35, 10, 20, 20 and 15', () => {
  const counts: Partial<Record<Fault, number>> = {};
  for (let draw = 0; draw < 100; draw++) {
    const fault = faultAt((draw + 0.5) / 100);
    counts[fault] = (counts[fault] ?? 0) + 1;
  }
  expect(counts).toEqual({
    kill_service: 35,
    kill_while_starting: 10,
    kill_store: 20,
    stall_service: 20,
    stall_store: 15,
  });
});

test('the ends of [0, 1) are faults too', () => {
  expect([faultAt(0), faultAt(1 - 2 ** -53)]).toEqual(['kill_service', 'stall_store']);
});
