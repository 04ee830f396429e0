import { ok, type Outcome, retry } from '../../src/core/outcome.ts';
import type { Delivery, FrameHeader, Store, StoredAccount } from '../../src/core/ports.ts';
import { RangeSet } from '../../src/core/range-set.ts';
import { SAMPLES } from '../../src/core/tables.ts';
import { NativeReader } from '../../src/formats/native.ts';
import type { SpoolDisk } from '../../src/transport/disk.ts';
import { bodyOf, scanFrames } from '../../src/transport/frame.ts';
import type { Life, World } from './world.ts';

/** Chances: the answer is lost after the work was done; the work is refused for now. */
export type StoreFaults = { readonly ambiguous: number; readonly refused: number };

/**
 * A telemetry store reduced to its promises: rows are keyed and the first lineage of a key stays, the ledger is written
 * after the rows, both survive everything. Rows are named by table and record hash, samples by series and time.
 */
export class SimulatedStore {
  readonly #world: World;
  /** Lineage by key. */
  readonly rows = new Map<string, bigint>();
  readonly ledger = new Map<bigint, FrameHeader & { readonly duplicates: number }>();
  faults: StoreFaults = { ambiguous: 0, refused: 0 };

  constructor(world: World) {
    this.#world = world;
  }

  /** The store as one process sees it; `disk` is where that process reads deliveries from. */
  door(life: Life, disk: SpoolDisk): Store {
    return {
      migrate: () => this.#world.operation(life, 'migrate', () => undefined),
      insert: (delivery) => this.#insert(life, disk, delivery),
      query: async () => [],
      account: async () => this.account(),
      sequences: () => this.#world.operation(life, 'sequences', () => this.#sequences()),
      lineageMax: () =>
        this.#world.operation(life, 'lineage', () =>
          [...this.ledger.keys()].reduce((max, one) => (one > max ? one : max), 0n),
        ),
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

  async #insert(life: Life, disk: SpoolDisk, delivery: Delivery): Promise<Outcome> {
    const { table } = delivery;
    const bytes = await disk.read(delivery.path);
    if (this.#world.chance(this.faults.refused)) return retry('LW-STORE', 'too many parts');
    const found = scanFrames(bytes, table).frames;
    const keys = found.map((frame) => keysOf(table, bodyOf(bytes, frame), frame.header.rows));
    const base = found[0]?.header.lineage ?? 0n;
    // as the drivers do: of the delivery's rows those are duplicates that a smaller lineage than its first holds
    const duplicates = keys.map(() => 0);
    const seen = new Set<string>();
    for (const [index, own] of keys.entries())
      for (const key of own) {
        const held = this.rows.get(key);
        if (seen.has(key) || (held !== undefined && held < base)) duplicates[index] = (duplicates[index] ?? 0) + 1;
        seen.add(key);
      }
    const halves = await this.#world.operation(life, 'insert', () => this.#keep(found, keys));
    if (this.#world.chance(this.faults.ambiguous)) return retry('LW-TIMEOUT', 'no answer');
    await this.#world.operation(life, 'ledger', () => {
      for (const [index, { header }] of found.entries())
        this.ledger.set(header.lineage, { ...header, duplicates: duplicates[index] ?? 0 });
    });
    if (this.#world.chance(this.faults.ambiguous)) return retry('LW-TIMEOUT', 'no answer');
    return halves === delivery.rows ? ok(undefined) : retry('LW-STORE', `${halves} rows of ${delivery.rows}`);
  }

  #keep(found: readonly { readonly header: FrameHeader }[], keys: readonly (readonly string[])[]): number {
    let rows = 0;
    for (const [index, { header }] of found.entries())
      for (const key of keys[index] ?? []) {
        rows++;
        const held = this.rows.get(key);
        if (held === undefined || header.lineage < held) this.rows.set(key, header.lineage);
      }
    return rows;
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

/** Names of the rows of one frame. */
function keysOf(table: string, body: Buffer, rows: number): string[] {
  if (table === SAMPLES) {
    // bodyOf leaves out the head of the block: put one in front that the reader of blocks understands
    const at = body.indexOf(Buffer.from('\u0002at', 'latin1'), rows * 8);
    const times = at + 3 + 1 + 'DateTime64(3)'.length;
    return Array.from(
      { length: rows },
      (_, row) => `${body.readBigUInt64LE(row * 8)}@${body.readBigInt64LE(times + row * 8)}`,
    );
  }
  const reader = new NativeReader(body);
  reader.string(64);
  reader.string(64);
  const hashes = reader.raw(rows * 8);
  return Array.from({ length: rows }, (_, row) => `${table}/${hashes?.readBigUInt64LE(row * 8)}`);
}
