import { existsSync } from 'node:fs';
import { stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { makeDirectory, requireMakeable } from '../../src/files/directory.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

it('makes a directory with the parents that it lacks, and is content with one that is there', async () => {
  await using place = await scratchDirectory();
  const path = join(place.path, 'a', 'b', 'c');
  await makeDirectory(path);
  await makeDirectory(path);
  expect((await stat(path)).isDirectory()).toBe(true);
});

it('refuses a parent that is a file', async () => {
  await using place = await scratchDirectory();
  await writeFile(join(place.path, 'file'), '');
  await expect(makeDirectory(join(place.path, 'file', 'a'))).rejects.toMatchObject({ code: 'ENOTDIR' });
});

it('ends with an error below a link that leads nowhere', async () => {
  await using place = await scratchDirectory();
  await symlink(join(place.path, 'nowhere'), join(place.path, 'link'));
  await expect(makeDirectory(join(place.path, 'link', 'a'))).rejects.toMatchObject({ code: 'ENOENT' });
});

it.skipIf(!existsSync('/proc/self'))('ends with the error of a file system that makes none (/proc)', async () => {
  await expect(makeDirectory('/proc/leeway-data')).rejects.toMatchObject({ code: 'ENOENT' });
  await expect(makeDirectory('/proc/leeway-data/a/b')).rejects.toMatchObject({ code: 'ENOENT' });
});

it('tells what cannot be made before it is made, and leaves nothing', async () => {
  await using place = await scratchDirectory();
  await writeFile(join(place.path, 'file'), '');
  await requireMakeable(place.path);
  await requireMakeable(join(place.path, 'a', 'b'));
  expect(existsSync(join(place.path, 'a'))).toBe(false);
  await expect(requireMakeable(join(place.path, 'file', 'a', 'b'))).rejects.toMatchObject({ code: 'ENOTDIR' });
  if (existsSync('/proc/self'))
    await expect(requireMakeable('/proc/leeway-data/a')).rejects.toMatchObject({ code: 'ENOENT' });
});
