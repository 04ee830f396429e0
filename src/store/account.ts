import type { Clock } from '../core/clock.ts';
import { streamOf } from '../core/lineage.ts';
import type { QueryParameters, StoredAccount } from '../core/ports.ts';
import { TABLE_NAMES, type TableName } from '../core/tables.ts';
import { EXPIRED_ROWS } from './expire.ts';
import {
  beforeStream,
  ledgerChunk,
  ledgerCount,
  ledgerLate,
  ledgerSequences,
  ledgerSums,
  newestLineages,
  PART_LISTS,
  type Stretch,
} from './ledger-sql.ts';
import {
  type LateRow,
  type LedgerRows,
  type LedgerTotal,
  LedgerTotals,
  nameOf,
  type SequenceRow,
  type SumRow,
} from './ledger-totals.ts';
import { countStored } from './stored-rows.ts';

type Select = <Row>(sql: string, parameters: QueryParameters) => Promise<Row[]>;
type NewestRow = { lineage: string; tail: string; late: string };
type PartListRow = { table: string; partition: string; parts: string };
type ExpiredRow = { source: string; epoch: string; place: string; expired: string };

/** What one month of one table holds, by source and epoch, while its list of parts is `parts`. */
type Counted = { readonly parts: string; readonly stored: readonly (readonly [name: string, rows: number])[] };

/** One source and epoch when the rows were last counted: what they said, and what the ledger said. */
type Count = { readonly stored: number; readonly ledger: number };

/** A reading of the ledger: its totals, as of these lineages; `tail` is what may still change below them. */
type Reading = {
  readonly totals: LedgerTotals;
  readonly asOf: readonly bigint[];
  readonly tail: readonly Stretch[];
  readonly tail_frames: number;
  /** False: the ledger changed behind what was read before all of it was. */
  readonly isWhole: boolean;
};

/** Frames of the ledger read at once: about 0.3 s and 0.2 GB of the engine. */
const CHUNK_FRAMES = 1_000_000;
/** Streams read by one statement: 60 characters of its text each. */
const STREAMS_A_STATEMENT_MAX = 500;
/** Groups asked about by one statement: 128 characters of a source's name and as many of the rest. */
const GROUPS_A_STATEMENT_MAX = 200;
/** Counting that takes longer than this is not done at every reading … */
const COUNT_MS_MAX = 150;
/** … but takes at most a twentieth of the time. */
const COUNT_SHARE = 20;

/** Readings of one account before one is taken that others wrote into meanwhile. */
const READINGS_MAX = 5;

export type AccountOptions = {
  readonly chunk_frames?: number;
  /** Frames that a statement joins with the rows it counts; default in stored-rows.ts. */
  readonly count_frames?: number | undefined;
  /**
   * Several processes write, each stream's frames not quite in order (a batch has one a table): what was written in this
   * time is read anew each time. Default 0: this process alone writes, and says by `isPast` when it wrote behind.
   */
  readonly tail_ms?: number;
};

/**
 * The account by source and epoch, all of it as of one lineage a stream, however many inserts run meanwhile. The ledger is
 * read from where the last reading ended, each stream from its own watermark. Rows are counted from the tables themselves;
 * a month whose parts are the same as last time is not counted again, because parts never change. Where counting is slow
 * (tens of millions of rows a month) frames since the last count enter by the ledger's word until the next one.
 */
export class AccountReader {
  readonly #select: Select;
  readonly #clock: Clock;
  readonly #chunk_frames: number;
  readonly #count_frames: number | undefined;
  readonly #tail_ms: number;
  #settled = new LedgerTotals();
  #watermarks = new Map<number, bigint>();
  /** Where the reading under way goes to, by stream; what comes below after it began may be missing in it. */
  #targets = new Map<number, bigint>();
  #counted = new Map<string, Counted>();
  #counts = new Map<string, Count>();
  /** What retention had dropped by the end of the last count; null before the first. */
  #expired: readonly ExpiredRow[] | null = null;
  #count_ms = 0;
  #looked_at_ms: number | null = null;
  #counted_at_ms = -Infinity;
  #reading: Promise<StoredAccount[]> | null = null;

  constructor(select: Select, clock: Clock, options: AccountOptions = {}) {
    const { chunk_frames = CHUNK_FRAMES, count_frames, tail_ms = 0 } = options;
    this.#select = select;
    this.#clock = clock;
    this.#chunk_frames = chunk_frames;
    this.#count_frames = count_frames;
    this.#tail_ms = tail_ms;
  }

