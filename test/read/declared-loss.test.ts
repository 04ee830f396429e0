import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import type { Bus, Store } from '../../src/core/ports.ts';
import { ingest } from '../../src/pipeline/ingest.ts';
import { deliveryAccount } from '../../src/read/delivery.ts';
import type { DeliveryItem } from '../../src/server/shapes/telemetry.ts';
import { openEmbeddedStore } from '../../src/store/embedded.ts';
import { openSpool } from '../../src/transport/spool.ts';
import type { DropPolicy } from '../../src/transport/spool-quota.ts';
import { steps } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

const signal = new AbortController().signal;
const BATCHES = 60;

async function open(data_dir: string, store: Store, policy: DropPolicy): Promise<Bus> {
  const known = { sequences: await store.sequences(signal), lineage_max: await store.lineageMax(signal) };
  const limits = { bytes_max: 40_000, segment_bytes_max: 8_000, close_ms: 0, fsync: false };
  return openSpool({ data_dir, clock: systemClock, known, policy, ...limits });
}

async function account(doors: { store: Store; bus: Bus }): Promise<DeliveryItem> {
  const [item] = await deliveryAccount({ ...doors, clock: systemClock }, [], signal);
  if (item === undefined) throw new Error('no account');
  return item;
}

/** Stores everything that waits. */
async function drain(bus: Bus, store: Store): Promise<void> {
  const stop = new AbortController();
  const onEvent = (): void => {
    if (bus.backlog().in_flight.length === 0) stop.abort();
  };
  const taking = ingest({ bus, store, clock: systemClock, onEvent }, stop.signal);
  while (bus.backlog().in_flight.length > 0) await new Promise((resolve) => setImmediate(resolve));
  stop.abort();
  await taking;
}

test.each(['drop_oldest', 'drop_newest'] as const)(
  '%s: what policy dropped is declared by its reason, and neither it nor anything else is missing',
  async (policy) => {
    await using directory = await scratchDirectory();
    await using store = await openEmbeddedStore({ data_dir: directory.path, clock: systemClock });
    const reason = policy === 'drop_oldest' ? 'spool_full_oldest' : 'spool_full_newest';
    let lost = 0;
    {
      await using bus = await open(directory.path, store, policy);
      for (let sequence = 1; sequence <= BATCHES; sequence++) {
        const records = steps(sequence * 10, sequence * 10 + 10);
        await bus.publish({ source: 'node-1', epoch: 7, sequence, records }, signal);
      }
      const waiting = await account({ store, bus });
      lost = waiting.declared_loss[reason] ?? 0;
      expect(lost).toBeGreaterThan(100);
      expect(waiting).toMatchObject({
        emitted: 600,
        stored: 0,
        in_flight: 600 - lost,
        declared_loss: { [reason]: lost },
      });
      await drain(bus, store);
      await bus.publish({ source: 'node-1', epoch: 7, sequence: BATCHES + 1, records: steps(0, 10) }, signal);
      await drain(bus, store);
    }
    await using bus = await open(directory.path, store, policy);
    expect(await account({ store, bus })).toMatchObject({
      emitted: 610,
      stored: 610 - lost,
      in_flight: 0,
      declared_loss: { [reason]: lost },
      sequences_missing: 0,
    });
  },
);
