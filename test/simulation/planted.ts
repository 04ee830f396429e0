import { ok, type Outcome } from '../../src/core/outcome.ts';
import type { Batch, Bus, Delivery, Published } from '../../src/core/ports.ts';
import type { SpoolDisk } from '../../src/transport/disk.ts';

/** Known bugs of pipelines like this one, planted on purpose: the simulation must find each. */
export const PLANTED_BUGS = [
  /** The bus is told that a delivery is stored before the store has it. */
  'commit_before_insert',
  /** What was handed over is forgotten by the bus at once: the segment is removed, the offset committed when it was fetched. */
  'trim_at_bus_ack',
  /** A batch is remembered as known before it is durable, so that the retry of a failed one passes for a repeat. */
  'mark_seen_before_write',
  /** A batch is acknowledged before it is synced, or before the replicas have it. */
  'ack_before_sync',
] as const;
export type PlantedBug = (typeof PLANTED_BUGS)[number];

/** `bus` with what concerns its callers of a planted bug. */
export function withBug(bus: Bus, bug: PlantedBug | null): Bus {
  if (bug === 'commit_before_insert') return { ...doorOf(bus), consume: commitBeforeInsert(bus) };
  if (bug === 'mark_seen_before_write') return { ...doorOf(bus), publish: markSeenBeforeWrite(bus) };
  return bus;
}

function doorOf(bus: Bus): Bus {
  return {
    publish: (batch, signal) => bus.publish(batch, signal),
    consume: (handle, signal) => bus.consume(handle, signal),
    backlog: () => bus.backlog(),
    [Symbol.asyncDispose]: () => bus[Symbol.asyncDispose](),
  };
}

function commitBeforeInsert(bus: Bus): Bus['consume'] {
  return (handle, signal) =>
    bus.consume(async (delivery) => {
      void handle(delivery).catch(() => undefined);
      return ok(undefined);
    }, signal);
}

/** The spool's own way of trimming at hand-over: a copy goes to the store, with every care, and the segment goes at once. */
export function trimAtHandOver(bus: Bus, disk: Pick<SpoolDisk, 'copy'>): Bus {
  let copies = 0;
  const copyOf = async (delivery: Delivery): Promise<Delivery> => {
    const path = `/memory/${++copies}`;
    await disk.copy(delivery.path, path);
    return { ...delivery, path };
  };
  return {
    ...doorOf(bus),
    consume: (handle, signal) =>
      bus.consume(async (delivery) => {
        const copy = await copyOf(delivery);
        void untilTaken(handle, copy);
        return ok(undefined);
      }, signal),
  };
}

async function untilTaken(handle: (delivery: Delivery) => Promise<Outcome>, delivery: Delivery): Promise<void> {
  while ((await handle(delivery)).kind === 'retry');
}

function markSeenBeforeWrite(bus: Bus): Bus['publish'] {
  const seen = new Set<string>();
  return async (batch: Batch, signal: AbortSignal): Promise<Published> => {
    const name = `${batch.epoch} ${batch.sequence} ${batch.source}`;
    if (seen.has(name)) return { repeated: true };
    seen.add(name);
    return bus.publish(batch, signal);
  };
}
