import path from 'node:path';
import Type from 'typebox';
import { compiled } from '../core/compiled.ts';
import { RangeSet } from '../core/range-set.ts';
import { TABLE_NAMES, type TableName } from '../core/tables.ts';
import type { SpoolDisk } from './disk.ts';
import { LineLog } from './line-log.ts';

/** Why records were given up; what `declared_loss` of the account calls it. */
export const GAP_REASONS = ['spool_full_oldest', 'spool_full_newest'] as const;
export type GapReason = (typeof GAP_REASONS)[number];

/**
 * Records that policy dropped: of one source, epoch and table, with the batches that they were of. `parts`: tables of each of
 * those batches. `acknowledged`: their sender was told that they are durable, so it may not send them again.
 */
export type Gap = {
  readonly source: string;
  readonly epoch: number;
  readonly table: TableName;
  readonly reason: GapReason;
  readonly parts: number;
  readonly acknowledged: boolean;
  readonly records: number;
  /** Closed ranges of sequences, rising; empty where the disk would not say which they were. */
  readonly ranges: readonly Range[];
};
type Range = readonly [from: number, to: number];

/** Batches of a source and epoch of which nothing is left. */
type DroppedBatches = { readonly source: string; readonly epoch: number; readonly ranges: readonly Range[] };

const LineSchema = Type.Object({
  /** The first line of a file stands for all files up to this number. */
  replaces: Type.Optional(Type.Integer()),
  /** Segments that are dropped by this line: a file of theirs that is still there is not read any more. */
  segments: Type.Array(Type.Integer()),
  /** The largest number of a segment that was ever dropped: none may be given again. */
  segment_max: Type.Integer(),
  gaps: Type.Array(
    Type.Object({
      source: Type.String(),
      epoch: Type.Integer(),
      table: Type.Enum([...TABLE_NAMES]),
      reason: Type.Enum([...GAP_REASONS]),
      parts: Type.Integer(),
      acknowledged: Type.Boolean(),
      records: Type.Integer(),
      ranges: Type.Array(Type.Tuple([Type.Integer(), Type.Integer()])),
    }),
  ),
});
type Line = {
  readonly replaces?: number;
  readonly segments: readonly number[];
  readonly segment_max: number;
  readonly gaps: readonly Gap[];
};
const line = compiled(LineSchema);

/** Lines are merged into a new file beyond this: 100,000 drops of one source. */
const FILE_BYTES_MAX = 16 * 1_048_576;

/**
 * The durable list of what policy dropped, in `spool/gaps-<n>.ndjson`. A drop is one line, written and synced before
 * anything is removed: whole it happened, torn it did not. There is no file until something is dropped.
 */
export class GapLog {
  readonly #disk: SpoolDisk;
  readonly #directory: string;
  readonly #gaps = new Map<string, { gap: Omit<Gap, 'records' | 'ranges'>; records: number; ranges: RangeSet }>();
  /** Dropped segments whose files may come back when the machine loses power. */
  readonly #segments = new Set<number>();
  readonly #removed = new Set<number>();
  readonly #lines: LineLog<Line>;
  #segment_max = 0;

