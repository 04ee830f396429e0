import { randomUUID } from 'node:crypto';
import { lstat, readdir, rmdir, stat, unlink } from 'node:fs/promises';
import path from 'node:path';
import { assert } from '../core/assert.ts';
import { LeewayError, systemCode } from '../core/errors.ts';
import type { Delivery, FrameHeader } from '../core/ports.ts';
import { SAMPLES, type TableName } from '../core/tables.ts';
import { type SpoolDisk, systemDisk } from './disk.ts';
import { encodeFrame } from './frame.ts';
import type { HeldFrame } from './kafka-frames.ts';

/** Bytes handed to the file system at once. */
const WRITE_BYTES = 4 * 1_048_576;

/** Where deliveries lie while the store reads them; the simulation puts a failing disk in its place. */
export type ScratchDisk = Pick<SpoolDisk, 'makeDirectory' | 'list' | 'create' | 'unlink'> & {
  /** When the file was written last, Unix ms. */
  modifiedMs(file: string): Promise<number>;
};

/** The file system itself. Nothing is synced. */
export function systemScratch(): ScratchDisk {
  return { ...systemDisk(false), modifiedMs: async (file) => (await stat(file)).mtimeMs };
}

const PREFIX = 'kafka-';
const SUFFIX = '.native';
/** What a killed process left behind; no delivery of a living one waits that long with a store at hand. */
const LEFT_BEHIND_MS = 86_400_000;

/**
 * Makes `directory` ready for deliveries, removes those that killed processes left in it a day ago, and returns a prefix for
 * file names that no other bus uses. Failure: LW-DATA-DIR.
 */
export async function prepareScratch(disk: ScratchDisk, directory: string, now_ms: number): Promise<string> {
  try {
    await disk.makeDirectory(directory);
    for (const name of await disk.list(directory)) {
      const file = path.join(directory, name);
      if (!name.startsWith(PREFIX) || now_ms - (await disk.modifiedMs(file)) < LEFT_BEHIND_MS) continue;
      await disk.unlink(file);
    }
    return `${PREFIX}${randomUUID()}`;
  } catch (cause) {
    const code = systemCode(cause);
    if (code === null) throw cause;
    if (code === 'ENOENT') return `${PREFIX}${randomUUID()}`; // another process was quicker to remove it
    throw new LeewayError('LW-DATA-DIR', `scratch directory ${directory} is not usable (${code})`, { cause });
  }
}

/** Where the process `pid` has its deliveries in `parent`. */
export function scratchOf(parent: string, pid: number): string {
  return path.join(parent, `leeway-${pid}`);
}

/** Directories of dead processes that one start removes: beyond them the next one goes on. */
const REMOVED_MAX = 1_000;

/**
 * Removes what killed processes of this user left in `parent`: their directories (`scratchOf`) with the deliveries in them.
 * What another process holds, what is not ours to remove and what is no delivery stays. A worker of another container that
 * shares `parent` looks dead from here; the delivery that is taken from it is written again.
 */
export async function removeLeftBehind(parent: string): Promise<void> {
  const names = await readdir(parent).catch(unlessSystem([]));
  let removed = 0;
  for (const name of names) {
    const pid = Number(/^leeway-([1-9]\d{0,9})$/.exec(name)?.[1] ?? Number.NaN);
    if (Number.isNaN(pid) || isAlive(pid)) continue;
    if (removed++ === REMOVED_MAX) return;
    await removeDirectory(scratchOf(parent, pid)).catch(unlessSystem(undefined)); // another starter may be at it
  }
}

async function removeDirectory(directory: string): Promise<void> {
  const found = await lstat(directory); // a link is none of ours
  if (!found.isDirectory() || found.uid !== process.getuid?.()) return;
  for (const name of await readdir(directory))
    if (name.startsWith(PREFIX) && name.endsWith(SUFFIX)) await unlink(path.join(directory, name));
  await rmdir(directory);
}

/** What a rejection with a system code comes to; any other one stays. */
function unlessSystem<Value>(otherwise: Value): (error: unknown) => Value {
  return (error) => {
    if (systemCode(error) === null) throw error;
    return otherwise;
  };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) === 'EPERM'; // somebody else's
  }
}

/**
 * Writes `frames`, all of one table and at least one, as the file `stem`-`table`.native of Native blocks. Nothing is synced:
 * the topic is the durable copy. A file that could not be written whole is removed again: it would keep a full disk full.
 */
export async function writeDelivery(disk: ScratchDisk, stem: string, frames: readonly HeldFrame[]): Promise<Delivery> {
  const table = frames[0]?.header.table;
  assert(table !== undefined, 'a delivery holds at least one frame');
  const file = `${stem}-${table}${SUFFIX}`;
  try {
    return await writeFrames(disk, file, { table, frames });
  } catch (error) {
    await disk.unlink(file).catch(() => undefined); // it was not created
    throw error;
  }
}

async function writeFrames(
  disk: ScratchDisk,
  file: string,
  { table, frames }: { readonly table: TableName; readonly frames: readonly HeldFrame[] },
): Promise<Delivery> {
  const headers: FrameHeader[] = [];
  const handle = await disk.create(file);
  try {
    let pieces: Buffer[] = [];
    let bytes = 0;
    let rows = 0;
    for (const frame of frames) {
      // each frame is its own origin, so that its rows have its lineage in whatever company it comes again
      const origin = table === SAMPLES ? headers.length : 0;
      const header = { ...frame.header, origin };
      headers.push(header);
      rows += header.rows;
      for (const piece of encodeFrame(header, frame.body)) {
        pieces.push(piece);
        bytes += piece.length;
      }
      if (bytes < WRITE_BYTES) continue;
      await handle.append(pieces);
      pieces = [];
      bytes = 0;
    }
    await handle.append(pieces);
    return { table, path: file, rows, frames: headers };
  } finally {
    await handle.close();
  }
}

/** Forgets a delivery's file. */
export async function removeDelivery(disk: ScratchDisk, delivery: Delivery): Promise<void> {
  await disk.unlink(delivery.path).catch(() => undefined); // gone already, or removed a day later
}
