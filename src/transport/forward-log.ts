import Type from 'typebox';
import { compiled } from '../core/compiled.ts';
import { LIMITS } from '../core/limits.ts';
import { RangeSet } from '../core/range-set.ts';
import type { SpoolDisk } from './disk.ts';
import { LineLog } from './line-log.ts';

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
      /** Of a total of one process: it replaces what the process said before. Absent: records beside those said before. */
      run: Type.Optional(Type.String()),
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
  readonly run?: string;
};
const line = compiled(LineSchema);

/** Lines of about 100 bytes are merged into a new file beyond this: once every few hours at two a second. */
const FILE_BYTES_MAX = 1_048_576;
/** Totals of processes that ended with records in memory, 150 bytes each: the last hundreds of ends of a node in trouble. */
const RUN_TOTALS_MAX = 1_000;

/**
 * What a sidecar must not forget when its spool is empty: the epoch that its batches are named with, how far each source's numbers
 * have been acknowledged (none is given twice), and what the gateway will never take. Lines in `spool/forward-<n>.ndjson`, each
 * synced before the segment that it is about goes. Whoever restores an old copy of the directory deletes these files with it.
 */
export class ForwardLog {
  readonly #lines: LineLog<Line>;
  readonly #acknowledged = new Map<string, number>();
  readonly #lost = new Map<string, { loss: Omit<Loss, 'records' | 'ranges'>; records: number; ranges: RangeSet }>();
  #epoch: number | null = null;

  private constructor(disk: SpoolDisk, directory: string) {
    const file_bytes_max = FILE_BYTES_MAX;
    this.#lines = new LineLog<Line>({ disk, directory, name: 'forward', file_bytes_max, check: line.check });
  }

  /**
   * Reads what is there; `newEpoch` names the first batches of a new directory, and of each start where writes are not synced
   * (`is_synced` false): a machine that lost power may have forgotten numbers that it gave. Rejects with the disk's own errors.
   */
  static async open(disk: SpoolDisk, directory: string, newEpoch: () => number, is_synced = true): Promise<ForwardLog> {
    const log = new ForwardLog(disk, directory);
    await disk.makeDirectory(directory);
    await log.#lines.replay(({ epoch, acknowledged, lost }) => {
      log.#epoch = epoch;
      log.#take(new Map(Object.entries(acknowledged)), lost);
    });
    if (!is_synced) {
      log.#epoch = null;
      log.#acknowledged.clear();
    }
    log.#epoch ??= newEpoch();
    const all = log.#merged(new Map(), []);
    await log.#lines.append(all, () => all); // durable before a batch is named by it
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
    const next: Line = { epoch: this.epoch, acknowledged: Object.fromEntries(acknowledged), lost };
    await this.#lines.append(next, () => this.#merged(acknowledged, lost));
    this.#take(acknowledged, lost);
  }

  close(): Promise<void> {
    return this.#lines.close();
  }

  /** All that is known, and what is about to be. */
  #merged(acknowledged: ReadonlyMap<string, number>, lost: readonly Loss[]): Line {
    const merged = new Map(this.#acknowledged);
    for (const [source, sequence] of acknowledged) merged.set(source, Math.max(sequence, this.acknowledged(source)));
    return { epoch: this.epoch, acknowledged: Object.fromEntries(merged), lost: [...this.lost(), ...lost] };
  }

  #take(acknowledged: ReadonlyMap<string, number>, lost: readonly Loss[]): void {
    for (const [source, sequence] of acknowledged)
      this.#acknowledged.set(source, Math.max(sequence, this.acknowledged(source)));
    for (const { records, ranges, ...loss } of lost) {
      const { run = '' } = loss;
      const name = JSON.stringify([loss.source, loss.epoch, loss.reason, run]);
      const known = this.#lost.get(name) ?? { loss, records: 0, ranges: new RangeSet(LIMITS.gap_ranges_max) };
      known.records = run === '' ? known.records + records : Math.max(known.records, records);
      for (const [from, to] of ranges) known.ranges.add(from, to);
      this.#lost.set(name, known);
    }
    const ended = [...this.#lost].filter(([, { loss }]) => (loss.run ?? '') !== '');
    for (const [oldest] of ended.slice(0, Math.max(0, ended.length - RUN_TOTALS_MAX))) this.#lost.delete(oldest);
  }
}
