import path from 'node:path';
import type { SegmentHandle, SpoolDisk } from './disk.ts';

/** Written at a time: memory that it costs while it is made. */
const CHUNK_BYTES = 1_048_576;

/** `held`: there and whole; `released`: given back because the disk was full; `absent`: it could not be made yet. */
export type ReserveState = 'absent' | 'held' | 'released';

/**
 * Space of the disk that is taken beforehand and given back when the disk is full, so that deleting, the list of gaps and
 * the store's inserts work when nothing else does. `spool/.reserve`; its bytes are of no pattern that a file system could
 * compress or share away.
 */
export class ReserveFile {
  readonly #disk: SpoolDisk;
  readonly #file: string;
  readonly #bytes: number;
  #state: ReserveState = 'absent';
  #building: Promise<boolean> | null = null;

  constructor(disk: SpoolDisk, directory: string, bytes: number) {
    this.#disk = disk;
    this.#file = path.join(directory, '.reserve');
    this.#bytes = bytes;
  }

  get state(): ReserveState {
    return this.#state;
  }

  /** Makes the file unless it is there; false when the disk has no room for it. Calls at the same time share one. */
  build(): Promise<boolean> {
    if (this.#state === 'held') return Promise.resolve(true);
    this.#building ??= this.#build().finally(() => {
      this.#building = null;
    });
    return this.#building;
  }

  /** Gives the space back; true when there was some. */
  async release(): Promise<boolean> {
    await this.#building;
    const held = this.#state === 'held';
    this.#state = 'released';
    await this.#remove(this.#file);
    return held;
  }

  async #build(): Promise<boolean> {
    const scratch = `${this.#file}.tmp`;
    await this.#remove(scratch);
    await this.#remove(this.#file); // of an earlier process: whole or not
    try {
      await fill(await this.#disk.create(scratch), this.#bytes);
      await this.#disk.rename(scratch, this.#file);
    } catch {
      await this.#remove(scratch);
      return false; // no room yet: the caller asks again
    }
    this.#state = 'held';
    return true;
  }

  async #remove(file: string): Promise<void> {
    await this.#disk.unlink(file).catch(() => undefined); // mostly it is not there
  }
}

async function fill(handle: SegmentHandle, bytes: number): Promise<void> {
  try {
    const chunk = noise(Math.min(CHUNK_BYTES, bytes));
    for (let written = 0; written < bytes; written += chunk.length) {
      chunk.writeUInt32LE(written % 2 ** 32, 0); // no two chunks are equal
      await handle.append([chunk.subarray(0, Math.min(chunk.length, bytes - written))]);
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** xorshift32 (Marsaglia 2003): every chunk the same, none of it compressible. */
function noise(bytes: number): Buffer {
  const chunk = Buffer.alloc(Math.max(4, bytes));
  let state = 0x9e3779b9;
  for (let at = 0; at + 4 <= chunk.length; at += 4) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    chunk.writeInt32LE(state | 0, at);
  }
  return chunk;
}
