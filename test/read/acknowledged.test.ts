import { afterAll, beforeAll, expect, test } from 'vitest';
import { ACKNOWLEDGED } from '../../src/control/collections.ts';
import { ManualClock, systemClock } from '../../src/core/clock.ts';
import { LeewayError } from '../../src/core/errors.ts';
import type { Bus, Control, QuarantinedFrame } from '../../src/core/ports.ts';
import { AcknowledgedLog } from '../../src/pipeline/acknowledged-log.ts';
import { acknowledgedReader, unstored } from '../../src/read/acknowledged.ts';
import { deliveryAccount } from '../../src/read/delivery.ts';
import { stepRecord, steps } from '../contract/records.ts';
import { type LiveStore, openLiveStore } from '../pipeline/live-store.ts';

const signal = new AbortController().signal;

let live: LiveStore;
beforeAll(async () => {
  live = await openLiveStore();
});
afterAll(() => live[Symbol.asyncDispose]());

function logOf(control: Control, run: string, clock = systemClock): AcknowledgedLog {
  const onError = (error: unknown): void => {
    throw error;
  };
  return new AcknowledgedLog({ control, clock, run, onError });
}

/** A bus that acknowledges and stores nothing: a topic that nobody reads. */
const unread: Bus = {
  publish: async () => ({ repeated: false }),
  consume: async () => undefined,
  backlog: () => ({
    bytes: 0,
    frames: 0,
    oldest_ms: 0,
    in_flight: [],
    torn_frames: 0,
    damaged_frames: 0,
    quarantined: [],
  }),
  [Symbol.asyncDispose]: async () => undefined,
};

const documents = (): Promise<number> => live.control.transaction((tx) => tx.count(ACKNOWLEDGED, []));

test('the account of two gateways adds up at every look, misses nothing that they wrote down, and forgets what is stored', async () => {
  const gateways = ['a', 'b'].map((run) => {
    const log = logOf(live.control, run);
    return { log, bus: log.noting(live.bus) };
  });
  // what this process's bus says of itself does not count: a console has none
  const doors = {
    store: live.store,
    bus: unread,
    clock: systemClock,
    acknowledged: acknowledgedReader(live.control),
  };
  const begun = [0, 0];
  const written = [0, 0];
  const sending = Promise.all(
    gateways.map(async ({ log, bus }, gateway) => {
      for (let sequence = 1; sequence <= 12; sequence++) {
        const from = 1_000 * gateway + 10 * sequence;
        const records = steps(from, from + 10).map((record) => ({ ...record, job: 'acknowledged', rank: gateway }));
        begun[gateway] = 10 * sequence;
        await bus.publish({ source: `sender-${gateway}`, epoch: 1, sequence, records }, signal);
        // a sender that has not heard the answer asks the other gateway
        await gateways[1 - gateway]?.bus.publish({ source: `sender-${gateway}`, epoch: 1, sequence, records }, signal);
        if (sequence % 3 !== 0) continue;
        await log.flush();
        written[gateway] = 10 * sequence;
      }
    }),
  );
  let done = false;
  void sending.then(() => {
    done = true;
  });
  const look = async () => {
    const items = await deliveryAccount(doors, [], signal);
    for (const { emitted, stored, in_flight } of items) expect(emitted).toBe(stored + in_flight);
    return items.filter(({ source }) => source.startsWith('sender-'));
  };
  while (!done) {
    const atLeast = [...written];
    const items = await look();
    for (const [gateway, least] of atLeast.entries()) {
      const emitted = items.find(({ source }) => source === `sender-${gateway}`)?.emitted ?? 0;
      expect([gateway, emitted >= least && emitted <= (begun[gateway] ?? 0)]).toEqual([gateway, true]);
    }
  }
  await sending;
  for (const { log } of gateways) await log.flush();
  while (live.bus.backlog().in_flight.length > 0) await systemClock.sleep(5, signal);
  expect((await look()).map(({ emitted, stored, in_flight }) => [emitted, stored, in_flight])).toEqual([
    [120, 120, 0],
    [120, 120, 0],
  ]);
  expect(await documents()).toBe(0);
});

