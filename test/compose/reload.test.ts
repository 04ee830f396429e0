import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { destinationsOf, loadRules, policiesOf } from '../../src/compose/alerting.ts';
import type { Live } from '../../src/compose/deciding.ts';
import { reload } from '../../src/compose/reload.ts';
import { loadConfig } from '../../src/config.ts';
import { AUDIT } from '../../src/control/collections.ts';
import { analysisOf, consider, coordinatorOf, onlyDecision, POLICY } from '../pipeline/coordinator.ts';
import { openHouse } from '../pipeline/desk-house.ts';
import { temporaryDirectory } from '../server/fixture.ts';

const policy = (mode: string) => ({ id: 'live', mode, target: { kind: 'webhook', url: 'https://target.example/x' } });

/** A service that was started with one policy of mode auto; `configure` writes the file, `again` reloads it. */
async function started() {
  const stack = new AsyncDisposableStack();
  const { path } = stack.use(await temporaryDirectory());
  const house = stack.use(await openHouse());
  const configure = (document: object) => writeFile(join(path, 'leeway.config.json'), JSON.stringify(document));
  await configure({ retraining: { policies: [policy('auto')] } });
  const loaded = await loadConfig({ cwd: path, environment: {} });
  const live: Live = {
    url: '',
    loaded,
    rules: await loadRules(loaded.paths.rules_dir),
    destinations: destinationsOf(loaded),
    policies: policiesOf(loaded),
  };
  const retraining = coordinatorOf(house, POLICY);
  const { desk, courier, clock } = house;
  const again = () => reload({ doors: house, deciding: { desk, courier, retraining }, live, clock }, 'ann');
  return { house, retraining, live, configure, again, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

test('a policy that is switched off by a reload starts nothing any more', async () => {
  await using service = await started();
  const { house, retraining } = service;
  await service.configure({ retraining: { policies: [policy('off')] } });
  expect(await service.again()).toEqual([
    { path: 'retraining.policies[0].mode', from: 'auto', to: 'off', needs_restart: false },
  ]);
  expect(service.live.policies).toMatchObject([{ id: 'live', mode: 'off' }]);
  await consider(house, retraining, analysisOf());
  expect(await onlyDecision(house)).toMatchObject({ state: 'suppressed', reason: 'mode: policy live' });
  expect(await house.outbox()).toEqual([]);
  expect(await service.again()).toEqual([]);
});

test('what takes a restart says so at every reload until then, and the audit log keeps the two apart', async () => {
  await using service = await started();
  const sinks = [{ id: 'am', kind: 'alertmanager', url: 'https://am.example' }];
  await service.configure({ retraining: { policies: [policy('auto')] }, sinks, log: { level: 'debug' } });
  const level = { path: 'log.level', from: 'info', to: 'debug', needs_restart: true };
  const changes = await service.again();
  expect(changes.filter(({ needs_restart }) => needs_restart)).toEqual([level]);
  expect(changes.filter(({ path }) => path === 'sinks[0].id')).toMatchObject([{ to: 'am', needs_restart: false }]);
  expect(await service.again()).toEqual([level]);
  const audit = await service.house.control.transaction((tx) => tx.list(AUDIT, {}));
  expect(audit[1]?.body.detail).toEqual({ changed: [], needs_restart: ['log.level'] });
});

test('a configuration that is not valid changes nothing', async () => {
  await using service = await started();
  const before = { ...service.live };
  const target = { kind: 'no-such-kind' };
  await service.configure({ retraining: { policies: [{ ...policy('off'), target }] } });
  await expect(service.again()).rejects.toMatchObject({ code: 'LW-CONFIG' });
  expect(service.live).toEqual(before);
});
