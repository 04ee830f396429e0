import path from 'node:path';
import { assert } from '../core/assert.ts';
import type { Clock } from '../core/clock.ts';
import { LeewayError, systemCode } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { ok, type Outcome } from '../core/outcome.ts';
import type { Backlog, Batch, Bus, Delivery, Published } from '../core/ports.ts';
import type { TableName } from '../core/tables.ts';
import { encodeParts } from './batch-parts.ts';
import { finishDelivery, readDelivery } from './delivery-file.ts';
import { type SpoolDisk, systemDisk } from './disk.ts';
import { segmentOf } from './frame.ts';
import { KnownSequences, SourceTally } from './known-sequences.ts';
import { recover, type Recovered, segmentFile } from './recovery.ts';
import { OpenSegment, type Part, type Segment } from './segment.ts';

/** What happened beside the normal path, for the log. */
export type SpoolEvent = {
  readonly kind: 'spool_recovered' | 'spool_damaged' | 'spool_quarantined' | 'spool_write_failed' | 'spool_retry';
  readonly reason: string;
};

export type SpoolOptions = {
  readonly data_dir: string;
  /** Bytes of segments on disk and in the queue; beyond them publish answers LW-SPOOL-FULL. */
  readonly bytes_max: number;
  readonly fsync: boolean;
  readonly clock: Clock;
  /** What the store holds already, read before the spool opens. */
  readonly known: {
    readonly sequences: readonly { source: string; epoch: number; from: number; to: number }[];
    readonly lineage_max: bigint;
  };
  readonly onEvent?: (event: SpoolEvent) => void;
  readonly disk?: SpoolDisk;
  /** Age at which a segment closes when the consumer is idle. Behind a busy consumer segments grow instead. */
  readonly close_ms?: number;
  readonly segment_rows_max?: number;
  readonly segment_bytes_max?: number;
};

/** Freshness against statements a second: at 300 ms a busy table costs three inserts a second. */
const CLOSE_MS = 300;
/**
 * After the consumer was busy for t it is left alone for 4 t, so that small segments take at most a fifth of a core:
 * an insert costs the embedded store about 30 ms of CPU however few its rows (ten tables: 0.3 s, then 1.2 s of rest).
 * A backlog of closed segments knows no rest.
 */
const REST_RATIO = 4;
const REST_MS_MAX = 2_000;
/** 200,000 wide rows are about 30 MB of columns, which the store sorts in memory. */
const SEGMENT_ROWS_MAX = 200_000;
const SEGMENT_BYTES_MAX = 48 * 1_048_576;
/** Bytes encoded and not yet written: four bodies of the largest size. */
const QUEUE_BYTES_MAX = 4 * LIMITS.body_bytes_max;
const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 5_000;
/** Head and lineage of a frame, for the quota. */
const FRAME_OVERHEAD_BYTES = 512;

/**
 * The embedded bus: an append-only spool of segment files, one table each, under `data_dir/spool`. Everything that
 * arrives during a write goes into the next one (group commit). Failures: LW-DATA-DIR when the directory is unusable.
 */
export async function openSpool(options: SpoolOptions): Promise<Bus> {
  const directory = path.join(options.data_dir, 'spool');
  const disk = options.disk ?? systemDisk(options.fsync);
  try {
    await disk.makeDirectory(directory);
    const recovered = await recover(disk, directory, options.clock.now_ms());
    return new Spool({ ...options, disk }, directory, recovered);
  } catch (cause) {
    if (systemCode(cause) === null) throw cause;
    throw new LeewayError(
      'LW-DATA-DIR',
      `spool directory ${directory} is not usable (${systemCode(cause)}); ` +
        'expected a directory that this user may write to; set data_dir to one',
      { cause },
    );
  }
}

type Entry = {
  readonly batch: Pick<Batch, 'source' | 'epoch' | 'sequence'>;
  readonly parts: readonly Part[];
  readonly bytes: number;
  readonly settle: (error: unknown) => void;
};

