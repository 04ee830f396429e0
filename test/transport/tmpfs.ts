import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** A real file system of `bytes`, gone when the test is. */
export function mountedTmpfs(bytes: number): { path: string } & Disposable {
  const directory = mkdtempSync(path.join(tmpdir(), 'leeway-disk-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', directory], { stdio: 'pipe' });
  } catch (error) {
    rmdirSync(directory);
    throw error;
  }
  return {
    path: directory,
    [Symbol.dispose]: () => {
      execFileSync('umount', ['--lazy', directory]);
      rmdirSync(directory);
    },
  };
}

/** Why no file system can be mounted here; null = it can. */
export const tmpfsRefusal: string | null = refusal();

function refusal(): string | null {
  try {
    using _probe = mountedTmpfs(65_536);
    return null;
  } catch {
    return '(SKIPPED: mount -t tmpfs is not allowed here; run as root)';
  }
}
