import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { messageOf } from '../../demo/child.ts';
import { type JobPlan, startJob, TRAINING_RECIPE } from '../../demo/job.ts';
import { readWeights } from '../../demo/model-files.ts';
import { validateRecord } from '../../src/core/parse-record.ts';
import type { RecordOf, LeewayRecord } from '../../src/core/records.ts';

let directory = '';

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'job-'));
});

afterEach(async () => {
  await rm(directory, { recursive: true });
});

function plan(recipe: Partial<JobPlan['recipe']>): JobPlan {
  return {
    job: 'digits-test',
    attempt: 2,
    model: 'digits',
    placements: [
      { node: 'node-a', gpu_index: 0, asset: 'asset-a' },
      { node: 'node-a', gpu_index: 1, asset: 'asset-a' },
    ],
    gpu_usd_per_hour: 2,
    tenant: { team: 'vision', job: 'digits-test' },
    directory,
    recipe: { ...TRAINING_RECIPE, batch_examples: 64, pause_ms: 0, ...recipe },
    leeway: null,
  };
}

/** Keeps the records of all ranks; a record that the service would reject fails the test. */
function collector(): {
  records: LeewayRecord[];
  take: (rank: number, raw: unknown) => void;
  of: <Kind extends LeewayRecord['type']>(kind: Kind) => RecordOf<Kind>[];
} {
  const records: LeewayRecord[] = [];
  return {
    records,
    take: (_, raw) => {
      const { record } = messageOf(raw);
      if (record === undefined) return;
      const parsed = validateRecord(record);
      if (parsed.kind !== 'ok') throw new Error(JSON.stringify(parsed));
      records.push(parsed.value);
    },
    of: <Kind extends LeewayRecord['type']>(kind: Kind) =>
      records.filter((record): record is LeewayRecord & RecordOf<Kind> => record.type === kind),
  };
}

test('two ranks train 60 steps: the loss falls, both agree on it, and every record is valid', async () => {
  const kept = collector();
  const job = await startJob(plan({ steps_max: 60 }), kept.take);
  const results = await job.done;
  expect(results.map(({ rank, steps }) => [rank, steps])).toEqual([
    [0, 60],
    [1, 60],
  ]);

  const steps = kept.of('step');
  expect(steps).toHaveLength(120);
  const ofRank = (rank: number): RecordOf<'step'>[] => steps.filter((step) => step.rank === rank);
  expect(ofRank(0).map(({ step, loss, accuracy }) => [step, loss, accuracy])).toEqual(
    ofRank(1).map(({ step, loss, accuracy }) => [step, loss, accuracy]),
  );
  expect(ofRank(0)[0]?.loss).toBeGreaterThan(2); // ln 10 = 2.30 for an untrained network
  expect(ofRank(0)[59]?.loss).toBeLessThan(1);
  expect(ofRank(0).map(({ phase }) => phase)).toEqual([
    ...Array<string>(40).fill('warmup'),
    ...Array<string>(20).fill('train'),
  ]);

  for (const { duration_ms, compute_ms, data_ms, wait_ms = 0, collectives = [] } of steps) {
    expect(compute_ms + data_ms + wait_ms).toBeLessThanOrEqual(duration_ms + 0.5); // two clocks of one process
    expect(collectives[0]?.end_ms).toBeGreaterThanOrEqual(collectives[0]?.arrive_ms ?? Infinity);
    expect(collectives[0]?.bytes).toBe(4 * (784 * 64 + 64 + 640 + 10 + 3));
  }
  expect(kept.of('job')).toMatchObject([
    {
      job: 'digits-test',
      attempt: 2,
      world_size: 2,
      team: 'vision',
      gpu_usd_per_hour: 2,
      ranks: [
        { rank: 0, node: 'node-a', gpu: 0, local_rank: 0 },
        { rank: 1, gpu: 1, local_rank: 1, dp: 1 },
      ],
    },
  ]);
  expect(kept.of('checkpoint').map(({ step }) => step)).toEqual([25, 50, 60]);
  expect((await readWeights(join(directory, 'weights.f32'))).every(Number.isFinite)).toBe(true);
  expect(kept.of('heartbeat').filter(({ state }) => state === 'exited')).toHaveLength(2);
});

test('stop ends all ranks at the same step, and claims cover each process without gap or overlap', async () => {
  const kept = collector();
  const job = await startJob(plan({ pause_ms: 2 }), (rank, message) => {
    kept.take(rank, message);
    if (kept.records.filter((record) => record.type === 'step').length === 20) job.ranks[1]?.send({ stop: true });
  });
  const results = await job.done;
  expect(results[0]?.steps).toBe(results[1]?.steps);
  expect(results[0]?.steps).toBeLessThan(100_000);
  for (const gpu of [0, 1]) {
    const slices = kept.of('claim').filter((claim) => JSON.stringify(Reflect.get(claim, 'gpu_indexes')) === `[${gpu}]`);
    expect(slices.length).toBeGreaterThan(0);
    for (const [index, slice] of slices.slice(1).entries()) expect(slice.from_ms).toBe(slices[index]?.to_ms);
  }
});

test('a rank that is killed ends the job with its name instead of a hang', async () => {
  const job = await startJob(plan({ pause_ms: 5 }), () => undefined);
  job.ranks[1]?.kill('SIGKILL');
  await expect(job.done).rejects.toThrow(/rank [01] ended: (SIGKILL|.*lost a rank)/);
});