  private constructor(disk: SpoolDisk, directory: string) {
    this.#disk = disk;
    this.#directory = directory;
    this.#lines = new LineLog<Line>({
      disk,
      directory,
      name: 'gaps',
      file_bytes_max: FILE_BYTES_MAX,
      check: line.check,
      isFirst: ({ replaces }) => replaces !== undefined,
    });
  }

  /** Reads what was dropped before and removes files of dropped segments that a crash has left. */
  static async open(disk: SpoolDisk, directory: string): Promise<GapLog> {
    const log = new GapLog(disk, directory);
    await log.#lines.replay(({ gaps, segments, segment_max }) => log.#take(gaps, segments, segment_max));
    if (log.#segments.size === 0) return log;
    for (const name of await disk.list(directory)) {
      const number = Number(/^(\d{12})-[a-z_]+\.native$/.exec(name)?.[1] ?? -1);
      if (log.#segments.has(number)) await disk.unlink(path.join(directory, name));
    }
    await disk.syncDirectory(directory);
    log.#segments.clear();
    return log;
  }

  get segment_max(): number {
    return this.#segment_max;
  }

  list(): Gap[] {
    return [...this.#gaps.values()].map(({ gap, records, ranges }) => ({
      ...gap,
      records,
      ranges: ranges.ranges.map(({ from, to }) => [from, to] as const),
    }));
  }

  /**
   * Makes a drop durable. After a rejection it did not happen: nothing may be removed, and the line is written over by
   * the next one that succeeds. `onDropped` runs at the moment from which the list names it.
   */
  async append(gaps: readonly Gap[], segments: readonly number[] = [], onDropped?: () => void): Promise<void> {
    const segment_max = Math.max(this.#segment_max, ...segments);
    await this.#lines.append({ segments, segment_max, gaps }, async (replaces) => {
      await this.#forgetRemoved();
      return {
        replaces,
        segments: [...this.#segments, ...segments],
        segment_max,
        gaps: [...this.list(), ...gaps],
      };
    });
    this.#take(gaps, segments, segment_max);
    onDropped?.();
  }

  /** The file of a dropped segment was removed. */
  removed(segment: number): void {
    this.#removed.add(segment);
  }

  close(): Promise<void> {
    return this.#lines.close();
  }

  async #forgetRemoved(): Promise<void> {
    const removed = [...this.#removed];
    if (removed.length === 0) return;
    await this.#disk.syncDirectory(this.#directory);
    for (const number of removed) {
      this.#removed.delete(number);
      this.#segments.delete(number);
    }
  }

  #take(gaps: readonly Gap[], segments: readonly number[], segment_max: number): void {
    this.#segment_max = Math.max(this.#segment_max, segment_max);
    for (const number of segments) this.#segments.add(number);
    for (const { records, ranges, ...gap } of gaps) {
      const name = JSON.stringify([gap.source, gap.epoch, gap.table, gap.reason, gap.parts, gap.acknowledged]);
      const known = this.#gaps.get(name) ?? { gap, records: 0, ranges: new RangeSet() };
      known.records += records;
      for (const [from, to] of ranges) known.ranges.add(from, to);
      this.#gaps.set(name, known);
    }
  }
}

/** Batches of which every part was dropped, by source and epoch. O(ranges log ranges). */
export function wholeBatches(gaps: readonly Gap[]): DroppedBatches[] {
  const sources = Map.groupBy(gaps, ({ source, epoch }) => JSON.stringify([source, epoch]));
  return [...sources.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const whole = new RangeSet();
    for (const [parts, some] of Map.groupBy(group, (gap) => gap.parts))
      for (const [from, to] of coveredBy(parts, some)) whole.add(from, to);
    if (whole.count === 0) return [];
    const { source, epoch } = first;
    return [{ source, epoch, ranges: whole.ranges.map(({ from, to }) => [from, to] as const) }];
  });
}

/** Ranges that gaps of `parts` different tables cover. */
function coveredBy(parts: number, gaps: readonly Gap[]): Range[] {
  const edges: { at: number; change: 1 | -1 }[] = [];
  for (const some of Map.groupBy(gaps, ({ table }) => table).values()) {
    const table = new RangeSet();
    for (const { ranges } of some) for (const [from, to] of ranges) table.add(from, to);
    for (const { from, to } of table.ranges) edges.push({ at: from, change: 1 }, { at: to + 1, change: -1 });
  }
  edges.sort((one, other) => one.at - other.at || one.change - other.change);
  const covered: Range[] = [];
  let tables = 0;
  let since = 0;
  for (const { at, change } of edges) {
    if (tables === parts && change === -1 && at > since) covered.push([since, at - 1]);
    tables += change;
    if (tables === parts) since = at;
  }
  return covered;
}
