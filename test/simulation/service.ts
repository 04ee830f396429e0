import { ok } from '../../src/core/outcome.ts';
import type { Batch, Bus, Published } from '../../src/core/ports.ts';
import { ingest } from '../../src/pipeline/ingest.ts';
import { openSpool } from '../../src/transport/spool.ts';
import type { SimulatedDisk } from './disk.ts';
import type { SimulatedStore } from './store.ts';
import { Life, type World } from './world.ts';

/** Known bugs of pipelines like this one, planted on purpose: the simulation must find each. */
export const PLANTED_BUGS = ['commit_before_insert', 'ack_before_sync', 'seen_before_write'] as const;
export type PlantedBug = (typeof PLANTED_BUGS)[number];

export type ServiceParts = {
  readonly world: World;
  readonly disk: SimulatedDisk;
  readonly store: SimulatedStore;
  readonly bytes_max: number;
  readonly bug: PlantedBug | null;
};

/** The service with the embedded bus: spool, ingest loop and what senders reach, in lives that follow each other. */
export class SimulatedService {
  readonly #parts: ServiceParts;
  #life: Life | null = null;
  #bus: Bus | null = null;
  #starts = 0;
  /** Calls under way, to be cut when the service dies. */
  readonly #calls = new Set<(error: Error) => void>();

  constructor(parts: ServiceParts) {
    this.#parts = parts;
  }

  get isAlive(): boolean {
    return this.#life !== null;
  }

  /** The bus while it answers, for the account. */
  get bus(): Bus | null {
    return this.#bus;
  }

  start(): void {
    const life = new Life(`service ${++this.#starts}`);
    this.#life = life;
    this.#parts.world.note(`${life.name} starts`);
    this.#run(life).catch((error: unknown) => {
      if (life.isAlive) this.stop(`died: ${String(error)}`, false);
    });
  }

  /** Kills the process; a power loss takes with it what was not synced. */
  stop(why: string, power: boolean): void {
    const { world, disk } = this.#parts;
    if (this.#life === null) return;
    world.note(`${this.#life.name} ${why}`);
    world.kill(this.#life);
    this.#life = null;
    this.#bus = null;
    if (power) disk.loseUnsynced();
    for (const cut of this.#calls) cut(new Error('ECONNRESET'));
    this.#calls.clear();
  }

  /** What a sender's request does here: rejects with ECONNREFUSED, ECONNRESET (perhaps done) or as Bus.publish does. */
  publish(batch: Batch): Promise<Published> {
    const bus = this.#bus;
    if (bus === null) return Promise.reject(new Error('ECONNREFUSED'));
    return new Promise((resolve, reject) => {
      this.#calls.add(reject);
      bus
        .publish(batch, new AbortController().signal)
        .then(resolve, reject)
        .finally(() => this.#calls.delete(reject));
    });
  }

  async #run(life: Life): Promise<void> {
    const { world, disk, store, bug, bytes_max } = this.#parts;
    const door = disk.door(life, bug === 'ack_before_sync');
    const rows = store.door(life, door);
    const never = new AbortController().signal;
    const known = { sequences: await rows.sequences(never), lineage_max: await rows.lineageMax(never) };
    const clock = world.clock(life);
    const spool = await openSpool({ data_dir: '/data', bytes_max, fsync: true, clock, known, disk: door });
    this.#bus = bug === 'seen_before_write' ? seenBeforeWrite(spool) : spool;
    const taking = bug === 'commit_before_insert' ? commitBeforeInsert(spool) : spool;
    await ingest({ bus: taking, store: rows, clock, onEvent: () => undefined }, never);
  }
}

/** Says ok before the store has the rows. */
function commitBeforeInsert(bus: Bus): Bus {
  return {
    publish: (batch, signal) => bus.publish(batch, signal),
    consume: (handle, signal) =>
      bus.consume(async (delivery) => {
        void handle(delivery).catch(() => undefined);
        return ok(undefined);
      }, signal),
    backlog: () => bus.backlog(),
    [Symbol.asyncDispose]: () => bus[Symbol.asyncDispose](),
  };
}

/** Marks a batch as known before it is durable, so that the retry of a failed one is taken for a repeat. */
function seenBeforeWrite(bus: Bus): Bus {
  const seen = new Set<string>();
  return {
    publish: async (batch, signal) => {
      const name = `${batch.epoch} ${batch.sequence} ${batch.source}`;
      if (seen.has(name)) return { repeated: true };
      seen.add(name);
      return bus.publish(batch, signal);
    },
    consume: (handle, signal) => bus.consume(handle, signal),
    backlog: () => bus.backlog(),
    [Symbol.asyncDispose]: () => bus[Symbol.asyncDispose](),
  };
}
