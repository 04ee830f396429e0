import { spawnSync } from 'node:child_process';
import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { removeLeftBehind, scratchOf } from '../../src/transport/kafka-scratch.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

/** The id of a process that has ended. */
function deadPid(): number {
  return spawnSync(process.execPath, ['--version']).pid;
}

async function names(directory: string): Promise<string[]> {
  return (await readdir(directory)).toSorted((one, other) => one.localeCompare(other));
}

test('a start removes what killed processes left, whatever their ids, and nothing that a living one may need', async () => {
  await using scratch = await scratchDirectory();
  const [dead, ended] = [scratchOf(scratch.path, deadPid()), scratchOf(scratch.path, deadPid())];
  const living = scratchOf(scratch.path, process.pid);
  for (const directory of [dead, ended, living]) await mkdir(directory);
  for (const directory of [dead, living]) await writeFile(path.join(directory, 'kafka-x-1-samples.native'), 'rows');
  await removeLeftBehind(scratch.path);
  expect(await names(scratch.path)).toEqual([path.basename(living)]);
  expect(await names(living)).toEqual(['kafka-x-1-samples.native']);
});

test('what only looks like a dead worker’s directory is not touched', async () => {
  await using scratch = await scratchDirectory();
  const pid = deadPid();
  const elsewhere = path.join(scratch.path, 'elsewhere');
  await mkdir(elsewhere);
  await writeFile(path.join(elsewhere, 'kafka-x-1-step.native'), 'somebody’s');
  await symlink(elsewhere, scratchOf(scratch.path, pid));
  await mkdir(path.join(scratch.path, 'leeway-x'));
  const mixed = scratchOf(scratch.path, deadPid());
  await mkdir(mixed);
  for (const name of ['kafka-x-1-step.native', 'notes.txt']) await writeFile(path.join(mixed, name), '');
  await removeLeftBehind(scratch.path);
  expect(await names(elsewhere)).toEqual(['kafka-x-1-step.native']);
  expect(await names(mixed)).toEqual(['notes.txt']);
  expect(await names(scratch.path)).toEqual(
    ['elsewhere', 'leeway-x', `leeway-${pid}`, path.basename(mixed)].toSorted((one, other) => one.localeCompare(other)),
  );
  await expect(removeLeftBehind(path.join(scratch.path, 'nowhere'))).resolves.toBeUndefined();
});
