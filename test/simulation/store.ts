import { systemCode } from '../../src/core/errors.ts';
import { ok, type Outcome, reject, retry } from '../../src/core/outcome.ts';
import type { Delivery, FrameHeader, Store, StoredAccount } from '../../src/core/ports.ts';
import { RangeSet } from '../../src/core/range-set.ts';
import type { SpoolDisk } from '../../src/transport/disk.ts';
import { bodyOf, scanFrames } from '../../src/transport/frame.ts';
import { keysOf } from './rows.ts';
import { Life, type World } from './world.ts';

/** Chances: the answer is lost after the work was done; the work is refused for now. */
export type StoreFaults = { readonly ambiguous: number; readonly refused: number };

type Run = <Result>(what: string, apply: () => Result) => Promise<Result>;
/** How one process reaches the store: what it reads deliveries from, and how its statements get there. */
type Session = {
  readonly life: Life;
  readonly disk: Pick<SpoolDisk, 'read'>;
  readonly run: Run;
  readonly isShared: boolean;
};
type Frame = { readonly header: FrameHeader; readonly keys: readonly string[] };
/** What an insert is going to do: rows that are duplicates by lineage, and the fresh ones with the lineage they get. */
type Plan = { readonly duplicates: ReadonlyMap<bigint, number>; readonly fresh: ReadonlyMap<string, bigint> };

/**
 * A telemetry store reduced to its promises: rows are keyed and the smallest lineage of a key stays, the ledger is written
 * after the rows, both survive everything. Embedded it has one writer and dies with it; as a server it has many, and
 * finishes what a dead one has asked for.
 */
export class SimulatedStore {
  readonly #world: World;
  readonly #server = new Life('store');
  /** Lineage by key. */
  readonly rows = new Map<string, bigint>();
  readonly ledger = new Map<bigint, FrameHeader & { readonly duplicates: number }>();
  /** Keys of rows that no engine can read. */
  readonly poisoned = new Set<string>();
  readonly #underWay = new Map<bigint, Set<Life>>();
  faults: StoreFaults = { ambiguous: 0, refused: 0 };

  constructor(world: World) {
    this.#world = world;
  }

  /** The store in the process `life`, which reads deliveries from `disk`. */
  embedded(life: Life, disk: Pick<SpoolDisk, 'read'>): Store {
    const run: Run = (what, apply) => this.#world.operation(life, what, apply);
    return this.#door({ life, disk, run, isShared: false });
  }

  /** The store as a server that `life` talks to. */
  shared(life: Life, disk: Pick<SpoolDisk, 'read'>): Store {
    const run: Run = (what, apply) => this.#world.request(life, this.#server, what, apply);
    return this.#door({ life, disk, run, isShared: true });
  }

  #door(session: Session): Store {
    const { run } = session;
    return {
      migrate: () => run('migrate', () => undefined),
      insert: (delivery) => this.#insert(session, delivery),
      query: async () => [],
      marks: async () => new Map(),
      account: async () => this.account(),
      sequences: () => run('read sequences', () => this.#sequences()),
      lineageMax: () =>
        run('read lineage', () => [...this.ledger.keys()].reduce((max, one) => (one > max ? one : max), 0n)),
      [Symbol.asyncDispose]: async () => undefined,
    };
  }

  /** As the drivers count it: rows from the rows, the rest from the ledger. */
  account(): StoredAccount[] {
    const totals = new Map<string, { readonly account: StoredAccount; readonly ranges: RangeSet }>();
    for (const { source, epoch, sequence, rows, duplicates } of this.ledger.values()) {
      const name = `${epoch} ${source}`;
      const total = totals.get(name);
      const ranges = total?.ranges ?? new RangeSet();
      ranges.add(sequence, sequence);
      const account = {
        source,
        epoch,
        frame_rows: (total?.account.frame_rows ?? 0) + rows,
        duplicates_absorbed: (total?.account.duplicates_absorbed ?? 0) + duplicates,
        stored: 0,
        sequence_min: ranges.min,
        sequence_max: ranges.max,
        sequences: ranges.count,
        gaps: ranges.gaps,
        late: 0, // nobody asks here
      };
      totals.set(name, { account, ranges });
    }
    const stored = new Map<string, number>();
    for (const lineage of this.rows.values()) {
      const frame = this.ledger.get(lineage);
      if (frame === undefined) continue;
      const name = `${frame.epoch} ${frame.source}`;
      stored.set(name, (stored.get(name) ?? 0) + 1);
    }
    return [...totals].map(([name, total]) => ({ ...total.account, stored: stored.get(name) ?? 0 }));
  }

