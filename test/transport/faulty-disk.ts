import { type SegmentHandle, type SpoolDisk, systemDisk } from '../../src/transport/disk.ts';

/** An operation that can fail: of a directory, of a whole file, or of an open one. */
export type DiskOperation =
  | 'list'
  | 'create'
  | 'read'
  | 'sync'
  | 'rename'
  | 'unlink'
  | 'sync directory'
  | 'append'
  | 'truncate'
  | 'close';

/** What a disk rejects with: an error with a system code. */
export function diskError(code = 'EIO'): Error {
  return Object.assign(new Error(code), { code });
}

/**
 * The file system, where an operation for which `fails` says true rejects with EIO and does nothing; only closing still
 * closes. An append is two operations, so that it can be torn in the middle.
 */
export function faultyDisk(fails: (operation: DiskOperation, file: string) => boolean): SpoolDisk {
  const real = systemDisk(false);
  const step = <Result>(operation: DiskOperation, file: string, work: () => Promise<Result>): Promise<Result> =>
    fails(operation, file) ? Promise.reject(diskError()) : work();
  const opened = (file: string, handle: SegmentHandle): SegmentHandle => ({
    append: async (bytes) => {
      const all = Buffer.concat(bytes);
      await step('append', file, () => handle.append([all.subarray(0, all.length >> 1)]));
      await step('append', file, () => handle.append([all.subarray(all.length >> 1)]));
    },
    sync: () => step('sync', file, () => handle.sync()),
    truncate: (size) => step('truncate', file, () => handle.truncate(size)),
    close: async () => {
      await handle.close();
      await step('close', file, () => Promise.resolve());
    },
  });
  return {
    ...real,
    list: (directory) => step('list', directory, () => real.list(directory)),
    create: async (file, room) => opened(file, await step('create', file, () => real.create(file, room))),
    read: (file) => step('read', file, () => real.read(file)),
    sync: (file) => step('sync', file, () => real.sync(file)),
    rename: (file, to) => step('rename', file, () => real.rename(file, to)),
    unlink: (file) => step('unlink', file, () => real.unlink(file)),
    syncDirectory: (directory) => step('sync directory', directory, () => real.syncDirectory(directory)),
  };
}

/**
 * The file system of a process that is killed: when `after` more operations are done, none is any more. What it has open can
 * be closed. `kill` says when, Infinity until then.
 */
export function mortalDisk(): { readonly disk: SpoolDisk; readonly kill: (after: number) => void } {
  let left = Infinity;
  return {
    disk: faultyDisk((operation) => operation !== 'close' && left-- <= 0),
    kill: (after) => {
      left = after;
    },
  };
}