class Spool implements Bus {
  readonly #options: SpoolOptions;
  readonly #directory: string;
  readonly #disk: SpoolDisk;
  readonly #known = new KnownSequences();
  readonly #inFlight = new SourceTally();
  readonly #quarantined = new SourceTally();
  readonly #pending = new Map<string, Promise<void>>();
  readonly #open = new Map<TableName, OpenSegment>();
  readonly #torn_frames: number;
  #closed: Segment[];
  #queue: Entry[] = [];
  #queue_bytes = 0;
  #disk_bytes = 0;
  #damaged_frames: number;
  #next_number: number;
  #writing: Promise<void> | null = null;
  #sealRequested = false;
  #consuming = false;
  #busy_ms = 0;
  #rest_until_ms = 0;
  #disposed = false;
  #wake: () => void = () => undefined;

  constructor(options: SpoolOptions & { readonly disk: SpoolDisk }, directory: string, recovered: Recovered) {
    this.#options = options;
    this.#directory = directory;
    this.#disk = options.disk;
    this.#closed = [...recovered.segments];
    this.#torn_frames = recovered.torn_frames;
    this.#damaged_frames = recovered.damaged_frames;
    this.#next_number = Math.max(recovered.number_max, segmentOf(options.known.lineage_max)) + 1;
    for (const range of options.known.sequences) this.#known.add(range, range.from, range.to);
    this.#known.addComplete([...recovered.headers, ...recovered.rejected]);
    for (const segment of recovered.segments) this.#disk_bytes += segment.bytes;
    for (const header of recovered.headers) this.#inFlight.add(header, header.rows);
    for (const header of recovered.rejected) this.#quarantined.add(header, header.rows);
    const { torn_frames, damaged_frames, segments } = recovered;
    if (segments.length > 0 || torn_frames > 0 || damaged_frames > 0)
      this.#event('spool_recovered', `${segments.length} segments, ${torn_frames} torn, ${damaged_frames} damaged`);
  }

