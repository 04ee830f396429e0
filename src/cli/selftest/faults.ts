import type { Clock } from '../../core/clock.ts';
import { integerBelow, type Random } from '../../core/random.ts';
import type { Installation } from './installation.ts';

/** What can be done to a running service, with its share of the rounds. */
const FAULTS = {
  kill_service: 0.35,
  kill_while_starting: 0.1,
  kill_store: 0.2,
  stall_service: 0.2,
  stall_store: 0.15,
} as const;
export type Fault = keyof typeof FAULTS;

/** A fault comes at a moment of its own: this long after the one before, at most. */
const REST_MS_MIN = 150;
const REST_MS_SPREAD = 900;
/** Longer than a write and a segment's age, shorter than the sender's patience. */
const STALL_MS_MIN = 200;
const STALL_MS_SPREAD = 1_300;
/** A start takes about a second: a kill falls into any of its phases. */
const START_MS_SPREAD = 800;

/** A store between two lives cannot be hit: another fault is drawn. */
const ATTEMPTS_A_ROUND = 5;

/** What was done and how long it took to come back. */
export type FaultFigures = {
  readonly injected: Record<Fault, number>;
  /** From each kill of the service until its successor listened. */
  readonly restart_ms: number[];
};

export type FaultOptions = {
  readonly rounds: number;
  readonly random: Random;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly say: (text: string) => void;
};

/** Kills and stalls the processes of `installation` at moments drawn from `random`, `rounds` times, and leaves it running. */
export async function injectFaults(installation: Installation, options: FaultOptions): Promise<FaultFigures> {
  const { rounds, random, clock, signal, say } = options;
  const figures: FaultFigures = {
    injected: { kill_service: 0, kill_while_starting: 0, kill_store: 0, stall_service: 0, stall_store: 0 },
    restart_ms: [],
  };
  let injected = 0;
  for (let attempt = 0; injected < rounds && attempt < ATTEMPTS_A_ROUND * rounds; attempt++) {
    await installation.ready;
    await clock.sleep(REST_MS_MIN + integerBelow(random, REST_MS_SPREAD), signal);
    const fault = faultAt(random.next());
    if (!(await inject(fault, installation, { ...options, figures }))) continue;
    figures.injected[fault]++;
    say(`${++injected} of ${rounds}: ${fault.replaceAll('_', ' ')}`);
  }
  await installation.ready;
  return figures;
}

/** The fault whose share of [0, 1) `draw` falls into. */
export function faultAt(draw: number): Fault {
  let below = 0;
  for (const [name, share] of Object.entries(FAULTS) as [Fault, number][]) {
    below += share;
    if (draw < below) return name;
  }
  return 'stall_store';
}

type Injecting = FaultOptions & { readonly figures: FaultFigures };

/** False when there was nothing to hit: a store between two lives. */
async function inject(fault: Fault, installation: Installation, options: Injecting): Promise<boolean> {
  const { random, clock, signal } = options;
  const stall_ms = STALL_MS_MIN + integerBelow(random, STALL_MS_SPREAD);
  const early_ms = integerBelow(random, START_MS_SPREAD);
  switch (fault) {
    case 'kill_store':
      return installation.killStore();
    case 'stall_service':
      return installation.stall(installation.service_pid, stall_ms);
    case 'stall_store':
      return installation.stall(installation.store_pid, stall_ms);
    case 'kill_service':
      await restart(installation, options);
      return true;
    case 'kill_while_starting':
      await installation.kill();
      installation.start();
      await clock.sleep(early_ms, signal);
      await restart(installation, options);
      return true;
  }
}

async function restart(installation: Installation, { clock, figures }: Injecting): Promise<void> {
  const killed_ms = clock.elapsed_ms();
  await installation.kill();
  installation.start();
  await installation.ready;
  figures.restart_ms.push(clock.elapsed_ms() - killed_ms);
}
