import { expect, test } from 'vitest';
import { accountSilence, silenceFindings } from '../../src/compose/silence.ts';
import { ManualClock } from '../../src/core/clock.ts';
import type { DeliveryTotal } from '../../src/core/delivery-total.ts';
import { SourceRegistry } from '../../src/read/sources.ts';

const COLLECTORS = ['host', 'nvidia', 'workload'];

function total(source: string, emitted: number): DeliveryTotal {
  return {
    source,
    emitted,
    stored: emitted,
    in_flight: 0,
    declared_loss: {},
    duplicates_absorbed: 0,
    late: 0,
    unaccounted: 0,
    batches_lost: 0,
    oldest_in_flight_ms: null,
  };
}

test('a worker hears a collector elsewhere by its account, and says how long it was silent since', async () => {
  const clock = new ManualClock();
  const silence = accountSilence(clock, COLLECTORS);
  /** The account ten seconds later: the findings' keys with their values, and the last record that they name. */
  const look = async (emitted: Readonly<Record<string, number>>) => {
    await clock.advance(10_000);
    const totals = Object.entries(emitted).map(([source, records]) => total(source, records));
    return silence(totals, clock.now_ms()).map(({ key, value, evidence }) => [key, value, evidence['last_seen_ms']]);
  };
  const [one, two] = ['source:host@node-1/silent', 'source:host@node-2/silent'];
  const start_ms = clock.now_ms();
  expect(await look({ 'host@node-1': 10, 'host@gone': 99 })).toEqual([]);
  expect(await look({ 'host@node-1': 20, 'host@gone': 99 })).toEqual([[one, 0, start_ms + 20_000]]);
  expect(await look({ 'host@node-1': 30, 'host@gone': 99, 'host@node-2': 1 })).toEqual([
    [one, 0, start_ms + 30_000],
    [two, 0, start_ms + 30_000],
  ]);
  for (let n = 1; n <= 6; n++)
    expect(await look({ 'host@node-1': 30, 'host@gone': 99, 'host@node-2': 1 + n })).toEqual([
      [one, n * 10_000, start_ms + 30_000],
      [two, 0, start_ms + 30_000 + n * 10_000],
    ]);
  // one second above the 60 s of the rule, then it is back
  expect((await look({ 'host@node-1': 30, 'host@node-2': 8 }))[0]).toEqual([one, 70_000, start_ms + 30_000]);
  expect((await look({ 'host@node-1': 31, 'host@node-2': 9 }))[0]).toEqual([one, 0, start_ms + 110_000]);
});

test('senders and the workload collector have no rhythm to be silent of', async () => {
  const clock = new ManualClock();
  const silence = accountSilence(clock, COLLECTORS);
  const names = ['trainer', 'trainer@node-1', 'workload@node-1', 'host', 'nvidia@node-1'];
  const account = (records: number) => names.map((source) => total(source, records));
  silence(account(1), clock.now_ms());
  expect(silence(account(2), clock.now_ms()).map(({ scope }) => scope)).toEqual([{ source: 'nvidia@node-1' }]);
});

test('a time of day that steps back makes nobody silent', async () => {
  const clock = new ManualClock();
  const silence = accountSilence(clock, COLLECTORS);
  silence([total('host@node-1', 1)], clock.now_ms());
  silence([total('host@node-1', 2)], clock.now_ms());
  await clock.advance(10_000);
  expect(silence([total('host@node-1', 2)], clock.now_ms() - 3_600_000)).toMatchObject([{ value: 10_000 }]);
});

test('collectors of this process are heard by what they published; one that never did is not missed', () => {
  const sources = new SourceRegistry();
  const now_ms = 1_767_225_600_000;
  sources.counted('host@node-1', 'collector', 5, now_ms);
  sources.counted('trainer', 'sender', 5, now_ms);
  sources.absent('nvidia@node-1', 'no driver');
  expect(silenceFindings(sources, now_ms + 61_000)).toMatchObject([
    { name: 'collector.silent', key: 'source:host@node-1/silent', value: 61_000, data_count: 5 },
  ]);
});
