import { describe, expect, test } from 'vitest';
import type { LeewayRecord } from '../../src/core/records.ts';
import { createStragglerDetector } from '../../src/straggler/detector.ts';
import { simulate } from './simulator.ts';
import { analyse, names, run, SEEDS } from './verdict.ts';

describe('hangs', () => {
  test.each(SEEDS)('the rank outside the collective is named within 60 s (seed %i)', (seed) => {
    const { report } = run({ seed, steps: 100, faults: [{ kind: 'hang', rank: 7, from: 80 }] });
    expect(names(report)).toEqual(['hang rank 7 unknown']);
    const [incident] = report.incidents;
    expect((incident?.raised_at_ms ?? 0) - (incident?.started_at_ms ?? 0)).toBeLessThanOrEqual(60_000);
    // silence × ranks: the simulated heartbeats go on for 179 s after the last step, 16 ranks
    expect(incident?.gpu_seconds_lost).toBeCloseTo(179 * 16, -2);
  });

  test('a rank that fell silent is named', () => {
    expect(names(run({ steps: 100, faults: [{ kind: 'hang', rank: 2, from: 80, mute: true }] }).report)).toEqual([
      'hang rank 2 unknown',
    ]);
  });

  test('it ends when the job goes on, and costs the silence', () => {
    const { report } = run({ steps: 120, faults: [{ kind: 'hang', rank: 7, from: 80, resume_ms: 90_000 }] });
    const [incident] = report.incidents;
    expect(incident?.cleared_step).toBe(80);
    // 90 s of silence and one ordinary step of about 1.6 s, 16 ranks
    expect(incident?.gpu_seconds_lost).toBeGreaterThan(90 * 16);
    expect(incident?.gpu_seconds_lost).toBeLessThan(93 * 16);
  });

  test('a stall of all ranks in a checkpoint names no rank', () => {
    const { simulation, report } = run({ steps: 100, faults: [{ kind: 'checkpoint_stall', from: 80 }] });
    expect(names(report)).toEqual([`hang job ${simulation.job} storage`]);
  });

  test('ranks that exit are not a hang, nor is a job whose records just end', () => {
    const { records, job, ranks } = simulate({ seed: 9, dp: 8, steps: 60, faults: [], beats: true });
    const end_ms = Math.max(...records.map((record) => ('at_ms' in record ? record.at_ms : 0)));
    const exits = Array.from({ length: ranks }, (_, rank): LeewayRecord[] =>
      [0, 60, 120].map((second) => ({
        type: 'heartbeat',
        job,
        rank,
        at_ms: end_ms + 1_000 * second,
        step: 59,
        state: 'exited',
      })),
    ).flat();
    expect(analyse([...records, ...exits]).incidents).toEqual([]);
    const detector = createStragglerDetector();
    for (const record of records) detector.observe(record);
    expect(detector.advance(end_ms + 600_000).filter((change) => change.incident.kind === 'hang')).toEqual([]);
  });

  test('a gap of the collector is not a hang, though steps come 70 s apart', () => {
    const { records } = simulate({ seed: 9, dp: 8, steps: 150, faults: [], beats: true });
    const start_ms = 1_760_000_000_000;
    const kept = records.filter(
      (record) =>
        !('at_ms' in record) ||
        record.type === 'job' ||
        record.at_ms < start_ms + 150_000 ||
        record.at_ms > start_ms + 220_000,
    );
    expect(kept.length).toBeLessThan(records.length - 500);
    expect(analyse(kept).incidents).toEqual([]);
  });
});
