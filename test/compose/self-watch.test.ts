import { expect, test } from 'vitest';
import { accountWatch } from '../../src/compose/self-watch.ts';
import { absentBus, absentStore } from '../../src/compose/absent-doors.ts';
import { ManualClock } from '../../src/core/clock.ts';
import type { Backlog, StoredAccount } from '../../src/core/ports.ts';
import type { DeliveryTotal } from '../../src/core/delivery-total.ts';
import { createServiceMetrics } from '../../src/telemetry/metrics.ts';
import { findingOf } from '../incident/fixtures.ts';

const signal = new AbortController().signal;
const START_MS = 1_767_225_600_000;

const WHOLE: StoredAccount = {
  source: 'node-1',
  epoch: 1,
  frame_rows: 100,
  duplicates_absorbed: 10,
  stored: 90,
  sequence_min: 1,
  sequence_max: 10,
  sequences: 10,
  gaps: [],
  late: 0,
};

/** A watch over a store and a bus that say what `state` holds; `shown` is what /metrics was told. */
function watched(state: { stored: StoredAccount[]; in_flight: Backlog['in_flight']; looks: number }) {
  const shown: (readonly DeliveryTotal[])[] = [];
  const metrics = createServiceMetrics('1.2.3');
  const bus = absentBus();
  const clock = new ManualClock(START_MS);
  const watch = accountWatch({
    store: {
      ...absentStore(),
      account: async () => {
        state.looks++;
        return state.stored;
      },
    },
    bus: { ...bus, backlog: () => ({ ...bus.backlog(), in_flight: state.in_flight }) },
    clock,
    acknowledged: null,
    losses: () => [],
    metrics: {
      ...metrics,
      delivery: (levels, at_ms) => {
        shown.push(levels);
        metrics.delivery(levels, at_ms);
      },
    },
  });
  const values = async (now_ms = clock.now_ms()) =>
    (await watch.findings(now_ms, signal)).map(({ name, value, title }) => ({ name, value, title }));
  return { values, shown, clock, metrics };
}

test('a source whose account is whole has three findings of value 0', async () => {
  const { values, shown } = watched({ stored: [WHOLE], in_flight: [], looks: 0 });
  expect((await values()).map(({ name, value }) => [name, value])).toEqual([
    ['delivery.imbalance', 0],
    ['delivery.gap', 0],
    ['delivery.delay', 0],
  ]);
  expect(shown).toMatchObject([[{ source: 'node-1', emitted: 90, stored: 90, unaccounted: 0 }]]);
});

test('vanished rows, batches that never came and records that wait are findings of their own, summed over epochs', async () => {
  const vanished = { ...WHOLE, epoch: 2, stored: 83 };
  const gapped = { ...WHOLE, epoch: 3, sequences: 9, gaps: [[4, 4] as const] };
  const waiting = { source: 'node-1', epoch: 4, records: 5, oldest_ms: 400_000, sequence_min: 1 };
  const { values, shown } = watched({ stored: [vanished, gapped], in_flight: [waiting], looks: 0 });
  expect(await values()).toEqual([
    {
      name: 'delivery.imbalance',
      value: 7, // 90 less 83
      title: '7 records of node-1 were acknowledged and are not in the store',
    },
    { name: 'delivery.gap', value: 1, title: '1 batch of node-1 never arrived, and nobody declared that' },
    {
      name: 'delivery.delay',
      value: 400_000,
      title: '5 records of node-1 were acknowledged and wait for the store, the oldest for 400 s',
    },
  ]);
  expect(shown).toMatchObject([
    [{ emitted: 185, stored: 173, in_flight: 5, unaccounted: 7, batches_lost: 1, oldest_in_flight_ms: 400_000 }],
  ]);
});

test('rows are counted every ten seconds, however often the findings are asked for', async () => {
  const state = { stored: [WHOLE], in_flight: [], looks: 0 };
  const { values, shown, clock } = watched(state);
  for (let second = 0; second < 25; second++) {
    await values();
    await clock.advance(1_000);
  }
  expect([state.looks, shown.length]).toEqual([3, 3]);
});

test('rows are counted every ten seconds when the time of day steps back by an hour, too', async () => {
  const state = { stored: [WHOLE], in_flight: [], looks: 0 };
  const { values, clock } = watched(state);
  const ago = (): number => clock.now_ms() - 3_600_000;
  await values();
  for (let second = 0; second < 20; second++) {
    await clock.advance(1_000);
    state.stored = [{ ...WHOLE, stored: 83 }];
    await values(ago());
  }
  expect(state.looks).toBe(3);
  expect((await values(ago()))[0]).toMatchObject({ name: 'delivery.imbalance', value: 7 }); // 90 less 83
});

test('an account that could not be taken for 30 s is not shown; when it was taken last is', async () => {
  const state = { stored: [WHOLE], in_flight: [], looks: 0 };
  const { values, clock, metrics } = watched(state);
  const series = async (): Promise<string[]> => {
    const { text } = await metrics.expose('prometheus');
    return text.split('\n').filter((line) => /^leeway_delivery_(stored|account)/.test(line));
  };
  const [figure, time] = ['leeway_delivery_stored_records{source="node-1"} 90', START_MS / 1000];
  await values();
  await clock.advance(30_000); // nobody asks: the store is gone, or the analysis hangs
  expect(await series()).toEqual([figure, `leeway_delivery_account_timestamp_seconds ${time}`]);
  await clock.advance(1);
  expect(await series()).toEqual([`leeway_delivery_account_timestamp_seconds ${time}`]);
  await values();
  expect(await series()).toEqual([figure, `leeway_delivery_account_timestamp_seconds ${time + 30.001}`]);
});

test('collectors elsewhere are judged by the account, but not while records wait that nobody knows of', async () => {
  const clock = new ManualClock(START_MS);
  let whole = true;
  const account = accountWatch({
    store: { ...absentStore(), account: async () => [{ ...WHOLE, source: 'host@node-1' }] },
    bus: absentBus(),
    clock,
    acknowledged: {
      read: async () => ({ documents: [], quarantined: [], whole }),
      forget: async () => undefined,
    },
    losses: () => [],
    metrics: createServiceMetrics('1.2.3'),
    silence: (totals, now_ms) => [
      { ...findingOf(7), key: `${totals.map(({ source }) => source).join()} at ${now_ms - START_MS}` },
    ],
  });
  const keys = async (): Promise<string[]> => (await account.findings(clock.now_ms(), signal)).map(({ key }) => key);
  const sums = ['imbalance', 'gap', 'delay'].map((name) => `source:host@node-1/${name}`);
  expect(await keys()).toEqual([...sums, 'host@node-1 at 0']);
  await clock.advance(10_000);
  whole = false;
  expect(await keys()).toEqual(sums);
});
