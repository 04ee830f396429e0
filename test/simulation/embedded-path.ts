import { LeewayError } from '../../src/core/errors.ts';
import type { Backlog } from '../../src/core/ports.ts';
import { SAMPLES } from '../../src/core/tables.ts';
import { ingest } from '../../src/pipeline/ingest.ts';
import { bodyOf, scanFrames } from '../../src/transport/frame.ts';
import { openSpool } from '../../src/transport/spool.ts';
import type { DropPolicy } from '../../src/transport/spool-quota.ts';
import { checkSequences, checkStore } from './checker.ts';
import { SimulatedDisk } from './disk.ts';
import { type PlantedBug, trimAtHandOver, withBug } from './planted.ts';
import { type Program, SimulatedProcess } from './process.ts';
import { keysOf } from './rows.ts';
import { disturbProcesses, networkFaults, processFaults, run, upTo, type Verdict } from './run.ts';
import { QUIET, type Sent, SimulatedSender } from './sender.ts';
import { SimulatedStore } from './store.ts';
import { World } from './world.ts';

const BATCHES = 5;
const SOURCES = ['node-a', 'node-b', 'tool-x'] as const;

/**
 * One execution of the embedded path (spool, ingest loop, store in one process) under the faults that `seed` decides:
 * crashes and power losses between any two operations, torn and failing writes, a full disk, a store that refuses or does
 * not answer, rows that it cannot read, lost, late, doubled and aborted requests, clock steps, senders that restart.
 */
export function simulateEmbedded(seed: bigint, bug: PlantedBug | null = null): Promise<Verdict> {
  const world = new World(seed);
  const disk = new SimulatedDisk(world);
  const store = new SimulatedStore(world);
  const spool = spoolSettings(world);
  const service = new SimulatedProcess({
    world,
    name: 'service',
    program: embeddedService({ world, disk, store, spool, bug }),
    onDeath: (_life, hasLostPower) => hasLostPower && disk.loseUnsynced(),
  });
  const sent: Sent[] = [];
  const poison = world.chance(0.1) ? 0.05 : 0;
  const onEmit = (one: Sent): void => {
    sent.push(one);
    const victim = one.keys.flat()[0];
    if (victim !== undefined && world.chance(poison)) store.poisoned.add(victim);
  };
  const doors = [withRefusals(world, service)];
  const senders = SOURCES.map(
    (source) =>
      new SimulatedSender({ world, doors, source, isNamed: source.startsWith('node'), batches: BATCHES, onEmit }),
  );
  // now and then a disk that is about to die: two failures in a row
  const error = world.chance(0.1) ? 0.1 + 0.1 * world.random.next() : upTo(world, 0.05);
  disk.faults = { error, bytes_max: world.chance(0.15) ? 4_000 : Infinity };
  store.faults = { ambiguous: upTo(world, 0.3), refused: upTo(world, 0.3) };
  world.slowness = { chance: upTo(world, 0.02), most_ms: 3_000 };
  for (const sender of senders) sender.network = networkFaults(world);
  const rates = processFaults(world);
  service.start();
  for (const sender of senders) sender.start();
  return run({
    world,
    disturb: () => disturbProcesses(world, rates, { processes: [service], senders }),
    calm: () => {
      disk.faults = { error: 0, bytes_max: Infinity };
      store.faults = { ambiguous: 0, refused: 0 };
      world.slowness = { chance: 0, most_ms: 0 };
      for (const sender of senders) sender.network = QUIET;
    },
    isDone: () => senders.every((sender) => sender.isDone) && service.bus?.backlog().frames === 0,
    check: () => {
      const dropped = droppedOf(service.bus?.backlog());
      const hasGaps = store.poisoned.size > 0 || dropped.size > 0;
      return [
        ...checkStore(store, sent, { aside: rejectedKeys(disk), dropped }),
        ...(hasGaps ? [] : checkSequences(store, sent)),
      ];
    },
  });
}

/** Of a spool in a world. */
export type SpoolSettings = { readonly bytes_max: number; readonly policy: DropPolicy; readonly reserve_bytes: number };

/** A quota that is never met, or one that soon is; then each policy has its worlds. */
export function spoolSettings(world: World): SpoolSettings {
  const bytes_max = world.chance(0.3) ? 3_000 + world.below(4_000) : 1_000_000;
  const policy = world.pick(['block', 'drop_oldest', 'drop_newest'] as const) ?? 'block';
  return { bytes_max, policy, reserve_bytes: world.chance(0.5) ? 1_000 : 0 };
}

/** Records that policy dropped, by source. */
export function droppedOf(backlog: Backlog | undefined): Map<string, number> {
  const dropped = new Map<string, number>();
  for (const { source, records } of backlog?.dropped ?? []) dropped.set(source, (dropped.get(source) ?? 0) + records);
  return dropped;
}

type Parts = {
  readonly world: World;
  readonly disk: SimulatedDisk;
  readonly store: SimulatedStore;
  readonly spool: SpoolSettings;
  readonly bug: PlantedBug | null;
};

/** The service with everything in it. */
export function embeddedService({ world, disk, store, spool, bug }: Parts): Program {
  return async (life, onOpen) => {
    const door = disk.door(life, bug === 'ack_before_sync');
    const rows = store.embedded(life, door);
    const never = new AbortController().signal;
    const known = { sequences: await rows.sequences(never), lineage_max: await rows.lineageMax(never) };
    const clock = world.clock(life);
    const onEvent = ({ kind }: { readonly kind: string }): void => {
      if (kind === 'spool_quarantined') world.count('spool_segment_quarantined');
      if (kind === 'spool_dropped') world.count('spool_dropped_by_policy');
      if (kind === 'spool_disk_full') world.count('spool_gave_its_reserve');
    };
    const opened = await openSpool({ data_dir: '/data', ...spool, fsync: true, clock, known, disk: door, onEvent });
    if (opened.backlog().torn_frames > 0) world.count('spool_recovered_torn_tail');
    const bus = withBug(bug === 'trim_at_bus_ack' ? trimAtHandOver(opened, door) : opened, bug);
    onOpen(bus);
    await ingest({ bus, store: rows, clock, onEvent: () => undefined }, never);
  };
}

/** The door of `service`, which counts how often its spool was full. */
function withRefusals(world: World, service: SimulatedProcess): Pick<SimulatedProcess, 'publish' | 'send'> {
  const counted = <Result>(work: Promise<Result>): Promise<Result> =>
    work.catch((error: unknown) => {
      if (error instanceof LeewayError && error.code === 'LW-SPOOL-FULL') world.count('spool_refused_as_full');
      throw error;
    });
  return {
    publish: (batch, signal) => counted(service.publish(batch, signal)),
    send: (source, content, signal) => counted(service.send(source, content, signal)),
  };
}

/** Keys of rows in segments that the store refused: kept beside the others, declared as quarantined. */
function rejectedKeys(disk: SimulatedDisk): Set<string> {
  const keys = new Set<string>();
  for (const [name, { bytes }] of disk.files) {
    const table = /-([a-z_]+)\.native\.rejected$/.exec(name)?.[1];
    if (table !== SAMPLES && table !== 'heartbeat') continue;
    for (const frame of scanFrames(bytes, table).frames)
      for (const key of keysOf(table, bodyOf(bytes, frame), frame.header.rows)) keys.add(key);
  }
  return keys;
}
