import { lstat, mkdir, rmdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { systemCode } from '../core/errors.ts';

/**
 * Makes a directory and the parents that it lacks; content where it is there already. Throws the system's error. Node's
 * own `recursive` never ends where the parent is there and the file system still answers ENOENT, as /proc does.
 */
export async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path);
  } catch (error) {
    const code = systemCode(error);
    if (code === 'EEXIST') return;
    const parent = dirname(path);
    if (code !== 'ENOENT' || parent === path || (await isThere(parent))) throw error;
    await makeDirectory(parent);
    await makeDirectory(path);
  }
}

/** Throws the system's error where the directory `path` is not there and cannot be made. Leaves nothing behind. */
export async function requireMakeable(path: string): Promise<void> {
  if (await isThere(path)) return;
  let first = path;
  while (!(await isThere(dirname(first)))) first = dirname(first);
  try {
    await mkdir(first);
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
    return; // another process made it meanwhile
  }
  await rmdir(first).catch(() => undefined); // another process uses it already
}

async function isThere(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}
