import { type ChildProcess, fork } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { openEmbeddedStore } from '../../src/store/embedded.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import type { HostReply } from './spool-host.ts';

const signal = new AbortController().signal;

/** A service in a process of its own that holds `data_dir`, ready for work. */
async function hostOf(data_dir: string): Promise<{ host: ChildProcess; store_pid: number } & AsyncDisposable> {
  const host = fork(path.join(import.meta.dirname, 'spool-host.ts'), [data_dir], { execArgv: [] });
  const gone = new Promise<void>((resolve) => host.once('exit', () => resolve()));
  const store_pid = await new Promise<number>((resolve, reject) => {
    let pid = 0;
    host.on('message', (message) => {
      const reply = message as HostReply; // the host's own protocol
      if (reply.kind === 'store') pid = reply.pid;
      if (reply.kind === 'ready') resolve(pid);
    });
    host.once('exit', () => reject(new Error('the host ended before it was ready')));
  });
  const end = async (): Promise<void> => {
    host.kill('SIGKILL');
    await gone;
  };
  return { host, store_pid, [Symbol.asyncDispose]: end };
}

/** State letter of a process (Linux), empty when it is gone; Z is one that is dead and not yet collected. */
async function stateOf(pid: number): Promise<string> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3);
}

test('the data directory of a killed process is free within 2 s, its store child gone', async () => {
  await using directory = await scratchDirectory();
  await using held = await hostOf(directory.path);
  const gone = new Promise((resolve) => held.host.once('exit', resolve));
  held.host.kill('SIGKILL');
  await gone;
  const started_ms = performance.now();
  await using store = await openEmbeddedStore({ data_dir: directory.path, clock: systemClock });
  expect(performance.now() - started_ms).toBeLessThan(2_000);
  expect(await store.lineageMax(signal)).toBe(0n);
  expect(await stateOf(held.store_pid)).toMatch(/^$|Z/);
});

test('a second process on a data directory is told in one line who holds it', async () => {
  await using directory = await scratchDirectory();
  await using held = await hostOf(directory.path);
  const second = openEmbeddedStore({ data_dir: directory.path, clock: systemClock });
  await expect(second).rejects.toMatchObject({
    code: 'LW-DATA-DIR-TAKEN',
    message: expect.stringMatching(new RegExp(`^[^\\n]*process ${held.host.pid};[^\\n]*$`)),
  });
});

test('without its lock file a held directory is still refused, by the lock of the engine', async () => {
  await using directory = await scratchDirectory();
  await using held = await hostOf(directory.path);
  await rm(path.join(directory.path, 'leeway.lock'));
  const second = openEmbeddedStore({ data_dir: directory.path, clock: systemClock });
  await expect(second).rejects.toMatchObject({ code: 'LW-DATA-DIR-TAKEN' });
  expect(held.host.exitCode).toBeNull();
});
