import path from 'node:path';
import { assert } from '../core/assert.ts';
import { LeewayError, systemCode } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import type { Outcome } from '../core/outcome.ts';
import type { Backlog, Batch, Bus, Delivery, Published } from '../core/ports.ts';
import type { TableName } from '../core/tables.ts';
import { Turns } from '../core/turns.ts';
import { encodeParts } from './batch-parts.ts';
import { deliverSegments } from './deliver-segments.ts';
import { type Scratch, type SpoolDisk, systemDisk } from './disk.ts';
import { Gathering } from './gathering.ts';
import { segmentOf } from './frame.ts';
import { GapLog } from './gap-log.ts';
import { KnownSequences } from './known-sequences.ts';
import { recover, type Recovered } from './recovery.ts';
import { DiskSpace, isDiskFull } from './disk-space.ts';
import type { Part, Segment } from './segment.ts';
import { type Framed, gapsOfParts, headOf } from './spool-gaps.ts';
import { type Bounds, boundsOf } from './segment-bounds.ts';
import type { SpoolEvent, SpoolOptions } from './spool-options.ts';
import { admit, policiesOf, type SpoolPolicies } from './spool-quota.ts';
import { SpoolShelf } from './spool-shelf.ts';
import { Wake } from './wake.ts';

/**
 * After the consumer was busy for t it is left alone for 4 t, so that small segments take at most a fifth of a core:
 * an insert costs the embedded store about 30 ms of CPU however few its rows (ten tables: 0.3 s, then 1.2 s of rest).
 * A backlog of closed segments knows no rest.
 */
const REST_RATIO = 4;
const REST_MS_MAX = 2_000;
/** Bytes encoded and not yet written: four bodies of the largest size. */
const QUEUE_BYTES_MAX = 4 * LIMITS.body_bytes_max;
const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 5_000;
/** Head and lineage of a frame, for the quota. */
const FRAME_OVERHEAD_BYTES = 512;

/**
 * The embedded bus: an append-only spool of segment files, one table each, under `data_dir/spool`. Everything that
 * arrives during a write goes into the next one (group commit). Failures: LW-DATA-DIR when the directory is unusable,
 * LW-FRAME-VERSION when a newer version wrote into it.
 */
