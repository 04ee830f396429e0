import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { awaitMessage, forkChild, messageOf } from '../../demo/child.ts';
import { image, labelOf, loadDigits } from '../../demo/digits.ts';
import { readWeights, writeRows, writeWeights } from '../../demo/model-files.ts';
import { initialParameters } from '../../demo/network.ts';
import { toOnnx } from '../../demo/onnx-export.ts';
import { recentRowsFor, retrainingRecipe, type TrainerConfig } from '../../demo/trainer.ts';

let directory = '';

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'trainer-'));
  const digits = loadDigits('t10k');
  const rows = Array.from({ length: 100 }, (_, row) => ({ pixels: image(digits, row), label: labelOf(digits, row) }));
  await writeRows(join(directory, 'recent.bin'), rows);
  await writeWeights(join(directory, 'served.f32'), initialParameters(1));
});

afterEach(async () => {
  await rm(directory, { recursive: true });
});

function config(overrides: { readonly steps_max?: number; readonly recent?: string }): TrainerConfig {
  const recent_path = join(directory, overrides.recent ?? 'recent.bin');
  const weights_path = join(directory, 'served.f32');
  const recipe = retrainingRecipe({ drift: 'blur', weights_path, recent_path, left_out_classes: [], seed: 2 });
  return {
    version: '2',
    plan: {
      job: 'retrain-2',
      attempt: 0,
      model: 'digits',
      placements: [0, 1].map((gpu_index) => ({ node: 'n', gpu_index, asset: 'a' })),
      gpu_usd_per_hour: null,
      tenant: { team: 'vision' },
      directory,
      recipe: { ...recipe, steps_max: overrides.steps_max ?? recipe.steps_max },
      leeway: null,
    },
  };
}

test('retraining starts from the served weights and leaves new weights and their ONNX file', async () => {
  const child = forkChild('trainer', config({ steps_max: 12 }));
  const done = messageOf((await awaitMessage(child, 'done', 20_000))['done']);
  expect(done).toMatchObject({ version: '2', state: 'succeeded', steps: 12 });
  const weights = await readWeights(String(done['weights_path']));
  expect((await readFile(String(done['onnx_path']))).equals(toOnnx(weights, '2'))).toBe(true);
  const served = initialParameters(1);
  const moved = weights.map((value, at) => Math.abs(value - (served[at] ?? 0)));
  expect(Math.max(...moved)).toBeGreaterThan(0);
  expect(moved.reduce((sum, value) => sum + value, 0) / moved.length).toBeLessThan(0.02); // weights are about 0.05
});

test('a stopped retraining ends early and says so', async () => {
  const child = forkChild('trainer', config({}));
  await awaitMessage(child, 'started', 20_000);
  child.send({ stop: true });
  const done = messageOf((await awaitMessage(child, 'done', 20_000))['done']);
  expect(done['state']).toBe('cancelled');
  expect(done['steps']).toBeLessThan(200);
});

test('a missing file of recent rows is the failure that the parent hears', async () => {
  const child = forkChild('trainer', config({ recent: 'gone.bin' }));
  await expect(awaitMessage(child, 'done', 20_000)).rejects.toThrow(/gone\.bin: cannot be read/);
});

test('class mix learns faster from more rows than the other drifts', () => {
  const options = { weights_path: 'w', recent_path: 'r', left_out_classes: [8, 9], seed: 1 };
  expect([recentRowsFor('class-mix'), recentRowsFor('rotate')]).toEqual([1_500, 1_000]);
  expect(retrainingRecipe({ ...options, drift: 'class-mix' })).toMatchObject({
    learning_rate: 0.1,
    steps_max: 200,
    batch_examples: 96,
  });
  expect(retrainingRecipe({ ...options, drift: 'rotate' }).learning_rate).toBe(0.05);
});
