import type { Census } from './census.ts';
import type { SimulatedProcess } from './process.ts';
import type { NetworkFaults, SimulatedSender } from './sender.ts';
import type { World } from './world.ts';

/** What was wrong in the end, empty when nothing was; `trace` tells the last events, `live_ms` how long after the faults all was stored. */
export type Verdict = {
  readonly wrong: readonly string[];
  readonly steps: number;
  readonly live_ms: number;
  readonly fingerprint: number;
  readonly census: Census;
  readonly trace: readonly string[];
};

/** An execution: first faults at any time (safety), then none, and everything must arrive (liveness). */
export type Scenario = {
  readonly world: World;
  /** Before each step while faults last. */
  readonly disturb: () => void;
  /** Once, when they end. */
  readonly calm: () => void;
  readonly isDone: () => boolean;
  readonly check: () => readonly string[];
};

/** Faults are planted for this long; then they stop and everything must arrive. */
const FAULTS_UNTIL_MS = 5_000;
/** Without faults all is stored long before; a world that needs longer has a lag that does not go away. */
const LIVE_UNTIL_MS = 240_000;
const STEPS_MAX = 60_000;

/** Runs `scenario` to its end and judges it. */
export async function run(scenario: Scenario): Promise<Verdict> {
  const { world } = scenario;
  let isCalm = false;
  let steps = 0;
  for (; steps < STEPS_MAX && world.elapsed_ms < LIVE_UNTIL_MS; steps++) {
    if (!isCalm && world.elapsed_ms >= FAULTS_UNTIL_MS) {
      isCalm = true;
      world.note('no more faults');
      scenario.calm();
    }
    if (!isCalm) scenario.disturb();
    if (isCalm && scenario.isDone()) break;
    if (await world.step()) continue;
    if (isCalm) break; // nothing can happen any more
    world.passUntil(FAULTS_UNTIL_MS);
  }
  const late = isCalm && scenario.isDone() ? [] : [`not done after ${world.elapsed_ms} ms and ${steps} steps`];
  const wrong = [...late, ...scenario.check()];
  const { trace, census, fingerprint, elapsed_ms } = world;
  return { wrong, steps, live_ms: elapsed_ms - FAULTS_UNTIL_MS, fingerprint, census, trace };
}

/** A rate of this world: none in half of the worlds, else anything up to `most`. */
export function upTo(world: World, most: number): number {
  return world.chance(0.5) ? 0 : world.random.next() * most;
}

/** Faults of requests, for one sender. */
export function networkFaults(world: World): NetworkFaults {
  return {
    lost: upTo(world, 0.3),
    unanswered: upTo(world, 0.3),
    doubled: upTo(world, 0.3),
    aborted: upTo(world, 0.2),
  };
}

/** Chances a step of what happens to processes and clocks. */
export type ProcessFaults = {
  readonly kill: number;
  /** Of a process that has inserted and not noted, or noted and not committed. */
  readonly tender: number;
  readonly power: number;
  readonly freeze: number;
  readonly restart: number;
  readonly clock: number;
};

export function processFaults(world: World): ProcessFaults {
  return {
    kill: upTo(world, 0.015),
    tender: upTo(world, 0.1),
    power: upTo(world, 0.015),
    freeze: upTo(world, 0.005),
    restart: upTo(world, 0.003),
    clock: upTo(world, 0.01),
  };
}

const FREEZE_MS_MAX = 5_000;
const HOUR_MS = 3_600_000;

/** Lets `rates` strike at processes, senders and the clock. */
export function disturbProcesses(
  world: World,
  rates: ProcessFaults,
  parts: { readonly processes: readonly SimulatedProcess[]; readonly senders: readonly SimulatedSender[] },
): void {
  if (world.chance(rates.kill)) world.pick(parts.processes)?.stop(false);
  for (const process of parts.processes) {
    const stage = process.life?.stage ?? null;
    if ((stage === 'inserted' || stage === 'noted') && world.chance(rates.tender)) process.stop(world.chance(0.5));
  }
  if (world.chance(rates.power)) world.pick(parts.processes)?.stop(true);
  if (world.chance(rates.freeze)) {
    const life = world.pick(parts.processes)?.life ?? null;
    if (life !== null) {
      world.strikes('process_frozen', 1, life.name);
      world.freeze(life, world.below(FREEZE_MS_MAX));
    }
  }
  if (world.strikes('clock_stepped', rates.clock)) world.stepClock(world.below(2 * HOUR_MS) - HOUR_MS);
  if (world.strikes('sender_restarted', rates.restart)) world.pick(parts.senders)?.restart();
}
