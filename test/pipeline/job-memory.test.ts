import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { Finding } from '../../src/core/finding.ts';
import type { LeewayRecord } from '../../src/core/records.ts';
import { type JobMemory, jobMemory, loadJobMemory, saveJobMemory } from '../../src/pipeline/job-memory.ts';
import { JobWatch } from '../../src/pipeline/job-watch.ts';
import type { StragglerReport } from '../../src/straggler/report.ts';
import type { Plan } from '../straggler/plan.ts';
import { simulate } from '../straggler/simulator.ts';
import { type LiveStore, openLiveStore } from './live-store.ts';

const signal = new AbortController().signal;
const HISTORY_MS = 16 * 60_000;
const SLICE_MS = 200_000;
const DAY_MS = 86_400_000;

let live: LiveStore;
/** Each test has a day of its own, so that nothing of another test is recent to it. */
let day = 0;
beforeAll(async () => {
  live = await openLiveStore();
});
beforeEach(() => {
  day += 3;
});
afterAll(() => live[Symbol.asyncDispose]());

type Timed = LeewayRecord & { readonly at_ms: number };

/** A simulated job of 8 ranks with steps of about 1.6 s, in order of time. */
function job(plan: Pick<Plan, 'seed' | 'steps' | 'faults'> & Partial<Plan>): Timed[] {
  const { records } = simulate({ dp: 8, ranks_per_node: 4, ...plan });
  const moved = records.map((record) => ({ ...record, at_ms: (record as Timed).at_ms + day * DAY_MS }) as Timed);
  return moved.toSorted((a, b) => a.at_ms - b.at_ms);
}

function slices(records: readonly Timed[]): { records: Timed[]; to_ms: number }[] {
  const start_ms = records[0]?.at_ms ?? 0;
  const found = Map.groupBy(records, ({ at_ms }) => Math.floor((at_ms - start_ms) / SLICE_MS));
  return Array.from(found, ([slice, own]) => ({ records: own, to_ms: start_ms + (slice + 1) * SLICE_MS }));
}

/** A watch that was there before a memory was kept, or goes on from one. */
function watch(memory: JobMemory | null = null, detector = {}): JobWatch {
  return new JobWatch(live.store, { detector, history_ms: HISTORY_MS }, memory);
}

/** Two looks: the first one finds history and lets it settle. */
async function settled(watcher: JobWatch, now_ms: number): Promise<Finding[]> {
  await watcher.analyse(now_ms, signal);
  return watcher.analyse(now_ms + 2_501, signal);
}

/** What the control store gives back to the next process. */
async function keptOf(watcher: JobWatch, now_ms: number): Promise<JobMemory> {
  const memory = watcher.memory(now_ms);
  if (memory === null) throw new Error('there was nothing to keep');
  await saveJobMemory(live.control, memory, now_ms);
  const kept = await loadJobMemory(live.control, now_ms);
  if (kept === null) throw new Error('nothing was kept');
  return kept;
}

function essence({ jobs, incidents }: StragglerReport) {
  return [
    jobs.map((found) => ({ job: found.job, ranks: found.ranks, steps: found.steps, verdict: found.verdict })),
    incidents.map(({ id, kind, subjects, cause, started_step, raised_step, cleared_step, gpu_seconds_lost }) => ({
      id,
      kind,
      subjects,
      cause,
      started_step,
      raised_step,
      cleared_step,
      gpu_seconds_lost,
    })),
  ];
}

const keyed = (findings: readonly Finding[]) => findings.map(({ key, value, cause }) => ({ key, value, cause }));

test('a watch that goes on half an hour after a rank became slow says what the one before it would have said', async () => {
  const faults = [{ kind: 'gpu_slow', rank: 3, ratio: 0.25, from: 300, to: 1_600, echo: 'thermal' }] as const;
  const parts = slices(job({ seed: 21, steps: 1_900, faults, gpus: true }));
  const stayed = watch();
  let restarted: JobWatch | null = null;
  const slow: unknown[] = [];
  for (const [index, { records, to_ms }] of parts.entries()) {
    await live.put(records);
    const expected = await settled(stayed, to_ms);
    // the rank has been slow for more than half an hour
    if (index === 11) restarted = watch(await keptOf(stayed, to_ms + 3_000));
    if (restarted === null) continue;
    const found = await settled(restarted, to_ms);
    expect(keyed(found)).toEqual(keyed(expected));
    slow.push(found.map(({ name, value }) => [name, (value ?? 0) > 0]));
  }
  const open = [['straggler.slow_rank', true]];
  expect(slow[0]).toEqual(open);
  expect(slow.at(-1)).toEqual([['straggler.slow_rank', false]]); // it sees the end, too
  if (restarted === null) throw new Error('it was restarted');
  expect(essence(restarted.report())).toEqual(essence(stayed.report()));
});

test('what was stored after the memory was kept is read, what is in it is not taken twice', async () => {
  const faults = [{ kind: 'gpu_slow', rank: 5, ratio: 0.25, from: 150, echo: 'thermal' }] as const;
  const [first, second, third, ...rest] = slices(job({ seed: 22, steps: 420, faults, gpus: true }));
  if (first === undefined || second === undefined || third === undefined) throw new Error('three slices');
  const stayed = watch();
  await live.put(first.records);
  await settled(stayed, first.to_ms);
  const memory = await keptOf(stayed, first.to_ms + 3_000); // the rank is not slow yet
  for (const { records } of [second, third, ...rest]) await live.put(records);
  const now_ms = (rest.at(-1) ?? third).to_ms;
  const expected = await settled(stayed, now_ms);
  const found = await settled(watch(memory), now_ms);
  expect(expected).toMatchObject([{ name: 'straggler.slow_rank', subjects: [{ id: '5' }], cause: 'thermal' }]);
  expect(keyed(found)).toEqual(keyed(expected));
});

