import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { afterEach, expect, test } from 'vitest';
import { awaitMessage, forkChild, messageOf, numberIn } from '../../demo/child.ts';
import { CLIENT_DEFAULTS, type ClientConfig } from '../../demo/client.ts';

const SECRET = 'lw_demo_0123456789';
let child: ChildProcess | null = null;

afterEach(() => {
  child?.kill('SIGKILL');
  child = null;
});

async function start(overrides: Partial<ClientConfig> = {}): Promise<ChildProcess> {
  child = forkChild('client', {
    ...CLIENT_DEFAULTS,
    model: 'digits',
    base_url: 'http://127.0.0.1:9',
    seed: 1,
    left_out_classes: [],
    leeway: null,
    ...overrides,
  } satisfies ClientConfig);
  await awaitMessage(child, 'ready', 20_000);
  return child;
}

test('a child whose parent is gone ends cleanly by itself', async () => {
  const client = await start();
  client.disconnect();
  expect(await once(client, 'exit')).toEqual([0, null]);
});

test('SIGTERM ends a child like a stop; SIGINT is left to the parent', async () => {
  const client = await start();
  client.kill('SIGINT');
  await awaitMessage(client, 'traffic', 5_000); // still at work
  const done = awaitMessage(client, 'done', 5_000);
  client.kill('SIGTERM');
  expect(numberIn(messageOf((await done)['done']), 'answered')).toBe(0);
});

test('the configuration, with its secret, is not among the arguments', async () => {
  const target = { base_url: 'http://127.0.0.1:9', source: 's', token: SECRET };
  const client = await start({ leeway: target });
  const path = `/proc/${client.pid}/cmdline`;
  const shown = await readFile(path, 'utf8').catch(() => client.spawnargs.join(' ')); // no /proc: what was passed
  expect(shown).toContain('client.ts');
  expect(shown).not.toContain(SECRET);
});

test('waiting for a message ends with the child', async () => {
  const client = await start();
  const waiting = awaitMessage(client, 'never', 20_000);
  client.kill('SIGKILL');
  await expect(waiting).rejects.toThrow(/ended \(SIGKILL\) before "never"/);
  await expect(awaitMessage(client, 'never', 20_000)).rejects.toThrow(/ended/);
});

test('waiting for a message ends with its time-out', async () => {
  const client = await start();
  await expect(awaitMessage(client, 'never', 20)).rejects.toMatchObject({ code: 'LW-TIMEOUT' });
});
