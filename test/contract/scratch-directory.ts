import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** A fresh directory, removed when the scope that uses it ends. */
export async function scratchDirectory(): Promise<{ path: string } & AsyncDisposable> {
  const directory = await mkdtemp(path.join(tmpdir(), 'leeway-'));
  return {
    path: directory,
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}
