import { expect, test } from 'vitest';
import { consoleModule } from './console-module.ts';

type Item = Readonly<Record<string, unknown>>;
type DeliveryAccount = {
  accountOf(source: string, items: readonly Item[]): Item;
  accountsOf(items: readonly Item[]): Item[];
  unaccountedOf(item: Item): number;
};

const account = await consoleModule<DeliveryAccount>('delivery-account.js');

const WHOLE = {
  source: 'n01',
  epoch: '1',
  emitted: 100,
  stored: 90,
  in_flight: 6,
  declared_loss: { spool_full_oldest: 3, buffer_full: 1 },
  duplicates_absorbed: 2,
  late: 4,
  sequences_missing: 2,
  sequences_lost: 1,
  gaps: [],
  gaps_omitted: 0,
  oldest_in_flight_ms: 300,
  in_flight_known: true,
};

test('emitted less stored, in flight and declared loss is what nobody can account for', () => {
  expect(account.unaccountedOf(WHOLE)).toBe(0);
  expect(account.unaccountedOf({ ...WHOLE, stored: 85 })).toBe(5);
  expect(account.unaccountedOf({ ...WHOLE, stored: 91 })).toBe(-1);
});

test('the account of a source sums its epochs; too many here do not hide too few there', () => {
  const second = { ...WHOLE, epoch: '2', stored: 92, declared_loss: { buffer_full: 2 }, oldest_in_flight_ms: 900 };
  const third = { ...WHOLE, epoch: '3', stored: 92, declared_loss: {}, oldest_in_flight_ms: null };
  expect(account.accountOf('n01', [WHOLE, second, { ...third, stored: 98, in_flight_known: false }])).toEqual({
    source: 'n01',
    epochs: 3,
    emitted: 300,
    stored: 90 + 92 + 98,
    in_flight: 18,
    declared_loss: { spool_full_oldest: 3, buffer_full: 3 },
    lost: 6,
    unaccounted: 4, // the third has 98 + 6 of 100
    duplicates_absorbed: 6,
    late: 12,
    sequences_missing: 6,
    sequences_lost: 3,
    oldest_in_flight_ms: 900,
    in_flight_known: false,
  });
});

test('sources come in the order of their items, each once', () => {
  const accounts = account.accountsOf([{ ...WHOLE, source: 'b' }, WHOLE, { ...WHOLE, source: 'b', epoch: '2' }]);
  expect(accounts.map(({ source, epochs }) => [source, epochs])).toEqual([
    ['b', 2],
    ['n01', 1],
  ]);
});
