import { checkStore } from './checker.ts';
import { SimulatedDisk } from './disk.ts';
import { embeddedService, spoolSettings } from './embedded-path.ts';
import type { PlantedBug } from './planted.ts';
import { SimulatedProcess } from './process.ts';
import { disturbProcesses, networkFaults, processFaults, run, upTo, type Verdict } from './run.ts';
import { QUIET, type Sent } from './sender.ts';
import { POLITE, SimulatedSidecar } from './sidecar.ts';
import { SimulatedStore } from './store.ts';
import { World } from './world.ts';

const SOURCES = ['host@node-a', 'host@node-b'] as const;
const BATCHES = 6;

/**
 * One execution of the way from sidecars over their spools and forwarders to a gateway with the embedded bus, under the faults
 * that `seed` decides: both sides crash and lose power, both disks fail and fill up, messages are lost, late, doubled, refused,
 * too large, answered by nobody or by an older gateway. What a sidecar has is stored in the end or declared as lost.
 */
export function simulateSidecar(seed: bigint, bug: PlantedBug | null = null): Promise<Verdict> {
  const world = new World(seed);
  const store = new SimulatedStore(world);
  const disk = new SimulatedDisk(world);
  const spool = { bytes_max: 1_000_000, policy: 'block', reserve_bytes: 0 } as const;
  const gateway = new SimulatedProcess({
    world,
    name: 'gateway',
    program: embeddedService({ world, disk, store, spool, bug }),
    onDeath: (_life, hasLostPower) => hasLostPower && disk.loseUnsynced(),
  });
  const sent: Sent[] = [];
  const onEmit = (one: Sent): void => void sent.push(one);
  const disks = SOURCES.map(() => new SimulatedDisk(world));
  const sidecars = SOURCES.map((source, index) => {
    const own = disks[index] ?? disk;
    return new SimulatedSidecar({
      world,
      disk: own,
      gateway,
      source,
      batches: BATCHES,
      spool: spoolSettings(world),
      bug,
      onEmit,
    });
  });
  for (const one of [disk, ...disks])
    one.faults = { error: upTo(world, 0.04), bytes_max: world.chance(0.1) ? 4_000 : Infinity };
  store.faults = { ambiguous: upTo(world, 0.2), refused: upTo(world, 0.2) };
  world.slowness = { chance: upTo(world, 0.02), most_ms: 3_000 };
  for (const sidecar of sidecars) {
    sidecar.network = networkFaults(world);
    sidecar.manners = { records_max: world.chance(0.5) ? 3 + world.below(6) : Infinity, isOlder: world.chance(0.2) };
  }
  const rates = { ...processFaults(world), restart: 0 };
  const processes = [gateway, ...sidecars.map((sidecar) => sidecar.process)];
  for (const process of processes) process.start();
  return run({
    world,
    disturb: () => disturbProcesses(world, rates, { processes, senders: [] }),
    calm: () => {
      for (const one of [disk, ...disks]) one.faults = { error: 0, bytes_max: Infinity };
      store.faults = { ambiguous: 0, refused: 0 };
      world.slowness = { chance: 0, most_ms: 0 };
      for (const sidecar of sidecars) {
        sidecar.network = QUIET;
        sidecar.manners = { ...POLITE, records_max: sidecar.manners.records_max };
      }
    },
    isDone: () => sidecars.every((sidecar) => sidecar.isDone) && gateway.bus?.backlog().frames === 0,
    check: () => {
      const dropped = new Map(SOURCES.map((source, index) => [source, sidecars[index]?.lost ?? 0]));
      return [...checkStore(store, sent, { aside: new Set(), dropped }), ...gapsOf(store, dropped)];
    },
  });
}

/** Sources that lost nothing have no gap in what is stored of them. */
function gapsOf(store: SimulatedStore, lost: ReadonlyMap<string, number>): string[] {
  return store
    .account()
    .filter(({ source, gaps }) => lost.get(source) === 0 && gaps.length > 0)
    .map(({ source, epoch, gaps }) => `${epoch} ${source}: sequences are missing: ${gaps.join(' and ')}`);
}
