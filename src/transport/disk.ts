import { constants } from 'node:fs';
import { copyFile, type FileHandle, mkdir, open, readdir, readFile, rename, truncate, unlink } from 'node:fs/promises';
import path from 'node:path';

const { O_APPEND, O_CREAT, O_DSYNC, O_EXCL, O_WRONLY } = constants;

/**
 * What the spool asks of the file system; tests and the simulation put a failing disk in its place. Failures are rejections
 * with a system code (ENOSPC, EIO …), as node:fs gives them.
 */
export interface SpoolDisk {
  makeDirectory(directory: string): Promise<void>;
  /** Names of the files in a directory, in order. */
  list(directory: string): Promise<readonly string[]>;
  /** Creates a file that must not exist, and makes its name durable. */
  create(file: string): Promise<SegmentHandle>;
  read(file: string): Promise<Buffer>;
  /** Writes a whole file and makes its bytes durable, not its name. */
  write(file: string, bytes: Buffer): Promise<void>;
  /** Makes the bytes of a file durable. */
  sync(file: string): Promise<void>;
  copy(file: string, to: string): Promise<void>;
  rename(file: string, to: string): Promise<void>;
  truncate(file: string, size: number): Promise<void>;
  unlink(file: string): Promise<void>;
  /** Makes renames and new names in a directory durable. */
  syncDirectory(directory: string): Promise<void>;
}

export interface SegmentHandle {
  /** Appends everything or rejects; after a rejection the file may hold a part of it. */
  append(bytes: readonly Uint8Array[]): Promise<void>;
  sync(): Promise<void>;
  truncate(size: number): Promise<void>;
  close(): Promise<void>;
}

/** The file system itself. `fsync: false` leaves durability to the operating system (config `spool.fsync`). */
export function systemDisk(fsync: boolean): SpoolDisk {
  return {
    makeDirectory: async (directory) => void (await mkdir(directory, { recursive: true })),
    list: async (directory) => (await readdir(directory)).toSorted(),
    create: async (file) => {
      // O_DSYNC: durable when the write returns, in one call instead of two
      const flags = O_WRONLY | O_CREAT | O_EXCL | O_APPEND | (fsync ? O_DSYNC : 0);
      const handle = await open(file, flags);
      if (fsync) await syncPath(path.dirname(file));
      return {
        append: (bytes) => writeAll(handle, bytes),
        sync: () => Promise.resolve(),
        truncate: (size) => handle.truncate(size),
        close: () => handle.close(),
      };
    },
    read: (file) => readFile(file),
    write: async (file, bytes) => {
      const handle = await open(file, 'w');
      try {
        await handle.writeFile(bytes);
        await handle.sync();
      } finally {
        await handle.close();
      }
    },
    sync: (file) => (fsync ? syncPath(file) : Promise.resolve()),
    copy: (file, to) => copyFile(file, to),
    rename,
    truncate,
    unlink,
    syncDirectory: syncPath,
  };
}

/** Of a file or a directory. */
async function syncPath(name: string): Promise<void> {
  const handle = await open(name, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function writeAll(handle: FileHandle, bytes: readonly Uint8Array[]): Promise<void> {
  let rest = Buffer.concat(bytes);
  while (rest.length > 0) {
    const { bytesWritten } = await handle.write(rest);
    rest = rest.subarray(bytesWritten);
  }
}
