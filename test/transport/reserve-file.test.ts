import { readdir, readFile, stat, statfs, unlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { systemDisk } from '../../src/transport/disk.ts';
import { ReserveFile } from '../../src/transport/reserve-file.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { mountedTmpfs, tmpfsRefusal } from './tmpfs.ts';

const MIB = 1_048_576;
const disk = systemDisk(true);

test('the reserve is as large as asked, takes blocks of the disk and does not compress', async () => {
  await using directory = await scratchDirectory();
  const reserve = new ReserveFile(disk, directory.path, 3 * MIB + 5);
  expect(reserve.state).toBe('absent');
  expect(await reserve.build()).toBe(true);
  const file = path.join(directory.path, '.reserve');
  const { size, blocks } = await stat(file);
  expect(size).toBe(3 * MIB + 5);
  expect(blocks * 512).toBeGreaterThanOrEqual(size);
  expect(gzipSync(await readFile(file).then((bytes) => bytes.subarray(0, MIB))).length).toBeGreaterThan(0.99 * MIB);
  expect(await reserve.release()).toBe(true);
  expect([reserve.state, await readdir(directory.path)]).toEqual(['released', []]);
  expect(await reserve.release()).toBe(false);
});

test('what an earlier process left, whole or half, is made anew', async () => {
  await using directory = await scratchDirectory();
  await writeFile(path.join(directory.path, '.reserve'), 'half');
  await writeFile(path.join(directory.path, '.reserve.tmp'), 'half');
  const reserve = new ReserveFile(disk, directory.path, MIB);
  expect(await Promise.all([reserve.build(), reserve.build()])).toEqual([true, true]);
  expect(await readdir(directory.path)).toEqual(['.reserve']);
  expect((await stat(path.join(directory.path, '.reserve'))).size).toBe(MIB);
});

test.skipIf(tmpfsRefusal !== null)(
  `on a full disk the reserve cannot be made, leaves nothing behind, and gives its space back ${tmpfsRefusal ?? ''}`,
  async () => {
    using tmpfs = mountedTmpfs(8 * MIB);
    const reserve = new ReserveFile(disk, tmpfs.path, 4 * MIB);
    expect(await reserve.build()).toBe(true);
    const ballast = path.join(tmpfs.path, 'ballast');
    await expect(writeFile(ballast, Buffer.alloc(8 * MIB))).rejects.toMatchObject({ code: 'ENOSPC' });
    expect((await statfs(tmpfs.path)).bavail).toBe(0);
    expect(await reserve.release()).toBe(true);
    expect((await statfs(tmpfs.path)).bavail * 4096).toBe(4 * MIB);
    await writeFile(path.join(tmpfs.path, 'more'), Buffer.alloc(2 * MIB));
    expect(await reserve.build()).toBe(false);
    expect(await readdir(tmpfs.path)).toEqual(['ballast', 'more']);
    await unlink(ballast);
    expect(await reserve.build()).toBe(true);
    expect(reserve.state).toBe('held');
  },
);
