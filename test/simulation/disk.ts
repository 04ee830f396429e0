import type { SegmentHandle, SpoolDisk } from '../../src/transport/disk.ts';
import type { ScratchDisk } from '../../src/transport/kafka-scratch.ts';
import type { Life, World } from './world.ts';

/** `holes`: stretches whose sync failed. The system takes them for clean then: no later sync makes them durable. */
type File = { bytes: Buffer; synced: number; holes: (readonly [from: number, to: number])[] };
type Operation = <Result>(what: string, apply: () => Result, onError?: () => void) => Promise<Result>;
type NameChange = { readonly undo: () => void };

/** Chances of an operation to fail, and what the disk holds at most. */
export type DiskFaults = { readonly error: number; readonly bytes_max: number };

/**
 * A disk that remembers what was synced. A killed process loses nothing that was written; a power loss takes unsynced bytes
 * (a prefix of them may stay, the last ones as garbage) and the newest changes of names that no directory sync covered.
 */
export class SimulatedDisk {
  readonly #world: World;
  readonly #files = new Map<string, File>();
  /** Files whose removal was tried. */
  readonly #undead = new Set<string>();
  #names: NameChange[] = [];
  faults: DiskFaults = { error: 0, bytes_max: Infinity };

  constructor(world: World) {
    this.#world = world;
  }

  /** Files that are there, with their bytes. */
  get files(): ReadonlyMap<string, { readonly bytes: Buffer }> {
    return this.#files;
  }

