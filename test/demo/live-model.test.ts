import { beforeEach, expect, test } from 'vitest';
import { instrument } from '../../demo/instrument.ts';
import { LiveModel } from '../../demo/live-model.ts';
import { initialParameters } from '../../demo/network.ts';
import { toOnnx } from '../../demo/onnx-export.ts';
import { inputOf, probabilitiesOf } from '../../demo/onnx-session.ts';
import type { LeewayRecord } from '../../src/core/records.ts';

let records: LeewayRecord[] = [];

beforeEach(() => {
  records = [];
});

function live(): LiveModel {
  return new LiveModel((session, version) =>
    instrument(session, { model: 'digits', version, replica: 'r' }, (record) => void records.push(record)),
  );
}

const pixels = new Uint8Array(784).fill(90);

test('twelve exchanges under load fail no request, and each answer comes from the version it names', async () => {
  const model = live();
  const expected = new Map<string, number>();
  const onnx = new Map<string, Buffer>();
  for (let version = 0; version < 12; version++) {
    const bytes = toOnnx(initialParameters(version), String(version));
    onnx.set(String(version), bytes);
    const only = live();
    await only.deploy('x', bytes);
    expected.set(
      String(version),
      await only.use(async ({ session }) => probabilitiesOf(await session.run(inputOf(pixels)))[0] ?? Number.NaN),
    );
  }
  await model.deploy('0', onnx.get('0') ?? Buffer.of());
  let running = true;
  let answers = 0;
  const client = async (): Promise<void> => {
    while (running) {
      const { version, score } = await model.use(async ({ version, instrumented }) => {
        const outputs = await instrumented.run(inputOf(pixels), { request_id: `${answers}` });
        return { version, score: probabilitiesOf(outputs)[0] };
      });
      expect(score).toBe(expected.get(version));
      answers++;
    }
  };
  const clients = [client(), client(), client()];
  for (const [version, bytes] of onnx) await model.deploy(version, bytes);
  running = false;
  await Promise.all(clients);
  expect(answers).toBeGreaterThan(12);
  model.flush();
  const measured = records.filter((record) => record.type === 'inference');
  expect(measured.reduce((sum, { requests }) => sum + requests, 0)).toBe(answers); // also of versions that are gone
  expect(model.version).toBe('11');
});

test('a session in use outlives its exchange and is released after its last user', async () => {
  const model = live();
  await model.deploy('1', toOnnx(initialParameters(1), '1'));
  const gate = Promise.withResolvers<void>();
  const old = model.use(async ({ session }) => {
    await gate.promise;
    await session.run(inputOf(pixels)); // would throw on a released session
    return session;
  });
  expect(await model.deploy('2', toOnnx(initialParameters(2), '2'))).toBe('1');
  gate.resolve();
  const session = await old;
  await expect(async () => session.run(inputOf(pixels))).rejects.toThrow();
});

test('bytes that are no model leave the old one in service', async () => {
  const model = live();
  await expect(model.use(async () => 1)).rejects.toMatchObject({ code: 'LW-OVERLOADED' });
  await model.deploy('1', toOnnx(initialParameters(1), '1'));
  await expect(model.deploy('2', Buffer.from('nonsense'))).rejects.toMatchObject({ code: 'LW-INPUT' });
  expect(await model.use(async ({ version }) => version)).toBe('1');
});
