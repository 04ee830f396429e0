import path from 'node:path';
import type { SegmentHandle, SpoolDisk } from './disk.ts';

/** Where the lines are and what they hold. */
export type LineLogOptions<Line> = {
  readonly disk: SpoolDisk;
  readonly directory: string;
  /** Its files are `<name>-<number of 6 digits>.ndjson`. */
  readonly name: string;
  /** Lines are merged into a new file beyond this. */
  readonly file_bytes_max: number;
  readonly check: (value: unknown) => value is Line;
  /** Whether a file may begin with a line; any may by default. */
  readonly isFirst?: (line: Line) => boolean;
};

/**
 * A durable list of lines of JSON beside the segments of a spool. The first line of a file stands for all files with lower
 * numbers; each line is synced before `append` resolves: whole it happened, torn it did not. A file that a write failed on is
 * not written again, since what it holds is not known: the next line starts a file that replaces it. Replaced files go when
 * the new one is durable. Calls come one after the other; failures are the disk's own errors.
 */
export class LineLog<Line> {
  readonly #options: LineLogOptions<Line>;
  /** Files that the next one replaces. */
  readonly #old: string[] = [];
  #number = 0;
  #handle: SegmentHandle | null = null;
  #bytes = 0;

  constructor(options: LineLogOptions<Line>) {
    this.#options = options;
  }

  /** Hands over the lines of the newest file that holds any, oldest first, and makes them durable. Once, before `append`. */
  async replay(take: (line: Line) => void): Promise<void> {
    const { disk, directory, name } = this.#options;
    let isFound = false;
    for (const { file, number } of filesOf(name, await disk.list(directory))) {
      this.#number = Math.max(this.#number, number);
      this.#old.push(file);
      if (isFound) continue;
      const whole = path.join(directory, file);
      isFound = this.#read(await disk.read(whole), take);
      await disk.sync(whole); // a killed process may not have synced what it wrote, and now it is acted upon
    }
    if (this.#old.length > 0) await disk.syncDirectory(directory);
  }

  /**
   * Makes `line` durable. `merge` gives the line that a new file begins with, where one is due: all that happened before and
   * `line`; it is told the largest number of a file that is replaced. After a rejection the line did not happen for any line
   * that follows; only a crash before the next one may leave it.
   */
  async append(line: Line, merge: (replaces: number) => Line | Promise<Line>): Promise<void> {
    if (this.#handle === null || this.#bytes > this.#options.file_bytes_max)
      return this.#startFile(await merge(this.#number));
    try {
      this.#bytes += await write(this.#handle, line, this.#bytes);
    } catch (error) {
      this.#handle = null;
      throw error;
    }
  }

  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = null;
    await handle?.close();
  }

  async #startFile(first: Line): Promise<void> {
    const { disk, directory, name } = this.#options;
    const file = `${name}-${String(++this.#number).padStart(6, '0')}.ndjson`; // used once, even when writing it failed
    const handle = await disk.create(path.join(directory, file));
    let bytes: number;
    try {
      bytes = await write(handle, first, 0);
    } catch (error) {
      this.#old.push(file);
      throw error;
    }
    const before = this.#handle;
    this.#handle = handle;
    this.#bytes = bytes;
    await before?.close().catch(() => undefined); // it is replaced
    for (const old of this.#old.splice(0))
      await disk.unlink(path.join(directory, old)).catch(() => this.#old.push(old)); // it is replaced: no hurry
    this.#old.push(file);
  }

  /** Whether there was a line. */
  #read(bytes: Buffer, take: (line: Line) => void): boolean {
    const { check, isFirst = () => true } = this.#options;
    const lines = bytes.toString('utf8').split('\n');
    lines.pop(); // what follows the last newline is torn
    for (const [index, text] of lines.entries()) {
      const value = parsed(text);
      if (!check(value) || (index === 0 && !isFirst(value))) return index > 0;
      take(value);
    }
    return lines.length > 0;
  }
}

/** Files of a log among `files`, the newest first. */
function filesOf(name: string, files: readonly string[]): { readonly file: string; readonly number: number }[] {
  const pattern = new RegExp(`^${name}-(\\d{6,})\\.ndjson$`);
  const found = files.flatMap((file) => {
    const digits = pattern.exec(file)?.[1];
    return digits === undefined ? [] : [{ file, number: Number(digits) }];
  });
  return found.toSorted((one, other) => other.number - one.number);
}

/** Appends a line behind `held_bytes` and syncs it; returns its bytes. A file that failed is closed, its old length tried. */
async function write(handle: SegmentHandle, line: unknown, held_bytes: number): Promise<number> {
  const text = Buffer.from(`${JSON.stringify(line)}\n`);
  try {
    await handle.append([text]);
    await handle.sync();
  } catch (error) {
    await handle.truncate(held_bytes).catch(() => undefined); // replaced by the next file in any case
    await handle.close().catch(() => undefined);
    throw error;
  }
  return text.length;
}

/** The value of a line, undefined where it is no JSON: torn in the middle by a crash of the machine. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
