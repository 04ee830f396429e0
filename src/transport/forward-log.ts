import path from 'node:path';
import Type from 'typebox';
import { compiled } from '../core/compiled.ts';
import { LIMITS } from '../core/limits.ts';
import { RangeSet } from '../core/range-set.ts';
import type { SegmentHandle, SpoolDisk } from './disk.ts';

/** Why a record that was durable here never reached the store. */
export type ForwardLossReason = 'gateway_refused' | 'gateway_too_large' | 'undecodable';

const LineSchema = Type.Object({
  epoch: Type.Integer(),
  /** The largest sequence of each source that the gateway acknowledged. */
  acknowledged: Type.Record(Type.String(), Type.Integer()),
  lost: Type.Array(
    Type.Object({
      source: Type.String(),
      epoch: Type.Integer(),
      reason: Type.String(),
      records: Type.Integer(),
      ranges: Type.Array(Type.Tuple([Type.Integer(), Type.Integer()])),
    }),
  ),
});
type Line = {
  readonly epoch: number;
  readonly acknowledged: Readonly<Record<string, number>>;
  readonly lost: readonly Loss[];
};
type Loss = {
  readonly source: string;
  readonly epoch: number;
  readonly reason: string;
  readonly records: number;
  readonly ranges: readonly (readonly [from: number, to: number])[];
};
const line = compiled(LineSchema);

const NAME = /^forward-(\d{6})\.ndjson$/;
/** Lines of about 100 bytes are merged into a new file beyond this: once every few hours at two a second. */
const FILE_BYTES_MAX = 1_048_576;

/**
 * What a sidecar must not forget when its spool is empty: the epoch that its batches are named with, how far each source's numbers
 * have been acknowledged (none is given twice), and what the gateway will never take. Lines in `spool/forward-<n>.ndjson`, each
 * synced before the segment that it is about goes. Whoever restores an old copy of the directory deletes these files with it.
 */
export class ForwardLog {
  readonly #disk: SpoolDisk;
  readonly #directory: string;
  readonly #acknowledged = new Map<string, number>();
  readonly #lost = new Map<string, { loss: Omit<Loss, 'records' | 'ranges'>; records: number; ranges: RangeSet }>();
  readonly #old: string[] = [];
  #epoch: number | null = null;
  #number = 0;
  #handle: SegmentHandle | null = null;
  #bytes = 0;

  private constructor(disk: SpoolDisk, directory: string) {
    this.#disk = disk;
    this.#directory = directory;
  }

  /** Reads what is there; `newEpoch` names the first batches of a new directory. Rejects with the disk's own errors. */
  static async open(disk: SpoolDisk, directory: string, newEpoch: () => number): Promise<ForwardLog> {
    const log = new ForwardLog(disk, directory);
    await disk.makeDirectory(directory);
    const files = (await disk.list(directory)).filter((name) => NAME.test(name)).toSorted();
    for (const name of files.toReversed()) {
      log.#number = Math.max(log.#number, Number(NAME.exec(name)?.[1]));
      log.#old.push(name);
      if (log.#epoch === null) log.#read(await disk.read(path.join(directory, name)));
    }
    log.#epoch ??= newEpoch();
    await log.#startFile();
    return log;
  }

  get epoch(): number {
    return this.#epoch ?? 0;
  }

  /** The largest acknowledged number of a source, 0 when there is none. */
  acknowledged(source: string): number {
    return this.#acknowledged.get(source) ?? 0;
  }

  /** All numbers that were acknowledged: none may be given again. */
  known(): { readonly source: string; readonly epoch: number; readonly from: number; readonly to: number }[] {
    return [...this.#acknowledged].map(([source, to]) => ({ source, epoch: this.epoch, from: 1, to }));
  }

  lost(): readonly Loss[] {
    return [...this.#lost.values()].map(({ loss, records, ranges }) => ({
      ...loss,
      records,
      ranges: ranges.ranges.map(({ from, to }) => [from, to] as const),
    }));
  }

  /** Batches of this log's epoch that the gateway acknowledged, and what of any it refused. Rejects when that is not durable. */
  async append(acknowledged: ReadonlyMap<string, number>, lost: readonly Loss[]): Promise<void> {
    const text = lineOf({ epoch: this.epoch, acknowledged: Object.fromEntries(acknowledged), lost });
    if (this.#handle === null || this.#bytes > FILE_BYTES_MAX) await this.#startFile();
    try {
      await this.#handle?.append([text]);
      await this.#handle?.sync();
    } catch (error) {
      await this.#abandon();
      throw error;
    }
    this.#bytes += text.length;
    this.#take(acknowledged, lost);
  }

  async close(): Promise<void> {
    await this.#handle?.close();
    this.#handle = null;
  }

  async #startFile(): Promise<void> {
    const name = `forward-${String(++this.#number).padStart(6, '0')}.ndjson`;
    const text = lineOf({
      epoch: this.epoch,
      acknowledged: Object.fromEntries(this.#acknowledged),
      lost: this.lost(),
    });
    const handle = await this.#disk.create(path.join(this.#directory, name));
    try {
      await handle.append([text]);
      await handle.sync();
    } catch (error) {
      await handle.close().catch(() => undefined); // a torn file says nothing
      this.#old.push(name);
      throw error;
    }
    await this.close();
    this.#handle = handle;
    this.#bytes = text.length;
    for (const old of this.#old.splice(0))
      await this.#disk.unlink(path.join(this.#directory, old)).catch(() => this.#old.push(old)); // it is replaced: no hurry
    this.#old.push(name);
  }

  /** What a failed write left behind is not known: the next line goes to a file of its own. */
  async #abandon(): Promise<void> {
    const handle = this.#handle;
    this.#handle = null;
    await handle?.truncate(this.#bytes).catch(() => undefined); // replaced by the next file in any case
    await handle?.close().catch(() => undefined);
  }

  #read(bytes: Buffer): void {
    const lines = bytes.toString('utf8').split('\n');
    lines.pop(); // what follows the last newline is torn
    for (const text of lines) {
      const value = parseLine(text);
      if (value === null) return;
      this.#epoch = value.epoch;
      this.#take(new Map(Object.entries(value.acknowledged)), value.lost);
    }
  }

  #take(acknowledged: ReadonlyMap<string, number>, lost: readonly Loss[]): void {
    for (const [source, sequence] of acknowledged)
      this.#acknowledged.set(source, Math.max(sequence, this.acknowledged(source)));
    for (const { records, ranges, ...loss } of lost) {
      const name = JSON.stringify([loss.source, loss.epoch, loss.reason]);
      const known = this.#lost.get(name) ?? { loss, records: 0, ranges: new RangeSet(LIMITS.link_ranges_max) };
      known.records += records;
      for (const [from, to] of ranges) known.ranges.add(from, to);
      this.#lost.set(name, known);
    }
  }
}

function lineOf(content: Line): Buffer {
  return Buffer.from(`${JSON.stringify(content)}\n`);
}

function parseLine(text: string): Line | null {
  try {
    const value: unknown = JSON.parse(text);
    return line.check(value) ? value : null;
  } catch {
    return null; // torn in the middle by a crash of the machine
  }
}
