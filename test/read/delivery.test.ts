import { expect, test } from 'vitest';
import { ManualClock, systemClock } from '../../src/core/clock.ts';
import { reject } from '../../src/core/outcome.ts';
import type { Delivery } from '../../src/core/ports.ts';
import { deliveryAccount } from '../../src/read/delivery.ts';
import { deliveryTotals } from '../../src/read/delivery-totals.ts';
import type { DeliveryItem } from '../../src/server/shapes/telemetry.ts';
import { openEmbeddedStore } from '../../src/store/embedded.ts';
import { openSpool } from '../../src/transport/spool.ts';
import { heartbeat, steps } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

const signal = new AbortController().signal;

/** An empty store, and a spool before it whose clock stands still. */
async function opened() {
  const resources = new AsyncDisposableStack();
  const { path: data_dir } = resources.use(await scratchDirectory());
  const store = resources.use(await openEmbeddedStore({ data_dir, clock: systemClock }));
  const clock = new ManualClock();
  const known = { sequences: [], lineage_max: 0n };
  const bus = resources.use(await openSpool({ data_dir, bytes_max: 1e9, fsync: false, clock, known, close_ms: 0 }));
  return { store, bus, clock, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

test('what waits has an age, a batch that may still come is no loss, and one that never came is', async () => {
  await using place = await opened();
  const { store, bus, clock } = place;
  const publish = (sequence: number, records: Parameters<typeof bus.publish>[0]['records']) =>
    bus.publish({ source: 'node-1', epoch: 7, sequence, records }, signal);
  const account = async (): Promise<DeliveryItem | undefined> =>
    (await deliveryAccount({ store, bus, clock: systemClock }, [], signal))[0];
  /** Stores the next delivery; null when it is not of `table`. */
  const storeOne = async (): Promise<Delivery | undefined> => {
    const stop = new AbortController();
    let taken: Delivery | undefined;
    await bus.consume(async (delivery) => {
      taken = delivery;
      stop.abort();
      return store.insert(delivery, signal);
    }, stop.signal);
    return taken;
  };

  await publish(1, steps(0, 10));
  await clock.advance(1_000);
  await publish(2, [heartbeat(1)]);
  await clock.advance(500);
  await publish(4, steps(10, 20));
  expect(await account()).toMatchObject({
    emitted: 21,
    stored: 0,
    in_flight: 21,
    oldest_in_flight_ms: 1_500,
    gaps: [],
  });

  // batches of one table travel together: 1 and 4 are stored, 2 is of another table, 3 was never sent
  expect(await storeOne()).toMatchObject({ table: 'step', rows: 20 });
  expect(await account()).toMatchObject({
    emitted: 21,
    stored: 20,
    in_flight: 1,
    oldest_in_flight_ms: 500,
    sequences_missing: 2,
    sequences_lost: 0,
    gaps: [{ from_sequence: 2, to_sequence: 3, state: 'in_flight' }],
  });

  expect(await storeOne()).toMatchObject({ table: 'heartbeat', rows: 1 });
  const item = await account();
  expect(item).toMatchObject({
    emitted: 21,
    stored: 21,
    in_flight: 0,
    oldest_in_flight_ms: null,
    sequences_missing: 1,
    sequences_lost: 1,
    gaps: [{ from_sequence: 3, to_sequence: 3, state: 'missing' }],
    gaps_omitted: 0,
    late: 0,
    in_flight_known: true,
  });

  await publish(3, steps(20, 25));
  await storeOne();
  expect(await account()).toMatchObject({ stored: 26, sequences_missing: 0, sequences_lost: 0, gaps: [], late: 5 });
});

test('a batch that the store refused for good is a declared gap, after a restart too', async () => {
  await using directory = await scratchDirectory();
  const data_dir = directory.path;
  await using store = await openEmbeddedStore({ data_dir, clock: systemClock });
  const open = async () => {
    const known = { sequences: await store.sequences(signal), lineage_max: await store.lineageMax(signal) };
    return openSpool({ data_dir, bytes_max: 1e9, fsync: false, clock: systemClock, known, close_ms: 0 });
  };
  const expected = {
    emitted: 21,
    stored: 20,
    in_flight: 0,
    declared_loss: { quarantined: 1 },
    sequences_missing: 0,
    sequences_lost: 0,
    gaps: [{ from_sequence: 2, to_sequence: 2, state: 'declared' }],
  };
  {
    await using bus = await open();
    for (const [index, records] of [steps(0, 10), [heartbeat(1)], steps(10, 20)].entries())
      await bus.publish({ source: 'node-1', epoch: 7, sequence: index + 1, records }, signal);
    const stop = new AbortController();
    await bus.consume(async (delivery) => {
      if (delivery.table === 'heartbeat') stop.abort(); // the second delivery
      return delivery.table === 'heartbeat' ? reject('LW-STORE', 'no such column') : store.insert(delivery, signal);
    }, stop.signal);
    expect(await deliveryAccount({ store, bus, clock: systemClock }, [], signal)).toMatchObject([expected]);
  }
  await using bus = await open();
  expect(await deliveryAccount({ store, bus, clock: systemClock }, [], signal)).toMatchObject([expected]);
});

test('the account adds up at every look while deliveries follow each other without a rest', async () => {
  await using directory = await scratchDirectory();
  const data_dir = directory.path;
  await using store = await openEmbeddedStore({ data_dir, clock: systemClock });
  const known = { sequences: [], lineage_max: 0n };
  // a segment a batch, of which no two are small enough to go together
  const rows = 10_001;
  const bounds = { bytes_max: 1e9, close_ms: 0, segment_rows_max: rows };
  await using bus = await openSpool({ ...bounds, data_dir, fsync: false, clock: systemClock, known });
  for (let sequence = 1; sequence <= 12; sequence++) {
    const records = steps(rows * sequence, rows * (sequence + 1));
    await bus.publish({ source: 'node-1', epoch: 7, sequence, records }, signal);
  }
  const stop = new AbortController();
  const consuming = bus.consume((delivery) => store.insert(delivery, signal), stop.signal);
  const seen = new Set<number>();
  for (let stored = 0; stored < 12 * rows; ) {
    const [item] = await deliveryAccount({ store, bus, clock: systemClock }, [], signal);
    expect(item).toMatchObject({
      emitted: 12 * rows,
      stored: 12 * rows - (item?.in_flight ?? 0),
      in_flight_known: true,
    });
    stored = item?.stored ?? 0;
    seen.add(stored);
  }
  expect(seen.size).toBeGreaterThan(5); // it was looked at while they went
  stop.abort();
  await consuming;
});

test('a delivery that does not end keeps nobody waiting: what is in flight is then not known', async () => {
  await using place = await opened();
  const { store, bus, clock } = place;
  await bus.publish({ source: 'node-1', epoch: 7, sequence: 1, records: [...steps(0, 10)] }, signal);
  const begun = Promise.withResolvers<void>();
  const hanging = Promise.withResolvers<void>();
  const stop = new AbortController();
  const consuming = bus.consume(async (delivery) => {
    stop.abort();
    begun.resolve();
    await hanging.promise;
    return store.insert(delivery, signal);
  }, stop.signal);
  await begun.promise;
  const account = deliveryAccount({ store, bus, clock }, [], signal);
  await clock.advance(5_000);
  expect(await account).toMatchObject([{ emitted: 10, in_flight: 10, stored: 0, in_flight_known: false }]);
  hanging.resolve();
  await consuming;
  expect(await deliveryAccount({ store, bus, clock }, [], signal)).toMatchObject([
    { emitted: 10, in_flight: 0, stored: 10, in_flight_known: true },
  ]);
});

test('the account of a source is the sum of its epochs, and too many in one do not hide too few in another', () => {
  const item: DeliveryItem = {
    source: 'node-1',
    epoch: '1',
    emitted: 100,
    stored: 90,
    in_flight: 4,
    declared_loss: { spool_full_oldest: 3 },
    duplicates_absorbed: 2,
    sequence_min: 1,
    sequence_max: 9,
    sequences_missing: 2,
    gaps: [],
    gaps_omitted: 0,
    sequences_lost: 1,
    late: 5,
    oldest_in_flight_ms: 300,
    in_flight_known: true,
  };
  const second = { ...item, epoch: '2', stored: 100, declared_loss: { quarantined: 1 }, oldest_in_flight_ms: null };
  const other = { ...item, source: 'node-2', emitted: 97 };
  expect(deliveryTotals([item, second, other])).toEqual([
    {
      source: 'node-1',
      emitted: 200,
      stored: 190,
      in_flight: 8,
      declared_loss: { spool_full_oldest: 3, quarantined: 1 },
      duplicates_absorbed: 4,
      late: 10,
      unaccounted: 3, // 100 − 90 − 4 − 3; the second epoch has 5 too many
      batches_lost: 2,
      oldest_in_flight_ms: 300,
    },
    expect.objectContaining({ source: 'node-2', emitted: 97, unaccounted: 0 }),
  ]);
});
