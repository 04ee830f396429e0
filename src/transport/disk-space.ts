import { statfs } from 'node:fs/promises';
import type { Clock } from '../core/clock.ts';
import { systemCode } from '../core/errors.ts';
import type { SpoolDisk } from './disk.ts';
import { ReserveFile } from './reserve-file.ts';

export type DiskSpaceOptions = {
  readonly disk: SpoolDisk;
  readonly directory: string;
  readonly clock: Clock;
  /** 0: no reserve is kept, and the disk never counts as full. */
  readonly reserve_bytes: number;
  /** Bytes that the spool holds now: as much as the disk has room for when it is found full. */
  readonly usedBytes: () => number;
  readonly onEvent: (kind: 'spool_disk_full' | 'spool_disk_free', reason: string) => void;
};

/** How often a full disk is looked at for room. */
const RESTORE_MS = 1_000;
/** The largest reserve: an insert of the store's largest part and its merge. */
const RESERVE_BYTES_MAX = 64 * 1_048_576;
/** The reserve's share of the quota and of the disk, whichever is less. */
const RESERVE_SHARE = 16;

/**
 * Whether the disk is full, for the spool: from the first write that finds it so, when the reserve is given back, until there
 * is room for the reserve again and as much beside it.
 */
export class DiskSpace {
  readonly #options: DiskSpaceOptions;
  readonly #reserve: ReserveFile | null;
  #restoring: Promise<void> | null = null;
  #restored_ms = -Infinity;
  #full_bytes = Infinity;
  #closed = false;

  constructor(options: DiskSpaceOptions) {
    const { disk, directory, reserve_bytes } = options;
    this.#options = options;
    this.#reserve = reserve_bytes > 0 ? new ReserveFile(disk, directory, reserve_bytes) : null;
  }

  get isFull(): boolean {
    return this.#reserve?.state === 'released';
  }

  /** What the spool may hold: of a full disk what it held when that was found out. */
  get bytes_max(): number {
    return this.isFull ? this.#full_bytes : Infinity;
  }

  /** How soon somebody who waits should call `restore` again. */
  get look_ms(): number {
    return this.isFull ? RESTORE_MS : Infinity;
  }

  /** The disk was found full: gives the reserve back. True when that made room. */
  async give(): Promise<boolean> {
    if (this.#reserve === null) return false;
    const was = this.isFull;
    this.#full_bytes = this.#options.usedBytes();
    const gave = await this.#reserve.release();
    if (!was) this.#options.onEvent('spool_disk_full', 'the reserve is given back; policy decides what is still taken');
    return gave;
  }

  /** Makes the reserve, or makes it again, when the disk has room for it. Does not wait. */
  restore(): void {
    const now_ms = this.#options.clock.elapsed_ms();
    if (this.#reserve === null || this.#reserve.state === 'held' || this.#restoring !== null || this.#closed) return;
    if (now_ms - this.#restored_ms < RESTORE_MS) return;
    this.#restored_ms = now_ms;
    this.#restoring = this.#build(this.#reserve).finally(() => {
      this.#restoring = null;
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#restoring;
  }

  async #build(reserve: ReserveFile): Promise<void> {
    const { disk, directory, reserve_bytes, onEvent } = this.#options;
    const was = this.isFull;
    if ((await disk.freeBytes(directory)) < 2 * reserve_bytes) return;
    if ((await reserve.build()) && was) onEvent('spool_disk_free', 'the disk has room again: all is taken as before');
  }
}

/** Bytes of the reserve beside a spool of `bytes_max`: a sixteenth of it and of the disk, at most 64 MiB. */
export async function reserveBytes(directory: string, bytes_max: number): Promise<number> {
  const { blocks, bsize } = await statfs(directory);
  return Math.floor(Math.min(RESERVE_BYTES_MAX, bytes_max / RESERVE_SHARE, (blocks * bsize) / RESERVE_SHARE));
}

/** A disk, or its user's quota, without room. */
export function isDiskFull(error: unknown): boolean {
  return systemCode(error) === 'ENOSPC' || systemCode(error) === 'EDQUOT';
}
