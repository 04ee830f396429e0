import { appendFile, mkdir, readdir, stat, unlink } from 'node:fs/promises';
import path from 'node:path';
import type { Clock } from '../core/clock.ts';
import { systemCode } from '../core/errors.ts';
import type { SetAside } from '../core/set-aside.ts';

/** A day's file: 100,000 lines of 160 bytes. What comes after is only counted, where it always is: at its source. */
const DAY_BYTES_MAX = 16 * 1_048_576;
/** Files that are kept; with the cap above 224 MiB at most. */
const DAYS_MAX = 14;
/** Text of one record: the largest honest one is about 90 KiB. */
const RAW_CHARACTERS_MAX = 65_536;
/** Lines that wait for the disk; a disk that hangs costs this much memory and no more. */
const WAITING_MAX = 1_000;
const DAY = /^\d{4}-\d{2}-\d{2}\.ndjson$/;

export type QuarantineOptions = {
  readonly data_dir: string;
  readonly clock: Clock;
  /** Told once a fault that the file cannot be written, and again after it could. */
  readonly onError: (reason: string) => void;
  readonly day_bytes_max?: number;
};

/**
 * Keeps what was refused one by one, for a person: `quarantine/<day, UTC>.ndjson` in the data directory, one SetAside a
 * line with `received_at_ms` first. A courtesy beside the counts of its source: bounded, written behind the answer, not
 * synced, and never in anybody's way.
 */
export class Quarantine implements AsyncDisposable {
  readonly #options: QuarantineOptions;
  readonly #folder: string;
  #writing: Promise<void> = Promise.resolve();
  #waiting = 0;
  #day = '';
  #bytes = 0;
  #isFailing = false;

  constructor(options: QuarantineOptions) {
    this.#options = options;
    this.#folder = path.join(options.data_dir, 'quarantine');
  }

  /** Takes one line down; never fails, never waits. */
  add(aside: SetAside): void {
    if (this.#waiting >= WAITING_MAX) return;
    this.#waiting++;
    const received_at_ms = this.#options.clock.now_ms();
    this.#writing = this.#writing
      .then(() => this.#write(received_at_ms, aside))
      .then(
        () => {
          this.#isFailing = false;
        },
        (error: unknown) => {
          if (!this.#isFailing) this.#options.onError(`${this.#folder}: ${systemCode(error) ?? String(error)}`);
          this.#isFailing = true;
        },
      )
      .finally(() => {
        this.#waiting--;
      });
  }

  /** When everything taken down so far is written. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing;
  }

  async #write(received_at_ms: number, aside: SetAside): Promise<void> {
    const { day_bytes_max = DAY_BYTES_MAX } = this.#options;
    const day = new Date(received_at_ms).toISOString().slice(0, 10);
    const file = path.join(this.#folder, `${day}.ndjson`);
    if (day !== this.#day) await this.#begin(day, file);
    const line = `${JSON.stringify({ received_at_ms, ...capped(aside) })}\n`;
    const bytes = Buffer.byteLength(line);
    if (this.#bytes + bytes > day_bytes_max) return;
    this.#bytes += bytes;
    await appendFile(file, line, { mode: 0o600 });
  }

  async #begin(day: string, file: string): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const days = (await readdir(this.#folder)).filter((name) => DAY.test(name)).toSorted();
    for (const old of days.slice(0, Math.max(0, days.length - DAYS_MAX))) await unlink(path.join(this.#folder, old));
    this.#bytes = await sizeOf(file);
    this.#day = day;
  }
}

function capped(aside: SetAside): SetAside {
  const { raw } = aside;
  if (typeof raw !== 'string' || raw.length <= RAW_CHARACTERS_MAX) return aside;
  return { ...aside, raw: raw.slice(0, RAW_CHARACTERS_MAX), truncated: true };
}

async function sizeOf(file: string): Promise<number> {
  try {
    return (await stat(file)).size;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return 0;
    throw error;
  }
}
