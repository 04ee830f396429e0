import { constants, writeSync } from 'node:fs';
import {
  copyFile,
  type FileHandle,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  statfs,
  truncate,
  unlink,
} from 'node:fs/promises';
import path from 'node:path';
import { systemClock } from '../core/clock.ts';

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
    create: async (file) => {
      // O_DSYNC: durable when the write returns, in one call instead of two
      const flags = O_WRONLY | O_CREAT | O_EXCL | O_APPEND | (fsync ? O_DSYNC : 0);
      const handle = await open(file, flags);
      if (fsync) await syncPath(path.dirname(file));
      return new SystemSegment(handle, pace);
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

/** Beyond this a write on the main thread would hold up everything else; below it waking a thread costs as much. */
const AT_ONCE_MS_MAX = 0.5;
const AT_ONCE_BYTES_MAX = 262_144;
/** After a slow write this many go through the thread pool before one is tried on the main thread again. */
const POOLED_WRITES = 200;

/** Whether the disk is quick enough to be written on the main thread: a local SSD takes 0.1 ms, a network volume several. */
class WritePace {
  #pooled_left = 0;

  /** Asked before each write. */
  isQuick(bytes: number): boolean {
    if (bytes > AT_ONCE_BYTES_MAX) return false;
    if (this.#pooled_left === 0) return true;
    this.#pooled_left--;
    return false;
  }

  wroteAtOnce(duration_ms: number): void {
    if (duration_ms > AT_ONCE_MS_MAX) this.#pooled_left = POOLED_WRITES;
  }
}

/** What a write on the main thread is put together in; nothing else runs meanwhile. */
const scratch = Buffer.allocUnsafeSlow(AT_ONCE_BYTES_MAX);

/** A file opened with O_DSYNC: what is appended is durable. */
class SystemSegment implements SegmentHandle {
  readonly #handle: FileHandle;
  readonly #pace: WritePace;

  constructor(handle: FileHandle, pace: WritePace) {
    this.#handle = handle;
    this.#pace = pace;
  }

  async append(bytes: readonly Uint8Array[]): Promise<void> {
    const size = bytes.reduce((sum, piece) => sum + piece.length, 0);
    if (this.#pace.isQuick(size)) this.#appendAtOnce(bytes, size);
    else await this.#append(Buffer.concat(bytes, size));
  }

  async sync(): Promise<void> {
    // done by every write
  }

  truncate(size: number): Promise<void> {
    return this.#handle.truncate(size);
  }

  close(): Promise<void> {
    return this.#handle.close();
  }

  #appendAtOnce(bytes: readonly Uint8Array[], size: number): void {
    let end = 0;
    for (const piece of bytes) {
      scratch.set(piece, end);
      end += piece.length;
    }
    const started_ms = systemClock.elapsed_ms();
    for (let from = 0; from < size; ) from += writeSync(this.#handle.fd, scratch, from, size - from);
    this.#pace.wroteAtOnce(systemClock.elapsed_ms() - started_ms);
  }

  async #append(bytes: Buffer): Promise<void> {
    for (let rest = bytes; rest.length > 0; ) {
      const { bytesWritten } = await this.#handle.write(rest);
      rest = rest.subarray(bytesWritten);
    }
  }
}