  async publish(batch: Batch, signal: AbortSignal): Promise<Published> {
    signal.throwIfAborted();
    if (this.#disposed) throw new LeewayError('LW-SPOOL-IO', 'the spool is closing; nothing was acknowledged');
    if (this.#known.has(batch, batch.sequence)) return { repeated: true };
    const name = `${batch.epoch} ${batch.sequence} ${batch.source}`;
    const twin = this.#pending.get(name);
    if (twin !== undefined) {
      await twin;
      return { repeated: true };
    }
    const parts = encodeParts(batch);
    let bytes = 0;
    for (const part of parts) bytes += part.body.length + part.rows * 8 + FRAME_OVERHEAD_BYTES;
    this.#assertRoom(bytes);
    const durable = new Promise<void>((resolve, reject) => {
      const settle = (error: unknown): void => (error === null ? resolve() : reject(error));
      this.#queue.push({ batch, parts, bytes, settle });
    });
    this.#queue_bytes += bytes;
    this.#pending.set(name, durable);
    this.#writing ??= this.#write();
    try {
      await durable;
    } finally {
      this.#pending.delete(name);
    }
    return { repeated: false };
  }

  backlog(): Backlog {
    const waiting = [...this.#closed, ...[...this.#open.values()].filter((segment) => segment.frames > 0)];
    let frames = 0;
    let oldest_ms = 0;
    const now_ms = this.#options.clock.now_ms();
    for (const segment of waiting) {
      frames += segment.frames;
      const born_ms = segment instanceof OpenSegment ? segment.identity.born_ms : segment.born_ms;
      oldest_ms = Math.max(oldest_ms, now_ms - born_ms);
    }
    return {
      bytes: this.#disk_bytes + this.#queue_bytes,
      frames,
      oldest_ms,
      in_flight: this.#inFlight.list(),
      torn_frames: this.#torn_frames,
      damaged_frames: this.#damaged_frames,
      quarantined: this.#quarantined.list(),
    };
  }

  async consume(handle: (delivery: Delivery) => Promise<Outcome>, signal: AbortSignal): Promise<void> {
    assert(!this.#consuming, 'one consumer at a time');
    this.#consuming = true;
    let attempts = 0;
    try {
      while (!signal.aborted) {
        const segment = this.#closed[0];
        if (segment === undefined) {
          await this.#waitForSegment(signal);
          continue;
        }
        const started_ms = this.#options.clock.elapsed_ms();
        const outcome = await this.#deliver(segment, handle);
        this.#busy_ms += this.#options.clock.elapsed_ms() - started_ms;
        if (outcome.kind !== 'retry') {
          attempts = 0;
          continue;
        }
        const after_ms = outcome.after_ms ?? Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** Math.min(attempts++, 10));
        this.#event('spool_retry', `${outcome.code} ${outcome.reason}; again in ${after_ms} ms`);
        await this.#options.clock.sleep(after_ms, signal).catch(() => undefined);
      }
    } finally {
      this.#consuming = false;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    while (this.#writing !== null) await this.#writing;
    const open = [...this.#open.values()];
    this.#open.clear();
    for (const segment of open) await segment.close().closed;
  }

  #event(kind: SpoolEvent['kind'], reason: string): void {
    this.#options.onEvent?.({ kind, reason });
  }

  #assertRoom(bytes: number): void {
    const used = this.#disk_bytes + this.#queue_bytes;
    if (used + bytes > this.#options.bytes_max)
      throw new LeewayError(
        'LW-SPOOL-FULL',
        `spool holds ${used} bytes, ${bytes} more would pass its limit of ${this.#options.bytes_max}; ` +
          'nothing was accepted: send again when the store has caught up',
      );
    if (this.#queue_bytes + bytes > QUEUE_BYTES_MAX)
      throw new LeewayError('LW-SPOOL-FULL', `${this.#queue_bytes} bytes wait for the disk; send again later`);
  }

  /** Group commit: one round writes all that is queued, then the next round takes what came meanwhile. */
  async #write(): Promise<void> {
    await Promise.resolve(); // what is published in the same turn shares the first write
    while (this.#queue.length > 0) {
      const entries = this.#queue;
      this.#queue = [];
      const byTable = Map.groupBy(
        entries.flatMap((entry) => entry.parts),
        (part) => part.table,
      );
      const failures = new Map<TableName, unknown>();
      await Promise.all(
        [...byTable].map(async ([table, parts]) => {
          try {
            await this.#append(table, parts);
          } catch (error) {
            failures.set(table, error);
          }
        }),
      );
      for (const entry of entries) this.#settle(entry, failures);
      this.#sealDue();
    }
    this.#writing = null;
    this.#wake();
  }

  #settle(entry: Entry, failures: ReadonlyMap<TableName, unknown>): void {
    this.#queue_bytes -= entry.bytes;
    const failed = entry.parts.find((part) => failures.has(part.table));
    if (failed === undefined) {
      this.#known.add(entry.batch, entry.batch.sequence);
      return entry.settle(null);
    }
    const cause = failures.get(failed.table);
    const code = systemCode(cause) ?? 'unknown failure';
    this.#event('spool_write_failed', `${failed.table}: ${code}`);
    entry.settle(
      new LeewayError('LW-SPOOL-IO', `spool could not be written (${code}); nothing was acknowledged: send again`, {
        cause,
      }),
    );
  }

  async #append(table: TableName, parts: readonly Part[]): Promise<void> {
    for (let from = 0; from < parts.length; ) {
      const segment = await this.#segmentFor(table, parts, from);
      const batch = parts.slice(from, from + segment.room(parts, from));
      const before_bytes = segment.bytes;
      try {
        const headers = await segment.commit(batch);
        for (const header of headers) this.#inFlight.add(header, header.rows);
      } finally {
        this.#disk_bytes += segment.bytes - before_bytes;
      }
      from += batch.length;
    }
  }

  async #segmentFor(table: TableName, parts: readonly Part[], from: number): Promise<OpenSegment> {
    const known = this.#open.get(table);
    if (known !== undefined && !known.failed && known.room(parts, from) > 0) return known;
    if (known !== undefined) this.#seal(table, known);
    const number = this.#next_number++;
    const file = path.join(this.#directory, segmentFile(number, table));
    const { clock } = this.#options;
    const identity = { number, table, path: file, born_ms: clock.now_ms() };
    const segment = new OpenSegment(identity, await this.#disk.create(file), clock.elapsed_ms());
    this.#open.set(table, segment);
    this.#wake();
    return segment;
  }

  #seal(table: TableName, segment: OpenSegment): void {
    this.#open.delete(table);
    this.#closed.push(segment.close());
    this.#closed.sort((a, b) => a.number - b.number);
    this.#wake();
  }

  /** Closes what is full, and what is old enough when the consumer asks. Runs only between writes. */
  #sealDue(): void {
    const { close_ms = CLOSE_MS, segment_rows_max = SEGMENT_ROWS_MAX } = this.#options;
    const bytes_max = this.#options.segment_bytes_max ?? SEGMENT_BYTES_MAX;
    const now_ms = this.#options.clock.elapsed_ms();
    for (const [table, segment] of this.#open) {
      const full = segment.rows >= segment_rows_max || segment.bytes >= bytes_max || segment.failed;
      const due = this.#sealRequested && segment.opened_ms + close_ms <= now_ms;
      if (full || due) this.#seal(table, segment);
    }
    this.#sealRequested = false;
  }

  async #waitForSegment(signal: AbortSignal): Promise<void> {
    const { close_ms = CLOSE_MS, clock } = this.#options;
    if (this.#busy_ms > 0) {
      this.#rest_until_ms = clock.elapsed_ms() + Math.min(REST_MS_MAX, REST_RATIO * this.#busy_ms);
      this.#busy_ms = 0;
    }
    const opened = [...this.#open.values()].map((segment) => segment.opened_ms);
    const due_ms = Math.max(Math.min(...opened) + close_ms, this.#rest_until_ms); // Infinity when none is open
    const wait_ms = due_ms - clock.elapsed_ms();
    if (wait_ms <= 0) {
      this.#sealRequested = true;
      if (this.#writing === null) return this.#sealDue();
      await Promise.race([this.#writing, this.#woken()]);
      return;
    }
    await this.#pause(wait_ms, signal);
  }

  #woken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  /** Waits until the time is over, the signal fires, or the writer has news. */
  async #pause(wait_ms: number, signal: AbortSignal): Promise<void> {
    const over = new AbortController();
    const both = AbortSignal.any([signal, over.signal]);
    const never = new Promise<void>((resolve) => both.addEventListener('abort', () => resolve(), { once: true }));
    const slept = wait_ms === Infinity ? never : this.#options.clock.sleep(wait_ms, both).catch(() => undefined);
    if (!both.aborted) await Promise.race([slept, this.#woken()]);
    over.abort();
  }

  async #deliver(segment: Segment, handle: (delivery: Delivery) => Promise<Outcome>): Promise<Outcome> {
    const read = await readDelivery(this.#disk, segment);
    if ('kind' in read) return read;
    if (read.damaged === 1) {
      this.#damaged_frames++;
      const what = read.segment === null ? 'the file holds nothing' : 'whole frames kept, the damaged file is .bad';
      this.#event('spool_damaged', `${segment.path}: ${what}`);
    }
    const { table, path: file } = segment;
    const rows = read.segment?.rows ?? 0;
    const outcome = rows === 0 ? ok(undefined) : await handle({ table, path: file, rows, frames: read.headers });
    if (outcome.kind === 'retry') return outcome;
    const again = await finishDelivery(this.#disk, segment, outcome);
    if (again !== null) return again;
    if (outcome.kind === 'reject')
      this.#event('spool_quarantined', `${file}.rejected: ${rows} rows; ${outcome.code} ${outcome.reason}`);
    this.#closed = this.#closed.filter((other) => other !== segment);
    this.#disk_bytes -= segment.bytes;
    for (const count of segment.tally) {
      this.#inFlight.add(count, -count.records);
      // what was acknowledged and is not in the file any more, or was rejected whole, is declared
      const held = read.segment?.tally.find((other) => other.source === count.source && other.epoch === count.epoch);
      const lost = outcome.kind === 'reject' ? count.records : Math.max(0, count.records - (held?.records ?? 0));
      this.#quarantined.add(count, lost);
    }
    return outcome;
  }
}
