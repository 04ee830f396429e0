import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { getJson, LeewayProcess, postJson, until } from './leeway-process.ts';

type Sinks = { items: { id: string }[] };
type Audit = { items: { actor: string; action: string; detail: unknown }[] };

const sink = (id: string) => ({ id, kind: 'alertmanager', url: 'https://alertmanager.example.org' });

test('a reload puts valid sinks in force by request and by SIGHUP, refuses an invalid file whole, and is audited', async () => {
  await using scratch = await scratchDirectory();
  const path = join(scratch.path, 'leeway.config.json');
  const configure = (sinks: readonly object[]): Promise<void> =>
    writeFile(path, JSON.stringify({ collectors: { host: { enabled: false } }, sinks }));
  await configure([sink('one')]);
  await using leeway = new LeewayProcess(
    ['serve', '--config', path, '--port', '0', '--data-dir', 'data'],
    scratch.path,
  );
  const url = await leeway.ready;
  const ids = async (): Promise<string[]> => (await getJson<Sinks>(`${url}/api/v1/sinks`)).items.map(({ id }) => id);
  expect(await ids()).toEqual(['one']);

  await configure([sink('one'), sink('two')]);
  const answer = await postJson(`${url}/-/reload`, {});
  expect(answer.status).toBe(200);
  expect(JSON.stringify(await answer.json())).toContain('sinks[1].id');
  expect((await ids()).toSorted()).toEqual(['one', 'two']);

  await configure([sink('three'), { id: 'broken', kind: 'no-such-kind' }]);
  const refused = await postJson(`${url}/-/reload`, {});
  expect(refused.status).toBe(422);
  expect((await ids()).toSorted()).toEqual(['one', 'two']);

  await configure([sink('three')]);
  process.kill(leeway.pid, 'SIGHUP');
  await until(ids, (now) => now.join() === 'three', 5_000);
  const { items } = await getJson<Audit>(`${url}/api/v1/audit`);
  expect(items.filter(({ action }) => action === 'configuration.reload').map(({ actor }) => actor)).toEqual([
    'signal',
    'local',
  ]);
});
