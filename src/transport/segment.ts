import type { FrameHeader } from '../core/ports.ts';
import { SAMPLES, type TableName } from '../core/tables.ts';
import type { SegmentHandle } from './disk.ts';
import { encodeFrame, lineageOf, SEGMENT_FRAMES_MAX, SEGMENT_ORIGINS_MAX } from './frame.ts';
import { type SegmentRecords, SegmentTally } from './known-sequences.ts';

/** Rows of one table of one batch, encoded but for their lineage. */
export type Part = {
  readonly source: string;
  readonly epoch: number;
  readonly sequence: number;
  readonly parts: number;
  readonly table: TableName;
  readonly rows: number;
  readonly body: Buffer;
};

/** A closed or recovered segment, as the spool remembers it: not its frames, so a long backlog stays small. */
export type Segment = {
  readonly number: number;
  readonly table: TableName;
  readonly path: string;
  readonly bytes: number;
  readonly rows: number;
  readonly frames: number;
  /** Records by source and epoch, as they were acknowledged. */
  readonly tally: readonly SegmentRecords[];
  /** Clock time of the first frame, Unix ms. */
  readonly born_ms: number;
  readonly closed: Promise<void>;
};

export type SegmentIdentity = Pick<Segment, 'number' | 'table' | 'path' | 'born_ms'>;

/** The segment that a table's frames go to. Only the spool's writer touches it. */
export class OpenSegment {
  readonly identity: SegmentIdentity;
  readonly opened_ms: number;
  readonly #handle: SegmentHandle;
  readonly #tally = new SegmentTally();
  readonly #origins = new Map<string, number>();
  bytes = 0;
  rows = 0;
  frames = 0;
  /** After a failed write nothing more is appended: what a failed fsync left behind is not known. */
  failed = false;

  constructor(identity: SegmentIdentity, handle: SegmentHandle, opened_ms: number) {
    this.identity = identity;
    this.#handle = handle;
    this.opened_ms = opened_ms;
  }

  get tally(): SegmentRecords[] {
    return this.#tally.list();
  }

  /** How many of `parts`, from `from` on, still fit; 0 when the segment is full. */
  room(parts: readonly Part[], from: number): number {
    const frames = Math.min(parts.length - from, SEGMENT_FRAMES_MAX - this.frames);
    if (this.identity.table !== SAMPLES) return frames;
    const origins = new Set(this.#origins.keys());
    for (let index = 0; index < frames; index++) {
      const part = parts[from + index];
      if (part !== undefined) origins.add(originName(part));
      if (origins.size > SEGMENT_ORIGINS_MAX) return index;
    }
    return frames;
  }

  /** Appends `parts` of `now_ms` in one write and makes them durable; on failure cuts the file back to what was acknowledged. */
  async commit(parts: readonly Part[], now_ms: number): Promise<FrameHeader[]> {
    const headers: FrameHeader[] = [];
    const pieces: Buffer[] = [];
    for (const { body, ...part } of parts) {
      const lineage = lineageOf(this.identity.number, this.frames + headers.length);
      const header = { ...part, lineage, origin: this.#originOf(part) };
      headers.push(header);
      pieces.push(...encodeFrame(header, body));
    }
    try {
      await this.#handle.append(pieces);
      await this.#handle.sync();
    } catch (error) {
      this.failed = true;
      await this.#cutBack();
      throw error;
    }
    for (const piece of pieces) this.bytes += piece.length;
    for (const header of headers) {
      this.rows += header.rows;
      this.#tally.add(header, now_ms);
    }
    this.frames += headers.length;
    return headers;
  }

  close(): Segment {
    const { bytes, rows, frames } = this;
    // everything acknowledged is synced already: a close that fails loses a descriptor, not data
    const closed = this.#handle.close().catch(() => undefined);
    return { ...this.identity, bytes, rows, frames, tally: this.tally, closed };
  }

  #originOf(part: Omit<Part, 'body'>): number {
    if (part.table !== SAMPLES) return 0;
    const name = originName(part);
    const origin = this.#origins.get(name) ?? this.#origins.size;
    this.#origins.set(name, origin);
    return origin;
  }

  async #cutBack(): Promise<void> {
    try {
      await this.#handle.truncate(this.bytes);
    } catch {
      this.failed = true; // the disk refuses that too: the reader stops at the last whole frame instead
    }
  }
}

function originName({ source, epoch }: Omit<Part, 'body'>): string {
  return `${epoch} ${source}`;
}
