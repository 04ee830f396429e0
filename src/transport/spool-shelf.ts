import path from 'node:path';
import type { Clock } from '../core/clock.ts';
import { systemCode } from '../core/errors.ts';
import type { Ok, Reject, Retry } from '../core/outcome.ts';
import type { Backlog } from '../core/ports.ts';
import type { TableName } from '../core/tables.ts';
import { takenTogether } from './deliver-segments.ts';
import { finishDelivery } from './delivery-file.ts';
import type { SpoolDisk } from './disk.ts';
import { type Gap, type GapLog, wholeBatches } from './gap-log.ts';
import { inFlightOf, KnownSequences, SourceTally } from './known-sequences.ts';
import { type ReadSegment, type Recovered, segmentFile } from './recovery.ts';
import type { Bounds } from './segment-bounds.ts';
import { OpenSegment, type Part, type Segment } from './segment.ts';
import { gapsOfSegment } from './spool-gaps.ts';
import { droppableBytes, droppedFor, type SpoolPolicies } from './spool-quota.ts';

export type ShelfOptions = {
  readonly disk: SpoolDisk;
  readonly directory: string;
  readonly clock: Clock;
  readonly recovered: Recovered;
  readonly gaps: GapLog;
  readonly known: KnownSequences;
  readonly policies: SpoolPolicies;
  /** The number of the next segment. */
  readonly next_number: number;
  /** A segment was opened or closed: the consumer may want to know. */
  readonly onChange: () => void;
  readonly onEvent: (kind: 'spool_dropped', reason: string) => void;
};

/** Why policy leaves a segment alone: taken for delivery, perhaps stored since it was handed over once, or being dropped. */
type Leaving = 'taken' | 'handed_over' | 'dropping';

/**
 * The segments of the spool: the open one of each table, closed ones in the order of their numbers, and the account of what is
 * in them. Appending and dropping run between each other's calls (the spool's writer), delivering beside them.
 */
export class SpoolShelf {
  /** Without what a start found: its frames may be hundreds of thousands. */
  readonly #options: Omit<ShelfOptions, 'recovered'>;
  readonly #open = new Map<TableName, OpenSegment>();
  readonly #inFlight = new SourceTally();
  readonly #quarantined = new SourceTally();
  readonly #quarantinedBatches = new KnownSequences();
  readonly #leaving = new Map<Segment, Leaving>();
  /** Dropped and declared, but the disk would not remove their files. */
  #undead: Segment[] = [];
  #closed: Segment[];
  #next_number: number;
  #bytes = 0;

  constructor({ recovered, ...options }: ShelfOptions) {
    this.#options = options;
    this.#closed = [...recovered.segments];
    this.#next_number = options.next_number;
    for (const segment of recovered.segments) this.#bytes += segment.bytes;
    for (const header of recovered.headers) this.#inFlight.add(header, header.rows);
    for (const header of recovered.rejected) {
      this.#quarantined.add(header, header.rows);
      this.#quarantinedBatches.add(header, header.sequence);
    }
  }