  async #insert(session: Session, delivery: Delivery): Promise<Outcome> {
    const { life, disk, run } = session;
    let bytes: Buffer;
    try {
      bytes = await disk.read(delivery.path);
    } catch (error) {
      return retry('LW-SPOOL-IO', `the delivery's file: ${systemCode(error)}`);
    }
    if (this.#world.strikes('store_refused', this.faults.refused)) return retry('LW-STORE', 'too many parts');
    const frames = scanFrames(bytes, delivery.table).frames.map((frame) => ({
      header: frame.header,
      keys: keysOf(delivery.table, bodyOf(bytes, frame), frame.header.rows),
    }));
    if (frames.some(({ keys }) => keys.some((key) => this.poisoned.has(key)))) {
      this.#world.count('frame_poisoned');
      return reject('LW-STORE', 'a row cannot be read');
    }
    life.stage = 'inserting';
    this.#begin(life, frames);
    const plan = await run('compare', () => (session.isShared ? this.#planOfFrames(frames) : this.#planOfFile(frames)));
    await run('insert', () => this.#keep(plan));
    life.stage = 'inserted';
    if (this.#world.strikes('store_answer_lost', this.faults.ambiguous, 'insert'))
      return retry('LW-TIMEOUT', 'silence');
    await run('note in the ledger', () => this.#note(frames, plan));
    life.stage = 'noted';
    this.#end(life, frames);
    if (this.#world.strikes('store_answer_lost', this.faults.ambiguous, 'ledger'))
      return retry('LW-TIMEOUT', 'silence');
    const rows = frames.reduce((sum, { header }) => sum + header.rows, 0);
    return rows === delivery.rows ? ok(undefined) : retry('LW-STORE', `${rows} rows of ${delivery.rows}`);
  }

  /** As store/embedded does: of the file's rows those are duplicates that a smaller lineage than its first holds. */
  #planOfFile(frames: readonly Frame[]): Plan {
    const base = frames[0]?.header.lineage ?? 0n;
    return this.#plan(frames, (held) => held < base);
  }

  /** As store/frame-insertion does: a row is known when it is held under a lineage that is not in the delivery. */
  #planOfFrames(frames: readonly Frame[]): Plan {
    const own = new Set(frames.map(({ header }) => header.lineage));
    return this.#plan(frames, (held) => !own.has(held));
  }

  #plan(frames: readonly Frame[], isKnown: (held: bigint) => boolean): Plan {
    const duplicates = new Map<bigint, number>();
    const fresh = new Map<string, bigint>();
    for (const { header, keys } of frames)
      for (const key of keys) {
        const held = this.rows.get(key);
        if (fresh.has(key) || (held !== undefined && isKnown(held)))
          duplicates.set(header.lineage, (duplicates.get(header.lineage) ?? 0) + 1);
        else fresh.set(key, header.lineage);
      }
    return { duplicates, fresh };
  }

  #keep({ fresh, duplicates }: Plan): void {
    if (duplicates.size > 0) this.#world.count('rows_absorbed_as_duplicates');
    for (const [key, lineage] of fresh) {
      const held = this.rows.get(key);
      if (held === undefined || lineage < held) this.rows.set(key, lineage);
    }
  }

  #note(frames: readonly Frame[], { duplicates }: Plan): void {
    if (frames.some(({ header }) => this.ledger.has(header.lineage))) this.#world.count('frame_stored_again');
    for (const { header } of frames)
      this.ledger.set(header.lineage, { ...header, duplicates: duplicates.get(header.lineage) ?? 0 });
  }

  #begin(life: Life, frames: readonly Frame[]): void {
    for (const { header } of frames) {
      const others = [...(this.#underWay.get(header.lineage) ?? [])].filter((other) => other.isAlive && other !== life);
      if (others.length > 0) this.#world.count('frame_inserted_by_two_at_once');
      this.#underWay.set(header.lineage, new Set([...others, life]));
    }
  }

  #end(life: Life, frames: readonly Frame[]): void {
    for (const { header } of frames) this.#underWay.get(header.lineage)?.delete(life);
  }

  #sequences(): { source: string; epoch: number; from: number; to: number }[] {
    const parts = Map.groupBy(this.ledger.values(), ({ source, epoch, sequence }) => `${epoch} ${sequence} ${source}`);
    return [...parts.values()].flatMap((frames) => {
      const [first] = frames;
      if (first === undefined || new Set(frames.map(({ table }) => table)).size < first.parts) return [];
      return [{ source: first.source, epoch: first.epoch, from: first.sequence, to: first.sequence }];
    });
  }
}
