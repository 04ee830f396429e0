import { writeSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { systemClock } from '../core/clock.ts';
import type { SegmentHandle } from './disk.ts';

/** Beyond this a write on the main thread would hold up everything else; below it waking a thread costs as much. */
const AT_ONCE_MS_MAX = 0.5;
const AT_ONCE_BYTES_MAX = 262_144;
/** After a slow write this many go through the thread pool before one is tried on the main thread again. */
const POOLED_WRITES = 200;

/** Whether the disk is quick enough to be written on the main thread: a local SSD takes 0.1 ms, a network volume several. */
export class WritePace {
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

/** A file that stays small pays nothing for room that it does not need. */
const AHEAD_FROM_BYTES = 131_072;
const AHEAD_BYTES = 1_048_576;
/** Written, not only reserved: a block that was never written is entered in the file system's journal when it is. */
const ZEROS = Buffer.alloc(AHEAD_BYTES);

/**
 * A file opened with O_DSYNC: what is appended is durable. With room ahead a write neither grows the file nor enters a block
 * in the journal: 60 us of CPU and 120 us of time instead of 120 and 280 (ext4, 15 KB). Not for appending from two sides.
 */
export class SystemSegment implements SegmentHandle {
  readonly #handle: FileHandle;
  readonly #pace: WritePace;
  #goesAhead: boolean;
  /** What was appended, and what the file has room for. */
  #size = 0;
  #room = 0;

  constructor(handle: FileHandle, pace: WritePace, goesAhead: boolean) {
    this.#handle = handle;
    this.#pace = pace;
    this.#goesAhead = goesAhead;
  }

  async append(bytes: readonly Uint8Array[]): Promise<void> {
    const size = bytes.reduce((sum, piece) => sum + piece.length, 0);
    if (this.#goesAhead && this.#size >= AHEAD_FROM_BYTES && this.#size + size > this.#room) await this.#goAhead();
    if (this.#pace.isQuick(size)) this.#appendAtOnce(bytes, size);
    else await this.#append(Buffer.concat(bytes, size));
  }

  async sync(): Promise<void> {
    // done by every write
  }

  async truncate(size: number): Promise<void> {
    await this.#handle.truncate(size);
    this.#size = size;
    this.#room = size;
  }

  async close(): Promise<void> {
    try {
      if (this.#room > this.#size) await this.#handle.truncate(this.#size);
    } finally {
      await this.#handle.close();
    }
  }

  async #goAhead(): Promise<void> {
    const from = Math.max(this.#size, this.#room);
    try {
      const { bytesWritten } = await this.#handle.write(ZEROS, 0, AHEAD_BYTES, from);
      this.#room = from + bytesWritten;
    } catch {
      this.#goesAhead = false; // no room, or a disk that fails: the write itself says so
    }
  }

  #appendAtOnce(bytes: readonly Uint8Array[], size: number): void {
    let end = 0;
    for (const piece of bytes) {
      scratch.set(piece, end);
      end += piece.length;
    }
    const started_ms = systemClock.elapsed_ms();
    for (let from = 0; from < size; ) {
      const written = writeSync(this.#handle.fd, scratch, from, size - from, this.#size);
      from += written;
      this.#size += written;
    }
    this.#pace.wroteAtOnce(systemClock.elapsed_ms() - started_ms);
  }

  async #append(bytes: Buffer): Promise<void> {
    for (let from = 0; from < bytes.length; ) {
      const { bytesWritten } = await this.#handle.write(bytes, from, bytes.length - from, this.#size);
      from += bytesWritten;
      this.#size += bytesWritten;
    }
  }
}