  /** Bytes of segments on disk. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Bytes that can be dropped now. */
  get droppable_bytes(): number {
    return droppableBytes(this.#waiting(), this.#options.policies);
  }

  /** When the next open segment is old enough for an idle consumer, on the clock's elapsed scale; Infinity: none is open. */
  dueMs(boundsOf: (table: TableName) => Bounds): number {
    return Math.min(...[...this.#open].map(([table, segment]) => segment.opened_ms + boundsOf(table).close_ms));
  }

  backlog(now_ms: number): Omit<Backlog, 'torn_frames' | 'damaged_frames'> {
    const waiting = [...this.#closed, ...[...this.#open.values()].filter((segment) => segment.frames > 0)];
    let frames = 0;
    let oldest_ms = 0;
    for (const segment of waiting) {
      frames += segment.frames;
      const born_ms = segment instanceof OpenSegment ? segment.identity.born_ms : segment.born_ms;
      oldest_ms = Math.max(oldest_ms, now_ms - born_ms);
    }
    const gaps = this.#options.gaps.list();
    const batches = this.#quarantinedBatches.list();
    const tallies = waiting.map(({ tally }) => tally);
    return {
      bytes: this.#bytes,
      frames,
      oldest_ms,
      in_flight: inFlightOf(this.#inFlight.list(), tallies, now_ms),
      quarantined: this.#quarantined.list(),
      ...(batches.length === 0 ? {} : { quarantined_batches: batches }),
      ...(gaps.length === 0 ? {} : { dropped: gaps, dropped_batches: wholeBatches(gaps) }),
    };
  }

  /** Makes parts of one table durable. What was written before a rejection is cut off, or never read. */
  async append(table: TableName, parts: readonly Part[]): Promise<void> {
    for (let from = 0; from < parts.length; ) {
      const segment = await this.#segmentFor(table, parts, from);
      const batch = parts.slice(from, from + segment.room(parts, from));
      const before_bytes = segment.bytes;
      try {
        const headers = await segment.commit(batch, this.#options.clock.now_ms());
        for (const header of headers) this.#inFlight.add(header, header.rows);
      } finally {
        this.#bytes += segment.bytes - before_bytes;
      }
      from += batch.length;
    }
  }

  async #segmentFor(table: TableName, parts: readonly Part[], from: number): Promise<OpenSegment> {
    const known = this.#open.get(table);
    if (known !== undefined && !known.failed && known.room(parts, from) > 0) return known;
    if (known !== undefined) this.#seal(table, known);
    const { clock, directory, disk, onChange } = this.#options;
    const number = this.#next_number++;
    const file = path.join(directory, segmentFile(number, table));
    const identity = { number, table, path: file, born_ms: clock.now_ms() };
    const segment = new OpenSegment(identity, await disk.create(file, 'ahead'), clock.elapsed_ms());
    this.#open.set(table, segment);
    onChange();
    return segment;
  }

  #seal(table: TableName, segment: OpenSegment): void {
    this.#open.delete(table);
    this.#closed.push(segment.close());
    this.#closed.sort((a, b) => a.number - b.number);
    this.#options.onChange();
  }

  /** Closes what is full, and what is old enough when the consumer asks. Runs only between writes. */
  sealDue(boundsOf: (table: TableName) => Bounds, requested: boolean): void {
    const now_ms = this.#options.clock.elapsed_ms();
    for (const [table, segment] of this.#open) {
      const { rows_max, bytes_max, close_ms } = boundsOf(table);
      const full = segment.rows >= rows_max || segment.bytes >= bytes_max || segment.failed;
      const due = requested && segment.opened_ms + close_ms <= now_ms;
      if (full || due) this.#seal(table, segment);
    }
  }

  /** The oldest closed segment, with what may go together with it; all stay until they were delivered or let go. */
  take(): Segment[] {
    // a drop that fails brings a segment back: nothing overtakes it
    const dropping = [...this.#leaving].filter(([, why]) => why === 'dropping');
    const tables = new Set(dropping.map(([{ table }]) => table));
    const taken = takenTogether(this.#closed.filter(({ table }) => !tables.has(table)));
    for (const segment of taken) if (!this.#leaving.has(segment)) this.#leaving.set(segment, 'taken');
    return taken;
  }

  /** The store sees what was taken: whatever it answers, it may have it. Until it says what became of it, it is not dropped. */
  handOver(segments: readonly Segment[]): void {
    for (const segment of segments)
      if (this.#leaving.get(segment) === 'taken') this.#leaving.set(segment, 'handed_over');
  }

  /** Segments that were taken are not delivered for now; what was never handed over may be dropped again. */
  letGo(segments: readonly Segment[]): void {
    for (const segment of segments) if (this.#leaving.get(segment) === 'taken') this.#leaving.delete(segment);
  }

  /** Forgets a stored segment or sets a rejected one aside; what was acknowledged in it and is not held is declared. */
  async finish(segment: Segment, read: ReadSegment, outcome: Ok<void> | Reject): Promise<Retry | null> {
    const again = await finishDelivery(this.#options.disk, segment, outcome);
    if (again !== null) return again;
    this.#forget(segment);
    for (const header of outcome.kind === 'reject' ? read.headers : (read.refused ?? []))
      this.#quarantinedBatches.add(header, header.sequence);
    for (const count of segment.tally) {
      // what was acknowledged and is not in the file any more, or was rejected whole, is declared
      const held = read.segment?.tally.find((other) => other.source === count.source && other.epoch === count.epoch);
      const lost = outcome.kind === 'reject' ? count.records : Math.max(0, count.records - (held?.records ?? 0));
      this.#quarantined.add(count, lost);
    }
    return null;
  }

  /**
   * Drops the oldest of what may be dropped until `over_bytes` are free: declared first, then removed. Returns what is still
   * missing. Rejects when the list of gaps cannot be written: then the segment at hand stays.
   */
  async drop(over_bytes: number): Promise<number> {
    for (const segment of this.#undead.splice(0)) await this.#remove(segment);
    let left = over_bytes;
    for (const { number, table } of droppedFor(over_bytes, this.#waiting(), this.#options.policies)) {
      const open = this.#open.get(table);
      if (open?.identity.number === number) this.#seal(table, open);
      const segment = this.#closed.find((other) => other.number === number && !this.#leaving.has(other));
      if (segment === undefined) continue; // delivered, or taken for it, meanwhile
      this.#leaving.set(segment, 'dropping');
      try {
        await this.#dropOne(segment);
      } finally {
        this.#leaving.delete(segment);
        this.#options.onChange();
      }
      left -= segment.bytes;
    }
    return left;
  }

  async #dropOne(segment: Segment): Promise<void> {
    const { disk, known, gaps, onEvent } = this.#options;
    await segment.closed;
    const lost = await gapsOfSegment(disk, segment, known);
    await gaps.append(lost, [segment.number], () => this.#forget(segment));
    const records = lost.reduce((sum, gap) => sum + gap.records, 0);
    onEvent('spool_dropped', `${segment.path}: ${records} records, the oldest of what policy lets go`);
    await this.#remove(segment);
  }

  /** Declares records that are not written at all. */
  declare(gaps: readonly Gap[]): Promise<void> {
    return this.#options.gaps.append(gaps);
  }

  async close(): Promise<void> {
    const open = [...this.#open.values()];
    this.#open.clear();
    for (const segment of open) await segment.close().closed;
    await this.#options.gaps.close();
  }

  #forget(segment: Segment): void {
    this.#closed = this.#closed.filter((other) => other !== segment);
    this.#leaving.delete(segment);
    this.#bytes -= segment.bytes;
    for (const count of segment.tally) this.#inFlight.add(count, -count.records);
  }

  async #remove(segment: Segment): Promise<void> {
    try {
      await this.#options.disk.unlink(segment.path);
    } catch (error) {
      if (systemCode(error) === null) throw error;
      if (systemCode(error) !== 'ENOENT') {
        this.#undead.push(segment); // it is declared: the next drop tries again, or the next start
        return;
      }
    }
    this.#options.gaps.removed(segment.number);
  }

  #waiting(): { readonly number: number; readonly table: TableName; readonly bytes: number }[] {
    const closed = this.#closed.filter((segment) => !this.#leaving.has(segment));
    const open = [...this.#open.values()].filter(({ frames }) => frames > 0);
    return [...closed, ...open.map(({ identity: { number, table }, bytes }) => ({ number, table, bytes }))];
  }
}
