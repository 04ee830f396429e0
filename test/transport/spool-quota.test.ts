import { expect, test } from 'vitest';
import { integerBelow, seededRandom } from '../../src/core/random.ts';
import { TABLE_NAMES, type TableName } from '../../src/core/tables.ts';
import {
  admit,
  type DropPolicy,
  droppableBytes,
  droppedFor,
  policiesOf,
  SIGNALS,
  signalOf,
} from '../../src/transport/spool-quota.ts';

const seed = Number(process.env['LEEWAY_SEED'] ?? Date.now() % 1_000_000);
const POLICIES = ['block', 'drop_oldest', 'drop_newest'] as const satisfies readonly DropPolicy[];

test('every table belongs to one signal; samples and nodes are metrics, answers and their truth predictions', () => {
  expect(TABLE_NAMES.every((table) => SIGNALS.includes(signalOf(table)))).toBe(true);
  expect((['samples', 'gpu', 'nic', 'host', 'series'] as const).map(signalOf)).toEqual(Array(5).fill('metrics'));
  expect((['prediction', 'label', 'counts', 'inference'] as const).map(signalOf)).toEqual(Array(4).fill('predictions'));
  expect((['step', 'claim', 'deploy'] as const).map(signalOf)).toEqual(Array(3).fill('records'));
});

test('a signal has its own policy or that of the spool', () => {
  expect(policiesOf('block')).toEqual({ metrics: 'block', predictions: 'block', records: 'block' });
  expect(policiesOf('drop_oldest', { records: 'block' })).toEqual({
    metrics: 'drop_oldest',
    predictions: 'drop_oldest',
    records: 'block',
  });
});

const mixed = policiesOf('block', { metrics: 'drop_oldest', predictions: 'drop_newest' });
const parts: { table: TableName; bytes: number }[] = [
  { table: 'step', bytes: 100 },
  { table: 'prediction', bytes: 50 },
];

test.each([
  // over, droppable: what is missing for all 150 bytes
  [0, 0, { kind: 'take', shed: new Set() }],
  [1, 0, { kind: 'take', shed: new Set(['prediction']) }],
  [50, 0, { kind: 'take', shed: new Set(['prediction']) }],
  [51, 0, { kind: 'refuse' }],
  [51, 1, { kind: 'take', shed: new Set(['prediction']) }],
  [151, 100, { kind: 'refuse' }],
])('%i bytes over with %i to drop: %j', (over_bytes, droppable_bytes, admission) => {
  expect(admit(parts, { over_bytes, droppable_bytes }, mixed)).toEqual(admission);
});

test('under block nothing is ever shed or dropped', () => {
  const block = policiesOf('block');
  expect(admit(parts, { over_bytes: 1, droppable_bytes: 0 }, block)).toEqual({ kind: 'refuse' });
  expect(droppedFor(1e9, [{ number: 1, table: 'gpu', bytes: 10 }], block)).toEqual([]);
});

test('the oldest of all droppable signals go first, no more than needed, others never', () => {
  const waiting = [
    { number: 7, table: 'gpu', bytes: 10 },
    { number: 3, table: 'step', bytes: 10 },
    { number: 5, table: 'samples', bytes: 10 },
    { number: 4, table: 'prediction', bytes: 10 },
    { number: 6, table: 'nic', bytes: 10 },
  ] as const;
  const numbers = (over: number) => droppedFor(over, waiting, mixed).map(({ number }) => number);
  expect([0, 1, 10, 11, 25, 1000].map(numbers)).toEqual([[], [5], [5], [5, 6], [5, 6, 7], [5, 6, 7]]);
});

test(`what is admitted always fits after dropping, and what is dropped is enough and not one too many (seed ${seed})`, () => {
  const random = seededRandom(seed);
  const any = <Item>(items: readonly Item[]): Item => items[integerBelow(random, items.length)] as Item;
  for (let run = 0; run < 2_000; run++) {
    const policies = policiesOf(any(POLICIES), { metrics: any(POLICIES), records: any(POLICIES) });
    const waiting = Array.from({ length: integerBelow(random, 8) }, (_, number) => {
      return { number, table: any(TABLE_NAMES), bytes: 1 + integerBelow(random, 100) };
    });
    const incoming = Array.from({ length: 1 + integerBelow(random, 4) }, () => {
      return { table: any(TABLE_NAMES), bytes: 1 + integerBelow(random, 100) };
    });
    const over_bytes = integerBelow(random, 400) - 100;
    const droppable_bytes = droppableBytes(waiting, policies);
    const admission = admit(incoming, { over_bytes, droppable_bytes }, policies);
    if (admission.kind === 'refuse') {
      expect(over_bytes).toBeGreaterThan(droppable_bytes);
      continue;
    }
    for (const table of admission.shed) expect(policies[signalOf(table)]).toBe('drop_newest');
    const shed_bytes = incoming
      .filter(({ table }) => admission.shed.has(table))
      .reduce((sum, part) => sum + part.bytes, 0);
    const left = over_bytes - shed_bytes;
    const dropped = droppedFor(left, waiting, policies);
    const freed = dropped.reduce((sum, { bytes }) => sum + bytes, 0);
    expect({ run, enough: freed >= left }).toEqual({ run, enough: true });
    expect({ run, spare: freed - (dropped.at(-1)?.bytes ?? 0) < Math.max(left, 1) }).toEqual({ run, spare: true });
    expect(droppedFor(left, waiting.toReversed(), policies)).toEqual(dropped);
  }
});
