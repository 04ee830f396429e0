import { SimulatedDisk } from './disk.ts';
import { SimulatedSender } from './sender.ts';
import { type PlantedBug, SimulatedService } from './service.ts';
import { SimulatedStore } from './store.ts';
import { World } from './world.ts';

/** What was wrong in the end, empty when nothing was; the trace tells what happened. */
export type Verdict = { readonly wrong: readonly string[]; readonly steps: number; readonly trace: readonly string[] };

const SENDERS = 3;
const BATCHES = 6;
/** Faults are planted for this long; then they stop and everything must arrive. */
const FAULTS_UNTIL_MS = 6_000;
/** Without faults all is stored long before; a world that needs longer has a lag that does not go away. */
const LIVE_UNTIL_MS = 120_000;
const STEPS_MAX = 50_000;

/**
 * One execution of the embedded path under the faults that `seed` decides: crashes and power losses between any two
 * operations, torn and failing writes, a full disk, a store that refuses or does not answer, lost, late and doubled
 * requests, clock steps, senders that restart. First faults at any time (safety), then none (liveness).
 */
export async function simulate(seed: number, bug: PlantedBug | null = null): Promise<Verdict> {
  const world = new World(seed);
  const disk = new SimulatedDisk(world);
  const store = new SimulatedStore(world);
  const bytes_max = world.chance(0.2) ? 6_000 : 1_000_000;
  const service = new SimulatedService({ world, disk, store, bytes_max, bug });
  const senders = Array.from({ length: SENDERS }, (_, index) => new SimulatedSender(world, service, `source-${index}`));
  const rates = plantFaults(world, { disk, store, senders });
  service.start();
  for (const sender of senders) sender.start(BATCHES);
  let steps = 0;
  let restart_ms = 0;
  for (; steps < STEPS_MAX && world.elapsed_ms < LIVE_UNTIL_MS; steps++) {
    const faulty = world.elapsed_ms < FAULTS_UNTIL_MS;
    if (faulty) disturb(world, rates, { service, senders });
    else calm({ disk, store, senders });
    if (!service.isAlive) {
      restart_ms ||= world.elapsed_ms + 1 + world.below(500);
      if (world.elapsed_ms >= restart_ms || !faulty) {
        service.start();
        restart_ms = 0;
      }
    }
    if (!(await world.step())) {
      if (service.isAlive) break; // nothing can happen any more
      world.passUntil(restart_ms);
    }
    if (!faulty && senders.every((sender) => sender.isDone) && service.bus?.backlog().frames === 0) break;
  }
  return { wrong: check({ store, service, senders }), steps, trace: world.trace };
}

type Rates = { readonly kill: number; readonly power: number; readonly restart: number; readonly clock: number };

function plantFaults(
  world: World,
  { disk, store, senders }: { disk: SimulatedDisk; store: SimulatedStore; senders: readonly SimulatedSender[] },
): Rates {
  const upTo = (most: number): number => (world.chance(0.5) ? 0 : world.random.next() * most);
  disk.faults = { error: upTo(0.05), bytes_max: world.chance(0.15) ? 4_000 : Infinity };
  store.faults = { ambiguous: upTo(0.3), refused: upTo(0.3) };
  for (const sender of senders) sender.network = { lost: upTo(0.3), unanswered: upTo(0.3), doubled: upTo(0.3) };
  return { kill: upTo(0.02), power: upTo(0.02), restart: upTo(0.005), clock: upTo(0.01) };
}

function disturb(
  world: World,
  rates: Rates,
  { service, senders }: { service: SimulatedService; senders: readonly SimulatedSender[] },
): void {
  if (world.chance(rates.kill)) service.stop('is killed', false);
  if (world.chance(rates.power)) service.stop('loses power', true);
  if (world.chance(rates.clock)) world.stepClock(world.below(7_200_000) - 3_600_000);
  if (world.chance(rates.restart)) senders[world.below(senders.length)]?.restart(BATCHES);
}

function calm(parts: { disk: SimulatedDisk; store: SimulatedStore; senders: readonly SimulatedSender[] }): void {
  parts.disk.faults = { error: 0, bytes_max: Infinity };
  parts.store.faults = { ambiguous: 0, refused: 0 };
  for (const sender of parts.senders) sender.network = { lost: 0, unanswered: 0, doubled: 0 };
}

/** Emitted against stored, by source and epoch: every acknowledged row once, nothing that was not sent, no gap. */
function check(parts: {
  store: SimulatedStore;
  service: SimulatedService;
  senders: readonly SimulatedSender[];
}): string[] {
  const { store, service, senders } = parts;
  const wrong: string[] = [];
  const backlog = service.bus?.backlog();
  if (!senders.every((sender) => sender.isDone)) wrong.push('a sender never got its answer');
  if (backlog === undefined) wrong.push('the service did not come back');
  else if (backlog.frames > 0) wrong.push(`${backlog.frames} frames were never stored`);
  const accounts = new Map(store.account().map((account) => [`${account.epoch} ${account.source}`, account]));
  const byEpoch = Map.groupBy(
    senders.flatMap(({ sent }) => sent),
    ({ batch }) => `${batch.epoch} ${batch.source}`,
  );
  for (const [name, sent] of byEpoch) {
    const account = accounts.get(name);
    const rowsOf = (some: typeof sent): number => some.reduce((sum, { rows }) => sum + rows, 0);
    const promised = rowsOf(sent.filter(({ acknowledged }) => acknowledged));
    const emitted = rowsOf(sent);
    const stored = account?.stored ?? 0;
    const lost = backlog?.quarantined.find((one) => `${one.epoch} ${one.source}` === name)?.records ?? 0;
    if (stored + lost < promised) wrong.push(`${name}: ${promised} rows promised, ${stored} stored, ${lost} declared`);
    if (stored > emitted) wrong.push(`${name}: ${stored} rows stored of ${emitted} emitted`);
    if (account !== undefined && account.frame_rows !== account.stored + account.duplicates_absorbed)
      wrong.push(`${name}: ${account.frame_rows} rows in frames are not ${stored} + ${account.duplicates_absorbed}`);
    if (account !== undefined && account.sequence_max - account.sequence_min + 1 !== account.sequences)
      wrong.push(`${name}: sequences ${account.sequence_min} to ${account.sequence_max} have a gap`);
  }
  return wrong;
}
