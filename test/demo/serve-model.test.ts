import type { ChildProcess } from 'node:child_process';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { awaitMessage, forkChild, messageOf, numberIn } from '../../demo/child.ts';
import { deployModel } from '../../demo/deploy-request.ts';
import { image, loadDigits } from '../../demo/digits.ts';
import { argmax, initialParameters, predict } from '../../demo/network.ts';
import { toOnnx } from '../../demo/onnx-export.ts';
import { openAgent, postPredict } from '../../demo/predict-request.ts';
import type { ServeConfig } from '../../demo/serve-model.ts';
import { validateRecord } from '../../src/core/parse-record.ts';
import type { LeewayRecord } from '../../src/core/records.ts';

const SECRET = 'demo-secret';
const digits = loadDigits('t10k');
const agent = openAgent();
const records: LeewayRecord[] = [];
let child: ChildProcess;
let base_url = '';

const CONFIG: ServeConfig = {
  model: 'digits',
  replica: 'replica-0',
  port: 0,
  deploy_secret: SECRET,
  claim: { asset: 'asset-s', gpu_index: 0, tenant: { team: 'vision', model: 'digits' } },
  leeway: null,
};

beforeAll(async () => {
  child = forkChild('serve-model', CONFIG);
  child.on('message', (raw) => {
    const { record } = messageOf(raw);
    if (record === undefined) return;
    const parsed = validateRecord(record);
    if (parsed.kind !== 'ok') throw new Error(JSON.stringify(parsed));
    records.push(parsed.value);
  });
  const { listening } = await awaitMessage(child, 'listening', 20_000);
  base_url = `http://127.0.0.1:${numberIn(messageOf(listening), 'port')}`;
});

afterAll(() => {
  agent.destroy();
  child.kill('SIGKILL');
});

function model(version: number): Buffer {
  return toOnnx(initialParameters(version), String(version));
}

function ask(row: number, request_id: string, evaluation = false): ReturnType<typeof postPredict> {
  return postPredict(base_url, agent, { request_id, pixels: image(digits, row), evaluation });
}

function post(path: string, body: Uint8Array, headers: Record<string, string>): Promise<Response> {
  return fetch(`${base_url}${path}`, { method: 'POST', body: Uint8Array.from(body), headers });
}

test('before the first deployment a prediction is asked to come again', async () => {
  expect(await ask(0, 'early')).toMatchObject({
    kind: 'reject',
    reason: expect.stringContaining('LW-OVERLOADED') as string,
  });
});

test('only the secret opens deployment, and only a model is deployed', async () => {
  await expect(deployModel({ base_url, secret: 'other', version: '1', onnx: model(1) })).rejects.toThrow('401');
  await expect(deployModel({ base_url, secret: SECRET, version: '1', onnx: Buffer.from('x') })).rejects.toThrow(
    'not a usable ONNX model',
  );
  expect((await post('/models/no%20spaces', model(1), { authorization: `Bearer ${SECRET}` })).status).toBe(404);
  expect(records.filter(({ type }) => type === 'deploy')).toHaveLength(0);
});

test('answers are the network’s own, each request leaves one prediction record, evaluation none', async () => {
  await deployModel({ base_url, secret: SECRET, version: '1', onnx: model(1) });
  const rows = 20;
  const scores = predict(initialParameters(1), digits.pixels.subarray(0, rows * 784), rows);
  for (let row = 0; row < rows; row++) {
    const expected = { kind: 'ok', value: { version: '1', label: argmax(scores, row * 10) } };
    expect(await ask(row, `request-${row}`)).toEqual(expected);
    expect(await ask(row, `evaluation-${row}`, true)).toEqual(expected);
  }
  await awaitMessage(child, 'serving', 5_000); // one second later all records have come
  const predictions = records.filter((record) => record.type === 'prediction');
  expect(predictions.map(({ request_id }) => request_id)).toEqual(
    Array.from({ length: rows }, (_, row) => `request-${row}`),
  );
  const first = predictions[0];
  expect(first).toMatchObject({ model: 'digits', version: '1' });
  expect(Object.keys(first?.features ?? {})).toEqual(
    expect.arrayContaining(['intensity', 'ink', 'edge', 'region_15', 'confidence', 'entropy', 'margin']),
  );
  const features = messageOf(first?.features);
  const image_mean = image(digits, 0).reduce((sum, value) => sum + value, 0) / (784 * 255);
  expect(numberIn(features, 'intensity')).toBeCloseTo(image_mean, 10);
  expect(numberIn(features, 'confidence')).toBeCloseTo(Math.max(...scores.subarray(0, 10)), 5);
});

test('bodies and headers of the wrong size are refused with their code', async () => {
  const id = { 'x-request-id': 'r' };
  expect((await post('/predict', new Uint8Array(783), id)).status).toBe(400);
  expect((await post('/predict', new Uint8Array(785), id)).status).toBe(413);
  expect((await post('/predict', new Uint8Array(784), {})).status).toBe(400);
  const missing = await fetch(`${base_url}/nothing`);
  expect(missing.status).toBe(404);
  expect(await missing.json()).toMatchObject({ type: 'urn:leeway:error:LW-NOT-FOUND', code: 'LW-NOT-FOUND' });
});

test('deployments under load fail no request', async () => {
  let running = true;
  const versions = new Set<string>();
  const client = async (lane: number): Promise<void> => {
    for (let turn = 0; running; turn++) {
      const outcome = await ask(turn % 100, `load-${lane}-${turn}`);
      if (outcome.kind !== 'ok') throw new Error(outcome.reason);
      versions.add(outcome.value.version);
    }
  };
  const clients = [0, 1, 2, 3].map(client);
  for (let version = 2; version <= 8; version++)
    await deployModel({ base_url, secret: SECRET, version: String(version), onnx: model(version) });
  running = false;
  await Promise.all(clients);
  expect(versions.size).toBeGreaterThan(1);
});

test('a clean stop tells the account, and claims cover the process from start to end', async () => {
  await deployModel({ base_url, secret: SECRET, version: '1', onnx: model(1), action: 'rollback' });
  child.send({ stop: true });
  const done = messageOf((await awaitMessage(child, 'done', 10_000))['done']);
  const deploys = records.filter((record) => record.type === 'deploy');
  expect(deploys[0]).not.toHaveProperty('previous');
  expect(deploys.at(-1)).toMatchObject({ version: '1', previous: '8', action: 'rollback' });
  const predictions = records.filter(({ type }) => type === 'prediction').length;
  expect(done['requests']).toBe(predictions);
  const served = records.filter((record) => record.type === 'served');
  expect(served.reduce((sum, { requests }) => sum + Number(requests), 0)).toBe(predictions);
  const measured = records.filter((record) => record.type === 'inference');
  expect(measured.reduce((sum, { requests }) => sum + requests, 0)).toBe(predictions);
  const claims = records.filter((record) => record.type === 'claim');
  for (const [index, claim] of claims.slice(1).entries()) expect(claim.from_ms).toBe(claims[index]?.to_ms);
  expect(served.map(({ from_ms, to_ms }) => [from_ms, to_ms])).toEqual(
    claims.map(({ from_ms, to_ms }) => [from_ms, to_ms]),
  );
});