  /** Files that nobody has tried to remove: an error may have kept the others. */
  get forgotten(): readonly string[] {
    return [...this.#files.keys()].filter((name) => !this.#undead.has(name));
  }

  get bytes(): number {
    let sum = 0;
    for (const file of this.#files.values()) sum += file.bytes.length;
    return sum;
  }

  /** The disk as one process sees it; its operations end with the process. `lies`: sync does nothing (a planted bug). */
  door(life: Life, lies = false): SpoolDisk & ScratchDisk {
    const operation: Operation = (what, apply, onError = () => undefined) =>
      this.#world.operation(life, what, () => {
        if (this.#world.strikes('disk_error', this.faults.error, what)) {
          onError();
          throw failure('EIO', what);
        }
        const result = apply();
        if (what === 'unlink' && life.stage === 'noted') life.stage = null; // the spool has forgotten it
        return result;
      });
    return {
      makeDirectory: () => operation('mkdir', () => undefined),
      list: (directory) => operation('list', () => this.#namesIn(directory)),
      create: (file) => this.#create(operation, file, lies),
      read: (file) => operation('read', () => Buffer.from(this.#file(file).bytes)),
      write: (file, bytes) =>
        operation('write', () => this.#put(file, { bytes: Buffer.from(bytes), synced: bytes.length, holes: [] })),
      // a start cannot tell what an earlier sync failed to write while the cache still shows it: such luck is not simulated
      sync: (file) =>
        operation('sync', () => {
          const found = this.#file(file);
          if (lies) return;
          found.synced = found.bytes.length;
          found.holes = [];
        }),
      copy: (file, to) =>
        operation('copy', () => this.#put(to, { bytes: Buffer.from(this.#file(file).bytes), synced: 0, holes: [] })),
      rename: (file, to) => operation('rename', () => this.#rename(file, to)),
      truncate: (file, size) => operation('truncate', () => cut(this.#file(file), size)),
      unlink: async (file) => {
        this.#undead.add(file); // until it is gone
        await operation('unlink', () => this.#unlink(file));
      },
      freeBytes: () => this.#world.operation(life, 'room', () => Math.max(0, this.faults.bytes_max - this.bytes)),
      modifiedMs: (file) => operation('stat', () => (this.#file(file), 0)), // as old as can be
      syncDirectory: () =>
        operation('sync directory', () => {
          if (!lies) this.#names = [];
        }),
    };
  }

  /** What a power loss leaves. */
  loseUnsynced(): void {
    const lost = this.#world.below(this.#names.length + 1);
    for (const change of this.#names.slice(this.#names.length - lost).toReversed()) change.undo();
    if (lost > 0) this.#world.count('name_unsynced_lost');
    this.#names = [];
    for (const file of this.#files.values()) {
      for (const [from, to] of file.holes) file.bytes.fill(0, from, to);
      file.holes = [];
      const unsynced = file.bytes.length - file.synced;
      if (unsynced <= 0) continue;
      this.#world.count('write_unsynced_lost');
      file.bytes = Buffer.from(file.bytes.subarray(0, file.synced + this.#world.below(unsynced + 1)));
      if (file.bytes.length > file.synced && this.#world.chance(0.5)) file.bytes.fill(0, file.bytes.length - 1);
      file.synced = file.bytes.length;
    }
  }

  #sync(operation: Operation, file: File, lies: boolean): Promise<void> {
    const fail = (): void => {
      if (file.bytes.length === file.synced) return;
      this.#world.count('sync_failed');
      file.holes.push([file.synced, file.bytes.length]);
    };
    return operation('sync', () => void (lies || (file.synced = file.bytes.length)), fail);
  }

  async #create(operation: Operation, name: string, lies: boolean): Promise<SegmentHandle> {
    const file = await operation('create', () => {
      if (this.#files.has(name)) throw failure('EEXIST', name);
      const created: File = { bytes: Buffer.alloc(0), synced: 0, holes: [] };
      this.#put(name, created);
      return created;
    });
    if (!lies) await operation('sync directory', () => void (this.#names = []));
    return {
      append: (pieces) => this.#append(operation, file, Buffer.concat(pieces)),
      sync: () => this.#sync(operation, file, lies),
      truncate: (size) => operation('truncate', () => cut(file, size)),
      close: () => operation('close', () => undefined),
    };
  }

  /** A write may stop half-way: an error leaves a part of it behind. */
  async #append(operation: Operation, file: File, bytes: Buffer): Promise<void> {
    const room = this.faults.bytes_max - this.bytes;
    const torn = this.#world.strikes('write_torn', this.faults.error);
    const size =
      torn || bytes.length > room ? Math.min(Math.max(0, room), this.#world.below(bytes.length)) : bytes.length;
    // two operations, so that a crash can fall between them
    const half = size >> 1;
    await operation('append', () => void (file.bytes = Buffer.concat([file.bytes, bytes.subarray(0, half)])));
    await operation('append', () => {
      file.bytes = Buffer.concat([file.bytes, bytes.subarray(half, size)]);
      if (size === bytes.length) return;
      if (bytes.length > room) this.#world.count('disk_full');
      throw failure(bytes.length > room ? 'ENOSPC' : 'EIO', 'append');
    });
  }

  #namesIn(directory: string): string[] {
    return [...this.#files.keys()]
      .filter((name) => name.startsWith(`${directory}/`))
      .map((name) => name.slice(directory.length + 1))
      .toSorted();
  }

  #file(name: string): File {
    const file = this.#files.get(name);
    if (file === undefined) throw failure('ENOENT', name);
    return file;
  }

  #put(name: string, file: File): void {
    const before = this.#files.get(name);
    this.#files.set(name, file);
    this.#names.push({
      undo: () => void (before === undefined ? this.#files.delete(name) : this.#files.set(name, before)),
    });
  }

  #unlink(name: string): void {
    const file = this.#file(name);
    this.#files.delete(name);
    this.#names.push({ undo: () => void this.#files.set(name, file) });
  }

  #rename(name: string, to: string): void {
    const file = this.#file(name);
    const before = this.#files.get(to);
    this.#files.delete(name);
    this.#files.set(to, file);
    this.#names.push({
      undo: () => {
        this.#files.set(name, file);
        if (before === undefined) this.#files.delete(to);
        else this.#files.set(to, before);
      },
    });
  }
}

function cut(file: File, size: number): void {
  file.bytes = Buffer.from(file.bytes.subarray(0, size));
  file.synced = Math.min(file.synced, size);
  file.holes = file.holes.flatMap(([from, to]) => (from < size ? [[from, Math.min(to, size)] as const] : []));
}

function failure(code: string, what: string): Error {
  return Object.assign(new Error(`${code}: ${what}`), { code });
}
