import { expect, test } from 'vitest';
import type { LeewayRecord } from '../../src/core/records.ts';
import { createStragglerDetector } from '../../src/straggler/detector.ts';
import { simulate } from './simulator.ts';

type Timed = LeewayRecord & { readonly at_ms: number };
const LATE_MS = 10_000;

const FIELDS = [
  '$map $set at_ms attempt attempts beats blocks blocks_count bytes cause cells_count',
  'checkpoint_longest_ms cleared_at_ms cleared_step closed_through compute compute_ms data_ms dp',
  'duration_ms durations evidence evidence_bucket evidence_count evidence_ms expected_count first',
  'first_step flags forced_count gpu gpu_ms gpu_ms_lost gpu_usd_per_hour gpus group groups hang held',
  'history hosts id imbalance incident incidents index input insight job jobs key kind largest',
  'late_count lost_ms network nics node op open over_since_ms passed pause_lost_ms pauses peer_count',
  'peerless_blocks_count phase phase_since_ms places pp progress raised_at_ms raised_step rank ranks',
  'ratios reached ready_index recent_parts released_ms reopened_count rows run seen_count seq severity',
  'slow_count spent_ms stages started_at_ms started_step state step step_ms step_ms_lost steps_count',
  'stride subjects sum_ms tokens topologies totals tp train transfer_ms type usual_parts world_size',
].join(' ');

function inOrder(records: readonly LeewayRecord[]): Timed[] {
  return (records as readonly Timed[]).toSorted((a, b) => a.at_ms - b.at_ms);
}

test('a detector that goes on from a memory, with all records read again, ends as one that never stopped', () => {
  const faults = [{ kind: 'gpu_slow', rank: 2, ratio: 0.2, from: 150, echo: 'thermal' }] as const;
  const records = inOrder(simulate({ seed: 8, dp: 8, steps: 500, faults, gpus: true }).records);
  const middle_ms = records[Math.floor(records.length * 0.7)]?.at_ms ?? 0;
  const whole = createStragglerDetector();
  for (const record of records) whole.observe(record);
  whole.advance(middle_ms);
  const goesOn = createStragglerDetector({}, whole.memory());
  for (const record of records) goesOn.observe(record);
  expect(whole.finish().map(({ finding }) => finding)).toEqual(goesOn.finish().map(({ finding }) => finding));
  expect(goesOn.report()).toEqual(whole.report());
  expect(whole.report().incidents).toMatchObject([{ kind: 'slow_rank', cause: 'thermal' }]);
});

test('GPU activity that is read again after a memory is no second sign of life in a silence', () => {
  const records = inOrder(simulate({ seed: 9, dp: 4, steps: 100, faults: [], gpus: true }).records);
  const steps_end_ms = records.findLast(({ type }) => type === 'step')?.at_ms ?? 0;
  const gpu = records.findLast(({ type }) => type === 'gpu');
  // busy in 4 of the 10 buckets of 5 s of the silence: half of them would be a hang
  const busy = [10_000, 25_000, 40_000, 44_000].map((later_ms) => ({
    ...gpu,
    utilization: 1,
    at_ms: steps_end_ms + later_ms,
  })) as Timed[];
  const detector = createStragglerDetector();
  for (const record of [...records, ...busy]) detector.observe(record);
  detector.advance(steps_end_ms + 45_000 + LATE_MS);
  const again = createStragglerDetector({}, detector.memory());
  for (const record of busy) again.observe(record);
  for (const each of [detector, again]) expect(each.advance(steps_end_ms + 52_000 + LATE_MS)).toEqual([]);
});

test('the phases before a hang, read again after a memory, do not end it', () => {
  const hang = { kind: 'hang', rank: 3, from: 100 } as const;
  const { records: simulated, job } = simulate({ seed: 12, dp: 4, steps: 120, faults: [hang], beats: true });
  const steps_end_ms = inOrder(simulated).findLast(({ type }) => type === 'step')?.at_ms ?? 0;
  const phase = { type: 'phase', job, phase: 'eval' } as const;
  const records = inOrder([
    ...simulated,
    { ...phase, state: 'begin', at_ms: steps_end_ms - 30_000 },
    { ...phase, state: 'end', at_ms: steps_end_ms - 20_000 },
  ]);
  const now_ms = (records.at(-1)?.at_ms ?? 0) + LATE_MS;
  const detector = createStragglerDetector();
  for (const record of records) detector.observe(record);
  expect(detector.advance(now_ms)).toMatchObject([{ change: 'raised', finding: { name: 'straggler.hang', value: 1 } }]);
  const again = createStragglerDetector({}, detector.memory());
  for (const record of records) again.observe(record);
  expect(again.advance(now_ms)).toEqual([]);
  expect(again.report()).toEqual(detector.report());
});

test('a memory holds no job that was silent for a day', () => {
  const detector = createStragglerDetector();
  const { records } = simulate({ seed: 10, dp: 4, steps: 100, faults: [] });
  const last_ms = Math.ceil(inOrder(records).at(-1)?.at_ms ?? 0);
  for (const record of records) detector.observe(record);
  const beat = { type: 'heartbeat', job: 'other', rank: 0, step: 1, state: 'running' } as const;
  const jobsAt = (later_ms: number): string[] => {
    detector.observe({ ...beat, at_ms: last_ms + later_ms } as LeewayRecord);
    detector.advance(last_ms + later_ms + LATE_MS);
    return createStragglerDetector({}, detector.memory())
      .report()
      .jobs.map(({ job }) => job);
  };
  expect(jobsAt(86_000_000)).toContain('sim-10');
  expect(jobsAt(86_500_000)).not.toContain('sim-10');
});

test('a memory takes at most 4,000 characters a rank, however long the job and its incident last', () => {
  const size = (dp: number, steps: number): number => {
    const detector = createStragglerDetector();
    const faults = [{ kind: 'gpu_slow', rank: 2, ratio: 0.2, from: 150 }] as const;
    for (const record of simulate({ seed: 8, dp, steps, faults, gpus: true }).records) detector.observe(record);
    detector.finish();
    return detector.memory().length;
  };
  const short = size(4, 2_000);
  expect((size(8, 2_000) - short) / 4).toBeLessThan(4_000);
  expect(size(4, 5_000) / short).toBeLessThan(1.2);
});

test('the fields of a memory are these; where they change, VERSION of pipeline/job-memory.ts is raised', () => {
  const detector = createStragglerDetector();
  const faults = [{ kind: 'gpu_slow', rank: 2, ratio: 0.2, from: 150 }] as const;
  const plan = { seed: 8, dp: 8, steps: 300, faults, gpus: true, beats: true, collectives: true };
  const records = inOrder(simulate(plan).records);
  for (const record of records) detector.observe(record);
  detector.advance((records.at(-1)?.at_ms ?? 0) - 20_000);
  const fields = new Set<string>();
  JSON.parse(detector.memory(), (key, value: unknown) => {
    if (/^[a-z$_]+$/.test(key)) fields.add(key);
    return value;
  });
  expect([...fields].toSorted().join(' ')).toBe(FIELDS);
});
