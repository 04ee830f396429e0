import { randomBytes } from 'node:crypto';
import type { Clock } from '../core/clock.ts';
import type { Outcome } from '../core/outcome.ts';
import type { Delivery, FrameHeader } from '../core/ports.ts';
import type { AccountReader } from './account.ts';
import {
  countIncoming,
  createIncoming,
  createKnown,
  DROP_INCOMING,
  type IncomingRows,
  insertIncoming,
  ledgerRows,
  loadIncoming,
  structureOf,
} from './delivery-sql.ts';
import type { Blocks, WritingSession } from './engine.ts';
import { FRAMES } from './names.ts';
import { markDirty } from './rollup.ts';

/** Minutes remembered as marked: a week of them. */
const MARKED_MAX = 10_080;

/** A way of making deliveries durable: whole files of one writer, or frame by frame where there are many. */
export interface Insertion {
  insert(delivery: Delivery, signal: AbortSignal): Promise<Outcome>;
}

/** What an insert saw: rows of the blocks, and by lineage those that are duplicates. */
export type Inserted = { readonly found: number; readonly duplicates: ReadonlyMap<string, number> };

type FreshRow = { lineage: string; found: string; fresh: string };

/** Runs `work` with no temporary tables of an insert before or after it. */
export async function withIncoming<Result>(session: WritingSession, work: () => Promise<Result>): Promise<Result> {
  for (const sql of DROP_INCOMING) await session.command(sql);
  const result = await work();
  for (const sql of DROP_INCOMING) await session.command(sql);
  return result;
}

/** Loads everything, compares it with what is stored and inserts what is fresh, unless the engine saw other rows. */
export async function insertAll(session: WritingSession, rows: IncomingRows, blocks: Blocks): Promise<Inserted> {
  const loaded = await loadBlocks(session, rows, blocks);
  const expected = rows.frames.reduce((sum, frame) => sum + frame.rows, 0);
  if (loaded.found === expected)
    await session.command(insertIncoming(rows.table, loaded.duplicates.size === 0 ? 'all' : 'fresh'));
  return loaded;
}

/** Loads rows into the table `incoming` (of samples those of `ids` where given) and counts the duplicates among them. */
export async function loadBlocks(
  session: WritingSession,
  rows: IncomingRows,
  blocks: Blocks,
  ids: readonly bigint[] | null = null,
): Promise<Inserted> {
  const { table } = rows;
  await session.command(createIncoming(table));
  await session.read(blocks, structureOf(rows), (source) => loadIncoming(rows, source, ids));
  await session.command(createKnown(table));
  const counted = await session.rows<FreshRow>(countIncoming(table));
  const found = counted.reduce((sum, row) => sum + Number(row.found), 0);
  const stale = counted.filter((row) => row.found !== row.fresh);
  return { found, duplicates: new Map(stale.map((row) => [row.lineage, Number(row.found) - Number(row.fresh)])) };
}

/** A random mark: 64 bits, so that no two are the same. */
function newMark(): bigint {
  return randomBytes(8).readBigUInt64LE();
}

/** The ledger's writing side: a row a frame, after its rows. */
export class Ledger {
  readonly #account: AccountReader;
  readonly #clock: Clock;
  readonly #isSoleWriter: boolean;
  /** Minutes that this process marked since roll-ups were last computed; only the sole writer can know. */
  readonly #marked = new Set<number>();

  constructor(account: AccountReader, clock: Clock, isSoleWriter: boolean) {
    this.#account = account;
    this.#clock = clock;
    this.#isSoleWriter = isSoleWriter;
  }

  /** Marks the minutes that samples of an insert lie in, for their roll-ups; before `note`. */
  async mark(session: WritingSession, minutes: ReadonlySet<number>): Promise<void> {
    const unmarked = minutes.difference(this.#marked);
    await markDirty(session, unmarked, newMark);
    if (this.#isSoleWriter) for (const minute of unmarked) this.#marked.add(minute);
    if (this.#marked.size > MARKED_MAX) this.forgetMarked();
  }

  /** Told by roll-ups, between writes, before they read the marks: what comes after them is marked anew. */
  forgetMarked(): void {
    this.#marked.clear();
  }

  /** Notes `frames`, of any streams, as stored. */
  async note(
    session: WritingSession,
    frames: readonly FrameHeader[],
    duplicates: Inserted['duplicates'],
  ): Promise<void> {
    await session.insert(FRAMES, ledgerRows(frames, duplicates, this.#clock.now_ms()));
    // asked when they are there: a reading may have begun while they were on their way
    if (frames.some((frame) => this.#account.isPast(frame.lineage))) this.#account.forget();
  }
}