test('what was acknowledged and never stored stays in flight and grows old, in every process that looks', async () => {
  const clock = new ManualClock();
  const log = logOf(live.control, 'lost', clock);
  const bus = log.noting(unread);
  await bus.publish({ source: 'lost', epoch: 5, sequence: 3, records: steps(0, 7) }, signal);
  await clock.advance(1_500);
  await bus.publish({ source: 'lost', epoch: 5, sequence: 4, records: [stepRecord(1)] }, signal);
  await clock.advance(500);
  await log.flush();
  await clock.advance(60_000);
  const doors = { store: live.store, bus: unread, clock, acknowledged: acknowledgedReader(live.control) };
  const item = async () => (await deliveryAccount(doors, [], signal)).find(({ source }) => source === 'lost');
  const expected = { emitted: 8, stored: 0, in_flight: 8, oldest_in_flight_ms: 62_000, in_flight_known: true };
  expect(await item()).toMatchObject(expected);
  expect(await item()).toMatchObject(expected);
  expect(await documents()).toBe(1);
  await live.control.transaction((tx) => tx.remove(ACKNOWLEDGED, 'lost/000000001'));
});

test('a document whose answer was lost is written once, and what comes meanwhile into the next one', async () => {
  let failures = 2;
  const doubtful: Control = {
    transaction: async (work) => {
      if (failures-- === 2) throw new LeewayError('LW-CONTROL-GONE', 'nothing was written');
      const result = await live.control.transaction(work);
      if (failures === 0) throw new LeewayError('LW-CONTROL-DOUBT', 'who knows');
      return result;
    },
    lease: (name, holder, ttl_ms) => live.control.lease(name, holder, ttl_ms),
    release: (name, holder) => live.control.release(name, holder),
    [Symbol.asyncDispose]: async () => undefined,
  };
  const log = logOf(doubtful, 'doubtful');
  const bus = log.noting(unread);
  await bus.publish({ source: 'doubtful', epoch: 1, sequence: 1, records: steps(0, 2) }, signal);
  await expect(log.flush()).rejects.toMatchObject({ code: 'LW-CONTROL-GONE' });
  await expect(log.flush()).rejects.toMatchObject({ code: 'LW-CONTROL-DOUBT' });
  await bus.publish({ source: 'doubtful', epoch: 1, sequence: 2, records: steps(2, 5) }, signal);
  await log.flush();
  const { documents: held } = await acknowledgedReader(live.control).read();
  const batches = held.flatMap(({ body }) => body.sources.flatMap((source) => source.batches));
  expect(batches.map(([sequence, records]) => [sequence, records])).toEqual([
    [1, 2],
    [2, 3],
  ]);
  await acknowledgedReader(live.control).forget({ documents: held.map(({ id }) => id), quarantined: [], trimmed: [] });
});

test('what is more than a gateway can keep is said to be unknown, and never 0', async () => {
  const log = logOf(live.control, 'flooded');
  const bus = log.noting(unread);
  const [record] = steps(0, 1);
  const records = record === undefined ? [] : [record];
  // one more than it keeps while the control store is away
  for (let sequence = 1; sequence <= 100_001; sequence++)
    await bus.publish({ source: 'flood', epoch: 1, sequence, records }, signal);
  await log.flush();
  const acknowledged = acknowledgedReader(live.control);
  const doors = { store: live.store, bus: unread, clock: systemClock, acknowledged };
  const item = (await deliveryAccount(doors, [], signal)).find(({ source }) => source === 'flood');
  expect(item).toMatchObject({ emitted: 100_000, in_flight: 100_000, in_flight_known: false });
  const { documents: held } = await acknowledged.read();
  expect(held.map(({ body }) => body.sources[0]?.batches.length)).toEqual(Array.from({ length: 5 }, () => 20_000));
  await acknowledged.forget({ documents: held.map(({ id }) => id), quarantined: [], trimmed: [] });
});

