import { Fleet } from './fleet.ts';
import type { PlantedBug } from './planted.ts';
import { run, type Verdict } from './run.ts';
import { World } from './world.ts';

/**
 * One execution of the path over Kafka (gateways, brokers, workers, a shared store) under the faults that `seed` decides:
 * crashes and freezes at any await, writes that are lost, late, doubled or done without an answer, leaders that change,
 * members that are expelled and go on, consumers that fall silent, commits that are lost, late or forgotten, garbage in the
 * topic, a store that refuses, does not answer or cannot read a row.
 */
export function simulateKafka(seed: bigint, bug: PlantedBug | null = null): Promise<Verdict> {
  return run(new Fleet(new World(seed), bug).scenario());
}