test('a job whose records come five minutes late is watched by a watch that goes on, too', async () => {
  const faults = [{ kind: 'gpu_slow', rank: 6, ratio: 0.25, from: 150 }] as const;
  const late = job({ seed: 26, steps: 300, faults });
  const first_ms = late[0]?.at_ms ?? 0;
  const live_job = job({ seed: 27, steps: 300, faults: [] }).map((record) => ({
    ...record,
    at_ms: record.at_ms + 300_000,
  }));
  const now_ms = (live_job.at(-1)?.at_ms ?? 0) + 11_000;
  const stayed = watch();
  await live.put([...live_job, ...late.filter(({ at_ms }) => at_ms < first_ms + 200_000)]);
  await settled(stayed, now_ms);
  const memory = await keptOf(stayed, now_ms);
  const restarted = watch(memory);
  await live.put(late.filter(({ at_ms }) => at_ms >= first_ms + 200_000));
  expect(await settled(restarted, now_ms + 10_000)).toMatchObject([
    { name: 'straggler.slow_rank', scope: { job: 'sim-26' }, subjects: [{ id: '6' }] },
  ]);
});

test('a hang that is 20 minutes old is one to a watch that goes on, and ends with the next step', async () => {
  const hang = { kind: 'hang', rank: 3, from: 100, resume_ms: 1_500_000 } as const;
  const records = job({ seed: 23, steps: 160, faults: [hang], beats: true });
  const steps = records.filter(({ type }) => type === 'step');
  const stands_ms = steps.find(({ at_ms }, index) => at_ms - (steps[index - 1]?.at_ms ?? at_ms) > 600_000)?.at_ms ?? 0;
  const stayed = watch();
  const until_ms = stands_ms - 200_000;
  let early = 0;
  for (const { records: own, to_ms } of slices(records.filter(({ at_ms }) => at_ms < until_ms))) {
    await live.put(own);
    const found = await settled(stayed, to_ms);
    if (found.length === 0 || early++ > 0) continue;
    // minutes after it began its last steps are recent history, and no news
    expect(keyed(await settled(watch(await keptOf(stayed, to_ms + 60_000)), to_ms + 3_000))).toEqual(keyed(found));
  }
  expect(early).toBeGreaterThan(2);
  const now_ms = until_ms + 5_000;
  const expected = await settled(stayed, now_ms);
  expect(expected).toMatchObject([{ name: 'straggler.hang', value: 1, scope: { job: 'sim-23' } }]);
  const restarted = watch(await keptOf(stayed, now_ms + 120_000));
  expect(keyed(await settled(restarted, now_ms + 60_000))).toEqual(keyed(expected));
  await live.put(records.filter(({ at_ms }) => at_ms >= until_ms));
  expect(await settled(restarted, (records.at(-1)?.at_ms ?? 0) + 11_000)).toMatchObject([{ value: 0 }]);
});

test('an hour without a worker is no hang: the job went on meanwhile', async () => {
  const records = job({ seed: 24, steps: 3_000, faults: [], beats: true });
  const start_ms = records[0]?.at_ms ?? 0;
  const stayed = watch();
  await live.put(records.filter(({ at_ms }) => at_ms < start_ms + SLICE_MS));
  await settled(stayed, start_ms + SLICE_MS);
  const memory = await keptOf(stayed, start_ms + SLICE_MS + 3_000);
  await live.put(records.filter(({ at_ms }) => at_ms >= start_ms + SLICE_MS));
  const found = await settled(watch(memory), (records.at(-1)?.at_ms ?? 0) + 1_000);
  expect(found.filter(({ value }) => value !== 0)).toEqual([]);
});

test('a memory is kept once a minute, where something came, and of another block size nothing is taken', async () => {
  const records = job({ seed: 25, steps: 200, faults: [] });
  const now_ms = (records.at(-1)?.at_ms ?? 0) + 11_000;
  const watcher = watch();
  expect(watcher.memory(now_ms)).toBeNull();
  await live.put(records.filter(({ at_ms }) => at_ms < now_ms - 20_000));
  await settled(watcher, now_ms);
  await keptOf(watcher, now_ms);
  await live.put(records.filter(({ at_ms }) => at_ms >= now_ms - 20_000));
  await settled(watcher, now_ms + 10_000);
  expect(watcher.memory(now_ms + 59_999)).toBeNull();
  const memory = await keptOf(watcher, now_ms + 60_000);
  expect(watcher.memory(now_ms + 120_000)).toBeNull(); // nothing came since
  const day_ms = now_ms + 60_000 + DAY_MS;
  expect(await loadJobMemory(live.control, day_ms)).not.toBeNull();
  expect(await loadJobMemory(live.control, day_ms + 1)).toBeNull(); // too old to go on from
  expect(watch(memory).report().jobs).toMatchObject([{ job: 'sim-25' }]);
  expect(watch(memory, { block_steps: 5 }).report().jobs).toEqual([]);
});

test('a memory that is too large is not kept', () => {
  const memory = { block_steps: 10, until_ms: 1, standing: [], stepped: [], newest_step: [] };
  expect(jobMemory({ ...memory, detector: 'x'.repeat(16_000_000) })).toMatchObject({ until_ms: 1 });
  expect(jobMemory({ ...memory, detector: 'x'.repeat(16_000_001) })).toBeNull();
});