  /** Callers that come while a reading runs share its result. */
  read(): Promise<StoredAccount[]> {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = null;
    });
    return this.#reading;
  }

  /** Whether a frame of this lineage comes behind what was read of the ledger, or is being read: a replay or a late segment. */
  isPast(lineage: bigint): boolean {
    const stream = streamOf(lineage);
    return lineage <= this.#watermark(stream) || lineage <= (this.#targets.get(stream) ?? -1n);
  }

  /** Reads everything anew the next time: the ledger changed behind what was read. */
  forget(): void {
    this.#settled = new LedgerTotals();
    this.#watermarks = new Map();
    this.#targets = new Map();
    this.#counted_at_ms = -Infinity;
  }

  async #read(): Promise<StoredAccount[]> {
    for (let time = 1; ; time++) {
      const settled = this.#settled;
      const reading = await this.#readLedger(settled);
      const due_ms = this.#counted_at_ms + (this.#count_ms > COUNT_MS_MAX ? COUNT_SHARE * this.#count_ms : 0);
      const isCounted = this.#clock.elapsed_ms() >= due_ms;
      const counts = this.#counts;
      if (isCounted) await this.#count(reading.totals, reading.asOf);
      const isSure = settled === this.#settled && (await this.#isUnchanged(reading));
      // what was counted may hold rows of frames that these totals lack: where others never rest, the ledger's word since
      // the last count that was sure has to do
      if (isCounted && !isSure) {
        this.#counts = counts;
        this.#counted_at_ms = -Infinity;
      }
      // frames behind the watermarks were written meanwhile, or beside them: read again
      if (!reading.isWhole || (time < READINGS_MAX && !isSure)) continue;
      return Array.from(reading.totals.entries, ([name, total]) => accountOf(total, this.#counts.get(name)));
    }
  }

  async #readLedger(settled: LedgerTotals): Promise<Reading> {
    const rows = await this.#newest();
    if (rows.some(({ late }) => late !== '0' && this.isPast(BigInt(late)))) {
      this.forget();
      return this.#readLedger(this.#settled);
    }
    const news = rows.map(({ lineage, tail }) => ({ upto: BigInt(lineage), tail: BigInt(tail) }));
    // with a tail, what comes below is looked for instead
    if (this.#tail_ms === 0) this.#targets = new Map(news.map(({ upto }) => [streamOf(upto), upto]));
    const ends = news.map(({ upto, tail }) => (tail === 0n ? upto : tail - 1n));
    for (;;) {
      const unread = this.#unread(ends);
      if (unread.length === 0 || settled !== this.#settled) break;
      await this.#readChunk(settled, unread);
    }
    const tail = this.#unread(news.map(({ upto }) => upto));
    // a chunk may end above what was the newest a moment ago
    const asOf = new Map([...this.#watermarks, ...tail.map(({ upto }) => [streamOf(upto), upto] as const)]);
    const tail_frames = tail.length === 0 ? 0 : await this.#frames(tail);
    const totals = tail.length === 0 ? settled : settled.with(await this.#rows(settled, tail));
    return { totals, asOf: [...asOf.values()], tail, tail_frames, isWhole: settled === this.#settled };
  }

  /**
   * Who reads seldom must look further back for what was written behind its watermarks: to the last look and half a tail
   * before it. Not to a whole tail: where that ended depends on how long the statement took.
   */
  async #newest(): Promise<NewestRow[]> {
    const now_ms = this.#clock.elapsed_ms();
    const since_ms = this.#tail_ms / 2 + now_ms - (this.#looked_at_ms ?? now_ms);
    const rows = await this.#select<NewestRow>(newestLineages(this.#tail_ms, this.#tail_ms === 0 ? 0 : since_ms), {});
    this.#looked_at_ms = now_ms;
    return rows;
  }

  #watermark(stream: number): bigint {
    return this.#watermarks.get(stream) ?? beforeStream(stream);
  }

  /** What lies between the watermarks and `ends`, of as many streams as a statement takes. */
  #unread(ends: readonly bigint[]): Stretch[] {
    return ends
      .map((upto) => ({ after: this.#watermark(streamOf(upto)), upto }))
      .filter(({ after, upto }) => upto > after)
      .slice(0, STREAMS_A_STATEMENT_MAX);
  }

  /** Reads on in the ledger; nothing is taken in until all of the chunk is there. */
  async #readChunk(settled: LedgerTotals, stretches: readonly Stretch[]): Promise<void> {
    const ends = await this.#select<{ lineage: string }>(ledgerChunk(stretches, this.#chunk_frames), {});
    const read = this.#unread(ends.map((row) => BigInt(row.lineage)));
    if (read.length === 0) {
      // a stretch without frames: the tail began where the stream was read to
      for (const { upto } of stretches) this.#watermarks.set(streamOf(upto), upto);
      return;
    }
    const rows = await this.#rows(settled, read);
    if (settled !== this.#settled) return;
    for (const { upto } of read) this.#watermarks.set(streamOf(upto), upto);
    settled.add(rows);
  }

  /** What `stretches` hold, which follow on what is in `before`. */
  async #rows(before: LedgerTotals, stretches: readonly Stretch[]): Promise<LedgerRows> {
    const sums = await this.#select<SumRow>(ledgerSums(stretches), {});
    const behind = before.behind(sums);
    const late: LateRow[] = [];
    for (let from = 0; from < behind.length; from += GROUPS_A_STATEMENT_MAX) {
      const some = behind.slice(from, from + GROUPS_A_STATEMENT_MAX);
      for (const row of await this.#select<LateRow>(ledgerLate(stretches, some), {})) late.push(row);
    }
    const sequences = await this.#select<SequenceRow>(ledgerSequences(stretches), {});
    return { sums, late, sequences };
  }

  async #frames(stretches: readonly Stretch[]): Promise<number> {
    const [row] = await this.#select<{ frames: string }>(ledgerCount(stretches), {});
    return Number(row?.frames);
  }

  /** Whether others have written neither into the tail nor behind the watermarks since it was read. */
  async #isUnchanged({ tail, tail_frames }: Reading): Promise<boolean> {
    if (this.#tail_ms === 0) return true;
    if (tail.length > 0 && (await this.#frames(tail)) !== tail_frames) return false;
    if (!(await this.#newest()).some(({ late }) => late !== '0' && this.isPast(BigInt(late)))) return true;
    this.forget();
    return false;
  }

  async #count(totals: LedgerTotals, asOf: readonly bigint[]): Promise<void> {
    const started_ms = this.#clock.elapsed_ms();
    const stored = await this.#recountBesideRetention(asOf);
    for (const counted of this.#counted.values())
      for (const [name, rows] of counted.stored) stored.set(name, (stored.get(name) ?? 0) + rows);
    this.#counts = new Map(
      Array.from(totals.entries, ([name, total]) => [name, { stored: stored.get(name) ?? 0, ledger: ledgerOf(total) }]),
    );
    this.#counted_at_ms = this.#clock.elapsed_ms();
    this.#count_ms = this.#counted_at_ms - started_ms;
  }

  /**
   * Counts rows while retention drops nothing of them, and answers by source and epoch those that it dropped before: of
   * passes that are not done those whose partition is gone.
   */
  async #recountBesideRetention(asOf: readonly bigint[]): Promise<Map<string, number>> {
    let before = this.#expired ?? (await this.#select<ExpiredRow>(EXPIRED_ROWS, {}));
    for (let time = 1; ; time++) {
      await this.#recount(asOf);
      const rows = await this.#select<ExpiredRow>(EXPIRED_ROWS, {});
      const isSteady = JSON.stringify(rows) === JSON.stringify(before) && !(await this.#isDropped(rows));
      this.#expired = before = rows;
      if (!isSteady && time < READINGS_MAX) continue;
      const gone = rows.filter(({ place }) => !this.#counted.has(place));
      const expired = new Map<string, number>();
      for (const row of gone) expired.set(nameOf(row), (expired.get(nameOf(row)) ?? 0) + Number(row.expired));
      return expired;
    }
  }

  /** Whether a partition that was counted is gone, of a pass that is not done. */
  async #isDropped(expired: readonly ExpiredRow[]): Promise<boolean> {
    const open = new Set(expired.map(({ place }) => place).filter((place) => this.#counted.has(place)));
    if (open.size === 0) return false;
    const parts = await this.#select<PartListRow>(PART_LISTS, {});
    return open.difference(new Set(parts.map(({ table, partition }) => `${table} ${partition}`))).size > 0;
  }

  async #recount(asOf: readonly bigint[]): Promise<void> {
    const counted = new Map<string, Counted>();
    const stale: { table: TableName; partition: string; parts: string }[] = [];
    for (const { table: name, partition, parts } of await this.#select<PartListRow>(PART_LISTS, {})) {
      const table = TABLE_NAMES.find((type) => type === name);
      if (table === undefined) continue;
      const before = this.#counted.get(`${table} ${partition}`);
      if (before?.parts === parts) counted.set(`${table} ${partition}`, before);
      else stale.push({ table, partition, parts });
    }
    const select = <Row>(sql: string): Promise<Row[]> => this.#select<Row>(sql, {});
    const options = { watermarks: asOf, frames_a_statement: this.#count_frames };
    const rows = Map.groupBy(await countStored(select, stale, options), (row) => `${row.table} ${row.partition}`);
    for (const { table, partition, parts } of stale) {
      const own = rows.get(`${table} ${partition}`) ?? [];
      // rows whose frames are not in the ledger yet will be counted when they are: their parts stay the same
      const complete = own.every((row) => row.known === 1);
      const stored = own.filter((row) => row.known === 1).map((row) => [nameOf(row), row.stored] as const);
      counted.set(`${table} ${partition}`, { parts: complete ? parts : '', stored });
    }
    this.#counted = counted;
  }
}

function ledgerOf({ frame_rows, duplicates_absorbed }: LedgerTotal): number {
  return frame_rows - duplicates_absorbed;
}

function accountOf(total: LedgerTotal, count: Count = { stored: 0, ledger: 0 }): StoredAccount {
  const { source, epoch, frame_rows, duplicates_absorbed, late, sequences } = total;
  return {
    source,
    epoch,
    frame_rows,
    duplicates_absorbed,
    stored: count.stored + ledgerOf(total) - count.ledger,
    sequence_min: sequences.min,
    sequence_max: sequences.max,
    sequences: sequences.count,
    gaps: sequences.gaps,
    late,
  };
}