test('of the log only what the store holds no part of is in flight; a gateway that left something out says so for an hour', () => {
  const held = { source: 's', epoch: 1, sequence_min: 2, sequence_max: 9, gaps: [[4, 5] as const, [8, 8] as const] };
  const document = (id: string, whole: boolean, batches: [number, number, number][]) => ({
    id,
    revision: 1,
    body: { at_ms: 1_000, whole, sources: [{ source: 's', epoch: 1, batches }] },
  });
  const documents = [
    document(
      'stored',
      true,
      [2, 3, 6, 7, 9].map((sequence) => [sequence, 1, 0]),
    ),
    document('waiting', true, [
      [1, 10, 300],
      [3, 100, 0],
      [4, 20, 200],
      [8, 30, 100],
      [10, 40, 0],
    ]),
    document('again', true, [[8, 30, 900]]),
    document('some', false, [[2, 1, 0]]),
  ];
  const some = documents.at(-1); // what is stored of it need not be kept; that it is not whole must be
  const now_ms = 5_000;
  expect(unstored({ documents, quarantined: [] }, [held], now_ms)).toEqual({
    in_flight: [{ source: 's', epoch: 1, records: 10 + 20 + 30 + 40, oldest_ms: 4_300, sequence_min: 1 }],
    quarantined: [],
    quarantined_batches: [],
    settled: { documents: ['stored'], quarantined: [], trimmed: [{ ...some, body: { ...some?.body, sources: [] } }] },
  });
  expect(unstored({ documents, quarantined: [] }, [held], now_ms + 3_600_000).settled.documents).toEqual([
    'stored',
    'some',
  ]);
});

test('what was set aside is lost until it is stored: no more in flight, and its gap is declared', () => {
  const held = { source: 's', epoch: 1, sequence_min: 1, sequence_max: 9, gaps: [[4, 6] as const] };
  const document = (id: string, batches: [number, number, number][]) => ({
    id,
    revision: 1,
    body: { at_ms: 1_000, whole: true, sources: [{ source: 's', epoch: 1, batches }] },
  });
  const aside = (id: string, sequence: number, records: number, parts = 1) => ({
    id,
    revision: 1,
    body: { source: 's', epoch: 1, sequence, parts, records, at_ms: 2_000 },
  });
  const log = {
    documents: [document('aside', [[4, 10, 0]]), document('half', [[5, 10, 0]]), document('replayed', [[7, 10, 0]])],
    // 5 has two frames, of which one still waits; 7 was replayed and is stored; of 8 the other frame is stored
    quarantined: [aside('a', 4, 10), aside('b', 5, 4, 2), aside('c', 7, 10), aside('d', 8, 3, 2)],
  };
  expect(unstored(log, [held], 1_500)).toEqual({
    in_flight: [{ source: 's', epoch: 1, records: 6, oldest_ms: 500, sequence_min: 5 }],
    quarantined: [{ source: 's', epoch: 1, records: 10 + 4 + 3 }],
    quarantined_batches: [
      {
        source: 's',
        epoch: 1,
        ranges: [
          [4, 5],
          [8, 8],
        ],
      },
    ],
    settled: { documents: ['aside', 'replayed'], quarantined: ['c'], trimmed: [] },
  });
});

test('frames that a worker sets aside are written down once by whoever refuses them, and go when they were stored after all', async () => {
  let frames: QuarantinedFrame[] = [];
  const worker: Bus = { ...unread, backlog: () => ({ ...unread.backlog(), quarantined_frames: frames }) };
  const logs = ['worker-1', 'worker-2'].map((run) => logOf(live.control, run));
  for (const log of logs) log.noting(worker);
  const flush = async () => {
    for (const log of logs) await log.flush();
    return (await acknowledgedReader(live.control).read()).quarantined.map(({ id }) => id);
  };
  const frame = { source: 'aside', epoch: 1, sequence: 1, parts: 1, records: 5 };
  frames = [
    { ...frame, id: 'x' },
    { ...frame, id: 'y', sequence: 2 },
  ];
  expect(await flush()).toEqual(['x', 'y']);
  const doors = { store: live.store, bus: unread, clock: systemClock, acknowledged: acknowledgedReader(live.control) };
  const item = async () => (await deliveryAccount(doors, [], signal)).find(({ source }) => source === 'aside');
  expect(await item()).toMatchObject({ emitted: 10, declared_loss: { quarantined: 10 }, in_flight: 0 });
  frames = [{ ...frame, id: 'y', sequence: 2 }];
  expect(await flush()).toEqual(['y']);
  expect(await item()).toMatchObject({ emitted: 5, declared_loss: { quarantined: 5 } });
  frames = [];
  expect(await flush()).toEqual([]);
  expect(await item()).toBeUndefined();
});