export async function openSpool(options: SpoolOptions): Promise<Bus> {
  const directory = path.join(options.data_dir, 'spool');
  const disk = options.disk ?? systemDisk(options.fsync);
  try {
    await disk.makeDirectory(directory);
    const gaps = await GapLog.open(disk, directory); // first: what was dropped is not read any more
    const recovered = await recover(disk, directory, options.clock.now_ms());
    return new Spool({ ...options, disk }, { directory, gaps, recovered });
  } catch (cause) {
    if (cause instanceof LeewayError || systemCode(cause) === null) throw cause;
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
  /** Parts that are declared instead of written: without their bodies, which count for no limit. */
  readonly shed: readonly Framed[];
  /** Of `parts`. */
  readonly bytes: number;
  /** It found the disk full before. */
  readonly again: boolean;
  readonly settle: (error: unknown) => void;
};

type Found = { readonly directory: string; readonly gaps: GapLog; readonly recovered: Recovered };

class Spool implements Bus {
  readonly #options: SpoolOptions;
  readonly #disk: SpoolDisk;
  readonly #policies: SpoolPolicies;
  readonly #boundsOf: (table: TableName) => Bounds;
  readonly #known = new KnownSequences();
  readonly #pending = new Map<string, Promise<void>>();
  readonly #shelf: SpoolShelf;
  readonly #space: DiskSpace;
  readonly #wake: Wake;
  readonly #gathering: Gathering;
  /** What a delivery is read into: one after another. */
  readonly #scratch: Scratch = { bytes: Buffer.alloc(0) };
  readonly #torn_frames: number;
  #queue: Entry[] = [];
  #queue_bytes = 0;
  #damaged_frames: number;
  #writing: Promise<void> | null = null;
  #sealRequested = false;
  readonly #turns = new Turns();
  #consuming = false;
  #busy_ms = 0;
  #rest_until_ms = 0;
  #disposed = false;

  constructor(options: SpoolOptions & { readonly disk: SpoolDisk }, { directory, gaps, recovered }: Found) {
    const { disk, clock, known, reserve_bytes = 0 } = options;
    this.#options = options;
    this.#disk = disk;
    this.#policies = policiesOf(options.policy ?? 'block', options.policies);
    this.#boundsOf = (table) => boundsOf(table, options);
    this.#wake = new Wake(clock);
    this.#gathering = new Gathering(clock);
    this.#torn_frames = recovered.torn_frames;
    this.#damaged_frames = recovered.damaged_frames;
    for (const range of known.sequences) this.#known.add(range, range.from, range.to);
    this.#known.addComplete([...recovered.headers, ...recovered.rejected]);
    for (const gap of gaps.list())
      if (gap.acknowledged) for (const [from, to] of gap.ranges) this.#known.add(gap, from, to);
    this.#shelf = new SpoolShelf({
      disk,
      directory,
      clock,
      recovered,
      gaps,
      known: this.#known,
      policies: this.#policies,
      next_number: Math.max(recovered.number_max, gaps.segment_max, segmentOf(known.lineage_max)) + 1,
      onChange: () => this.#wake.now(),
      onEvent: (kind, reason) => this.#event(kind, reason),
    });
    const { torn_frames, damaged_frames, segments } = recovered;
    if (segments.length > 0 || torn_frames > 0 || damaged_frames > 0)
      this.#event('spool_recovered', `${segments.length} segments, ${torn_frames} torn, ${damaged_frames} damaged`);
    const onEvent = (kind: SpoolEvent['kind'], reason: string): void => this.#event(kind, reason);
    const usedBytes = (): number => this.#shelf.bytes;
    this.#space = new DiskSpace({ disk, directory, clock, reserve_bytes, usedBytes, onEvent });
    this.#space.restore();
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
    const durable = Promise.withResolvers<void>();
    const settle = (error: unknown): void => (error === null ? durable.resolve() : durable.reject(error));
    this.#enqueue({ batch, parts: encodeParts(batch), shed: [], bytes: 0, again: false, settle });
    this.#pending.set(name, durable.promise);
    this.#writing ??= this.#write();
    try {
      await durable.promise;
    } finally {
      this.#pending.delete(name);
    }
    return { repeated: false };
  }

  backlog(): Backlog {
    const shelf = this.#shelf.backlog(this.#options.clock.now_ms());
    const bytes = shelf.bytes + this.#queue_bytes;
    return { ...shelf, bytes, torn_frames: this.#torn_frames, damaged_frames: this.#damaged_frames };
  }

  async consume(handle: (delivery: Delivery) => Promise<Outcome>, signal: AbortSignal): Promise<void> {
    assert(!this.#consuming, 'one consumer at a time');
    this.#consuming = true;
    let attempts = 0;
    try {
      while (!signal.aborted) {
        this.#space.restore();
        const segments = this.#shelf.take();
        if (segments.length === 0) {
          await this.#waitForSegment(signal);
          continue;
        }
        const started_ms = this.#options.clock.elapsed_ms();
        const outcome = await this.#turns
          .alone(() => this.#deliver(segments, handle))
          .finally(() => this.#shelf.letGo(segments));
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

  betweenDeliveries<T>(look: () => Promise<T>, signal: AbortSignal): Promise<T> {
    return this.#turns.together(look, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    while (this.#writing !== null) await this.#writing;
    await this.#space.close();
    await this.#shelf.close();
  }

  #event(kind: SpoolEvent['kind'], reason: string): void {
    this.#options.onEvent?.({ kind, reason });
  }

  /** What segments and queue may take. */
  get #bytes_max(): number {
    return Math.min(this.#options.bytes_max, this.#space.bytes_max);
  }

  /** Puts a batch into the queue, without what policy sheds of it. Throws LW-SPOOL-FULL: nothing of it was taken. */
  #enqueue(entry: Entry): void {
    const sized = entry.parts.map((part) => ({ table: part.table, bytes: bytesOf(part), part }));
    const bytes = sized.reduce((sum, part) => sum + part.bytes, 0);
    const used = this.#shelf.bytes + this.#queue_bytes;
    const space = { over_bytes: used + bytes - this.#bytes_max, droppable_bytes: this.#shelf.droppable_bytes };
    const admission = admit(sized, space, this.#policies);
    if (admission.kind === 'refuse') {
      this.#space.restore();
      throw this.#full(bytes);
    }
    const kept = sized.filter(({ table }) => !admission.shed.has(table));
    const kept_bytes = kept.reduce((sum, part) => sum + part.bytes, 0);
    if (this.#queue_bytes + kept_bytes > QUEUE_BYTES_MAX)
      throw new LeewayError('LW-SPOOL-FULL', `${this.#queue_bytes} bytes wait for the disk; send again later`);
    const shed = sized.filter(({ table }) => admission.shed.has(table)).map(({ part }) => headOf(part));
    const parts = kept.map(({ part }) => part);
    this.#queue.push({ ...entry, parts, shed: [...entry.shed, ...shed], bytes: kept_bytes });
    this.#queue_bytes += kept_bytes;
    this.#gathering.came(this.#queue.length);
  }

  #full(bytes: number): LeewayError {
    const used = this.#shelf.bytes + this.#queue_bytes;
    const why = this.#space.isFull
      ? `the disk is full: spool holds ${used} bytes and takes no more than that until there is room for its reserve again`
      : `spool holds ${used} bytes, ${bytes} more would pass its limit of ${this.#options.bytes_max}`;
    return new LeewayError('LW-SPOOL-FULL', `${why}; nothing was accepted: send again when the store has caught up`);
  }

  /** Group commit: one round writes all that is queued, then the next round takes what came meanwhile. */
  async #write(): Promise<void> {
    await Promise.resolve(); // what is published in the same turn shares the first write
    while (this.#queue.length > 0) {
      await this.#gathering.wait(() => this.#queue.length);
      const entries = this.#queue;
      this.#queue = [];
      await this.#makeRoom(entries);
      const byTable = Map.groupBy(
        entries.flatMap((entry) => entry.parts),
        (part) => part.table,
      );
      const failures = new Map<TableName, unknown>();
      await Promise.all(
        [...byTable].map(async ([table, parts]) => {
          try {
            await this.#shelf.append(table, parts);
          } catch (error) {
            failures.set(table, error);
          }
        }),
      );
      if ([...failures.values()].some(isDiskFull)) await this.#space.give();
      const undeclared = await this.#declare(entries.filter((entry) => failedOf(entry, failures) === undefined));
      for (const entry of entries) this.#settle(entry, failures, undeclared);
      this.#sealDue();
    }
    this.#writing = null;
  }

  /** Drops what policy lets go until these entries fit; what then still does not, the latest first, is refused. */
  async #makeRoom(entries: Entry[]): Promise<void> {
    const over = (): number => this.#shelf.bytes + entries.reduce((sum, { bytes }) => sum + bytes, 0) - this.#bytes_max;
    if (over() > 0) await this.#drop(over);
    while (over() > 0) {
      const last = entries.findLastIndex(({ bytes }) => bytes > 0);
      const [refused] = last === -1 ? [] : entries.splice(last, 1);
      if (refused === undefined) return;
      this.#queue_bytes -= refused.bytes;
      refused.settle(this.#full(refused.bytes));
    }
  }

  async #drop(over: () => number): Promise<void> {
    try {
      await this.#shelf.drop(over());
    } catch (error) {
      const code = systemCode(error);
      if (code === null) throw error;
      this.#event('spool_write_failed', `gaps: ${code}`);
      if (isDiskFull(error) && (await this.#space.give())) await this.#drop(over);
    }
  }

  /** Declares what the entries shed, in one write; returns why that failed, null when all is durable. */
  async #declare(entries: readonly Entry[]): Promise<unknown> {
    const shed = entries.flatMap((entry) => entry.shed);
    if (shed.length === 0) return null;
    const gaps = gapsOfParts(shed);
    try {
      await this.#shelf.declare(gaps);
      return null;
    } catch (error) {
      if (!isDiskFull(error) || !(await this.#space.give())) return error;
      return this.#shelf.declare(gaps).then(
        () => null,
        (again: unknown) => again,
      );
    }
  }

  #settle(entry: Entry, failures: ReadonlyMap<TableName, unknown>, undeclared: unknown): void {
    this.#queue_bytes -= entry.bytes;
    const failed = failedOf(entry, failures);
    const cause = failed === undefined ? (entry.shed.length > 0 ? undeclared : null) : failures.get(failed.table);
    if (cause === null) {
      this.#known.add(entry.batch, entry.batch.sequence);
      return entry.settle(null);
    }
    const code = systemCode(cause) ?? 'unknown failure';
    this.#event('spool_write_failed', `${failed?.table ?? 'gaps'}: ${code}`);
    if (isDiskFull(cause) && !entry.again && this.#tryAgain(entry, failures)) return;
    entry.settle(
      new LeewayError('LW-SPOOL-IO', `spool could not be written (${code}); nothing was acknowledged: send again`, {
        cause,
      }),
    );
  }

  /** What a full disk did not take is queued once more where policy makes room for it, or lets it go. */
  #tryAgain(entry: Entry, failures: ReadonlyMap<TableName, unknown>): boolean {
    if (!this.#space.isFull) return false;
    const parts = entry.parts.filter(({ table }) => failures.has(table));
    try {
      this.#enqueue({ ...entry, parts, again: true });
      return true;
    } catch (error) {
      if (error instanceof LeewayError) return false; // its policy is to refuse
      throw error;
    }
  }

  #sealDue(): void {
    this.#shelf.sealDue(this.#boundsOf, this.#sealRequested);
    this.#sealRequested = false;
  }

  async #waitForSegment(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    if (this.#busy_ms > 0) {
      this.#rest_until_ms = clock.elapsed_ms() + Math.min(REST_MS_MAX, REST_RATIO * this.#busy_ms);
      this.#busy_ms = 0;
    }
    const due_ms = Math.max(this.#shelf.dueMs(this.#boundsOf), this.#rest_until_ms); // Infinity when none is open
    const wait_ms = due_ms - clock.elapsed_ms();
    if (wait_ms <= 0) {
      this.#sealRequested = true;
      if (this.#writing === null) return this.#sealDue();
      await Promise.race([this.#writing, this.#wake.news()]);
      return;
    }
    await this.#wake.within(Math.min(wait_ms, this.#space.look_ms), signal);
  }

  #deliver(segments: readonly Segment[], handle: (delivery: Delivery) => Promise<Outcome>): Promise<Outcome> {
    const onEvent = (kind: 'spool_damaged' | 'spool_quarantined', reason: string): void => {
      if (kind === 'spool_damaged') this.#damaged_frames++;
      this.#event(kind, reason);
    };
    const place = { disk: this.#disk, shelf: this.#shelf, scratch: this.#scratch, onEvent };
    return deliverSegments(place, segments, (delivery) => {
      this.#shelf.handOver(segments);
      return handle(delivery);
    });
  }
}

function bytesOf(part: Part): number {
  return part.body.length + part.rows * 8 + FRAME_OVERHEAD_BYTES;
}

function failedOf(entry: Entry, failures: ReadonlyMap<TableName, unknown>): Part | undefined {
  return entry.parts.find((part) => failures.has(part.table));
}
