import type { LeewayRecord } from '../../src/core/records.ts';
import { createStragglerDetector } from '../../src/straggler/detector.ts';
import type { StragglerOptions } from '../../src/straggler/options.ts';
import type { StragglerReport } from '../../src/straggler/report.ts';
import type { Fault, Plan } from './plan.ts';
import { type Simulation, simulate } from './simulator.ts';

/** Seeds of the assertions; no threshold was chosen on them. */
export const SEEDS = [101, 202, 303];

/** The report of all records, as a file would give it. */
export function analyse(records: readonly LeewayRecord[], options: Partial<StragglerOptions> = {}): StragglerReport {
  const detector = createStragglerDetector(options);
  for (const record of records) detector.observe(record);
  detector.finish();
  return detector.report();
}

/** A job of 8 × 2 ranks and 500 steps unless the plan says otherwise, and what is said about it. */
export function run(plan: Partial<Plan> & { faults: readonly Fault[] }): {
  simulation: Simulation;
  report: StragglerReport;
} {
  const simulation = simulate({ seed: 101, dp: 8, pp: 2, steps: 500, ...plan });
  return { simulation, report: analyse(simulation.records) };
}

/** True loss: (step time with − without the fault) × ranks, from the simulator's counterfactual. */
export function trueLoss(simulation: Simulation): number {
  const lost_ms = simulation.step_ms.reduce((sum, ms, step) => sum + ms - (simulation.clean_ms[step] ?? ms), 0);
  return (lost_ms * simulation.ranks) / 1000;
}

/** Kind, subjects and cause of each incident, one line each. */
export function names(report: StragglerReport): string[] {
  return report.incidents.map(
    (incident) =>
      `${incident.kind} ${incident.subjects.map((subject) => `${subject.type} ${subject.id}`).join(',')} ${incident.cause}`,
  );
}
