import { SAMPLES, type TableName } from '../core/tables.ts';
import { SEGMENT_ORIGINS_MAX } from './frame.ts';
import type { HeldFrame } from './kafka-frames.ts';
import { SourceTally } from './known-sequences.ts';

export type ShelfOptions = {
  readonly rows_max: number;
  readonly bytes_max: number;
  readonly wait_ms: number;
};

type Queue = { frames: HeldFrame[]; readonly since_ms: number[]; rows: number; bytes: number };

/** Frames read from the topic and not yet handed on, by table, in the order of arrival. */
export class FrameShelf {
  readonly #options: ShelfOptions;
  readonly #tables = new Map<TableName, Queue>();
  readonly tally = new SourceTally();
  bytes = 0;
  frames = 0;

  constructor(options: ShelfOptions) {
    this.#options = options;
  }

  add(frame: HeldFrame, now_ms: number): void {
    const { table, rows } = frame.header;
    let queue = this.#tables.get(table);
    if (queue === undefined) this.#tables.set(table, (queue = { frames: [], since_ms: [], rows: 0, bytes: 0 }));
    queue.frames.push(frame);
    queue.since_ms.push(now_ms);
    queue.rows += rows;
    queue.bytes += frame.body.length;
    this.bytes += frame.body.length;
    this.frames++;
    this.tally.add(frame.header, rows);
  }

  /** The time that the producer gave the oldest frame, null when nothing is held. */
  get oldest_at_ms(): number | null {
    let oldest: number | null = null;
    for (const { frames } of this.#tables.values()) {
      const at_ms = frames[0]?.at_ms ?? Infinity;
      if (oldest === null || at_ms < oldest) oldest = at_ms;
    }
    return oldest;
  }

  /** When the next delivery is due, on the clock of `add`; null when nothing is held. `hurry`: at once. */
  dueAt_ms(hurry: boolean): number | null {
    let due_ms: number | null = null;
    for (const queue of this.#tables.values()) {
      const at_ms = this.#queueDueAt_ms(queue, hurry);
      if (due_ms === null || at_ms < due_ms) due_ms = at_ms;
    }
    return due_ms;
  }

  /** Takes the frames of one delivery out: of the table that waited longest among those due by `now_ms`; null when none is. */
  takeDue(now_ms: number, hurry: boolean): readonly HeldFrame[] | null {
    let oldest: { table: TableName; queue: Queue; since_ms: number } | null = null;
    for (const [table, queue] of this.#tables) {
      if (this.#queueDueAt_ms(queue, hurry) > now_ms) continue;
      const since_ms = queue.since_ms[0] ?? 0;
      if (oldest === null || since_ms < oldest.since_ms) oldest = { table, queue, since_ms };
    }
    return oldest === null ? null : this.#take(oldest.table, oldest.queue);
  }

  /** Drops what was read from partitions that `keep` refuses. */
  retain(keep: (partition: number) => boolean): void {
    const tables = [...this.#tables]; // a copy: adding back changes the map
    for (const [table, queue] of tables) {
      const kept = queue.frames.map((frame, index) => ({ frame, since_ms: queue.since_ms[index] ?? 0 }));
      this.#remove(table, queue, queue.frames.length);
      for (const { frame, since_ms } of kept) if (keep(frame.partition)) this.add(frame, since_ms);
    }
  }

  #queueDueAt_ms(queue: Queue, hurry: boolean): number {
    const { rows_max, bytes_max, wait_ms } = this.#options;
    const full = hurry || queue.rows >= rows_max || queue.bytes >= bytes_max;
    return full ? -Infinity : (queue.since_ms[0] ?? 0) + wait_ms;
  }

  #take(table: TableName, queue: Queue): readonly HeldFrame[] {
    const { rows_max, bytes_max } = this.#options;
    let [count, rows, bytes] = [0, 0, 0];
    for (const { header, body } of queue.frames) {
      if (count > 0 && (rows + header.rows > rows_max || bytes + body.length > bytes_max)) break;
      if (table === SAMPLES && count === SEGMENT_ORIGINS_MAX) break;
      count++;
      rows += header.rows;
      bytes += body.length;
    }
    return this.#remove(table, queue, count);
  }

  #remove(table: TableName, queue: Queue, count: number): readonly HeldFrame[] {
    const removed = queue.frames.splice(0, count);
    queue.since_ms.splice(0, count);
    for (const { header, body } of removed) {
      queue.rows -= header.rows;
      queue.bytes -= body.length;
      this.bytes -= body.length;
      this.frames--;
      this.tally.add(header, -header.rows);
    }
    if (queue.frames.length === 0) this.#tables.delete(table);
    return removed;
  }
}
