import { describe, expect, test } from 'vitest';
import type { StragglerReport } from '../../src/straggler/report.ts';
import { delivered } from './delivery.ts';
import type { Plan } from './plan.ts';
import { type Simulation, simulate } from './simulator.ts';
import { analyse, names } from './verdict.ts';

const SEEDS = [401, 402];

/** 4 stages × 2 tensor-parallel ranks: 8 data-parallel groups, two behind each pair of nodes. */
function job(seed: number, plan: Partial<Plan>): Simulation {
  return simulate({
    seed,
    dp: 8,
    pp: 4,
    tp: 2,
    steps: 450,
    collectives: true,
    faults: [{ kind: 'nic_slow', node: 3, ratio: 2, from: 250 }],
    ...plan,
  });
}

describe('slow transfers', () => {
  test.each(SEEDS)('groups behind one network card are one slow_network of its node (seed %i)', (seed) => {
    const simulation = job(seed, { nics: true });
    const report = analyse(simulation.records);
    expect(names(report)).toEqual(['slow_network node node-3 network']);
    const [incident] = report.incidents;
    expect(incident?.evidence['groups']).toEqual(['dp-1-0', 'dp-1-1']);
    expect(incident?.started_step).toBe(250);
    const lost_ms = simulation.step_ms.reduce((sum, ms, step) => sum + ms - (simulation.clean_ms[step] ?? ms), 0);
    // the step waits for the slower of two jittering groups (σ 0.2 each): the blocks' medians miss 6 % of that
    expect(Math.abs((incident?.gpu_seconds_lost ?? 0) / ((lost_ms * simulation.ranks) / 1000) - 1)).toBeLessThan(0.1);
  });

  test.each(SEEDS)('late, lost and repeated records change neither id nor subject (seed %i)', (seed) => {
    const { records } = job(seed, { nics: true });
    const ids = (report: StragglerReport): string[] =>
      report.incidents.map((incident) => `${incident.id} ${JSON.stringify(incident.subjects)}`);
    expect(ids(analyse(delivered(records, { seed, late_ms: 9_000, lost: 0.1, twice: 0.02 })))).toEqual(
      ids(analyse(records)),
    );
  });

  test('without counters that tell two nodes apart the groups are named, not a guess', () => {
    expect(names(analyse(job(401, {}).records))).toEqual(['slow_network group dp-1-0,group dp-1-1 network']);
  });

  test('without collectives the transfer time of the layout’s groups serves', () => {
    expect(names(analyse(job(401, { collectives: false, nics: true }).records))).toEqual([
      'slow_network node node-3 network',
    ]);
  });

  test.each(SEEDS)('a rank that arrives late is not a slow network: its peers only wait (seed %i)', (seed) => {
    const report = analyse(job(seed, { faults: [{ kind: 'gpu_slow', rank: 3, ratio: 0.2, from: 250 }] }).records);
    expect(names(report)).toEqual(['slow_rank rank 3 unknown']);
  });

  test.each(SEEDS)('a rank and a network fault at once are two incidents (seed %i)', (seed) => {
    const faults = [
      { kind: 'gpu_slow', rank: 60, ratio: 0.2, from: 220 },
      { kind: 'nic_slow', node: 0, ratio: 2, from: 250 },
    ] as const;
    expect(names(analyse(job(seed, { faults, nics: true }).records)).sort()).toEqual([
      'slow_network node node-0 network',
      'slow_rank rank 60 unknown',
    ]);
  });

  test('a healthy network raises nothing and a recovered one is cleared', () => {
    for (const seed of SEEDS)
      expect(names(analyse(job(seed, { faults: [], nics: true }).records)), `seed ${seed}`).toEqual([]);
    const report = analyse(
      job(401, { faults: [{ kind: 'nic_slow', node: 3, ratio: 2, from: 200, to: 300 }], nics: true }).records,
    );
    expect(report.incidents[0]?.cleared_step).toBe(349);
  });
});
