import { constants } from 'node:fs';
import { copyFile, mkdir, open, readdir, readFile, rename, statfs, truncate, unlink } from 'node:fs/promises';
import path from 'node:path';
import { SystemSegment, WritePace } from './segment-file.ts';

const { O_CREAT, O_DSYNC, O_EXCL, O_WRONLY } = constants;

/**
 * What the spool asks of the file system; tests and the simulation put a failing disk in its place. Failures are rejections
 * with a system code (ENOSPC, EIO …), as node:fs gives them.
 */
export interface SpoolDisk {
  makeDirectory(directory: string): Promise<void>;
  /** Names of the files in a directory, in order. */
  list(directory: string): Promise<readonly string[]>;
  /**
   * Creates a file that must not exist, and makes its name durable. `ahead`: its bytes may be taken from the disk before they
   * are written, so what a crash leaves behind may end in zeros.
   */
  create(file: string, room?: 'ahead'): Promise<SegmentHandle>;
  /** Into `scratch` where it is given: the result is valid until its next use. */
  read(file: string, scratch?: Scratch): Promise<Buffer>;
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
  /** Bytes that the disk of a directory has room for; Infinity where the file system does not say. */
  freeBytes(directory: string): Promise<number>;
}

/** Memory for one file after another: 20 MB a second that are new each time make the collector run all the time. */
export type Scratch = { bytes: Buffer };

export interface SegmentHandle {
  /** Appends everything or rejects; after a rejection the file may hold a part of it. */
  append(bytes: readonly Uint8Array[]): Promise<void>;
  sync(): Promise<void>;
  truncate(size: number): Promise<void>;
  close(): Promise<void>;
}

/** The file system itself. `fsync: false` leaves durability to the operating system (config `spool.fsync`). */
export function systemDisk(fsync: boolean): SpoolDisk {
  const pace = new WritePace();
  return {
    makeDirectory: async (directory) => void (await mkdir(directory, { recursive: true })),
    list: async (directory) => (await readdir(directory)).toSorted(),
    create: async (file, room) => {
      // O_DSYNC: durable when the write returns, in one call instead of two
      const handle = await open(file, O_WRONLY | O_CREAT | O_EXCL | (fsync ? O_DSYNC : 0));
      if (fsync) await syncPath(path.dirname(file));
      return new SystemSegment(handle, pace, fsync && room === 'ahead');
    },
    read: (file, scratch) => (scratch === undefined ? readFile(file) : readInto(file, scratch)),
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
    freeBytes,
  };
}

/** What SpoolDisk.freeBytes says of the file system itself. */
export async function freeBytes(directory: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(directory);
    return bavail * bsize;
  } catch {
    return Infinity; // then trying shows it
  }
}

async function readInto(file: string, scratch: Scratch): Promise<Buffer> {
  const handle = await open(file, 'r');
  try {
    const { size } = await handle.stat();
    if (scratch.bytes.length < size) scratch.bytes = Buffer.allocUnsafeSlow(size + (size >> 2));
    let length = 0;
    while (length < size) {
      const { bytesRead } = await handle.read(scratch.bytes, length, size - length, length);
      if (bytesRead === 0) break; // somebody cut it meanwhile
      length += bytesRead;
    }
    return scratch.bytes.subarray(0, length);
  } finally {
    await handle.close();
  }
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
