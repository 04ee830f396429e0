import { closeSync, constants, fsyncSync, ftruncateSync, openSync, readFileSync, unlinkSync, writeSync } from 'node:fs';
import path from 'node:path';
import { type SegmentHandle, type SpoolDisk, systemDisk } from './disk.ts';

const { O_APPEND, O_CREAT, O_DSYNC, O_EXCL, O_WRONLY } = constants;

/**
 * The file system, with what a spool does all the time on the main thread: a sidecar does a few small operations a second and
 * has nothing else that they could hold up, and waking a thread for each costs more than the operation.
 * `fsync: false` leaves durability to the operating system (config `spool.fsync`).
 */
export function forwardDisk(fsync: boolean): SpoolDisk {
  const synced = fsync ? O_DSYNC : 0; // durable when the write returns, in one call instead of two
  return {
    ...systemDisk(fsync),
    create: async (file) => {
      const descriptor = openSync(file, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | synced);
      if (fsync) syncPath(path.dirname(file));
      return new ForwardSegment(descriptor);
    },
    read: async (file) => readFileSync(file),
    unlink: async (file) => unlinkSync(file),
  };
}

class ForwardSegment implements SegmentHandle {
  #descriptor: number | null;

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  async append(bytes: readonly Uint8Array[]): Promise<void> {
    const [only] = bytes;
    const all = bytes.length === 1 && only !== undefined ? only : Buffer.concat(bytes);
    for (let from = 0; from < all.length; ) from += writeSync(this.#open(), all, from);
  }

  async sync(): Promise<void> {
    // opened with O_DSYNC where it must be durable
  }

  async truncate(size: number): Promise<void> {
    ftruncateSync(this.#open(), size);
  }

  async close(): Promise<void> {
    if (this.#descriptor !== null) closeSync(this.#descriptor);
    this.#descriptor = null;
  }

  #open(): number {
    if (this.#descriptor === null) throw Object.assign(new Error('the segment is closed'), { code: 'EBADF' });
    return this.#descriptor;
  }
}

/** Of a directory. */
function syncPath(name: string): void {
  const descriptor = openSync(name, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
