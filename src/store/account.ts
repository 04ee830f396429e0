import type { Clock } from '../core/clock.ts';
import type { QueryParameters, StoredAccount } from '../core/ports.ts';
import { RangeSet } from '../core/range-set.ts';
import { TABLE_NAMES, type TableName } from '../core/tables.ts';
import { LEDGER_CHUNK, LEDGER_SEQUENCES, LEDGER_SUMS, LINEAGE_MAX, PART_LISTS, storedRows } from './ledger-sql.ts';

type Select = <Row>(sql: string, parameters: QueryParameters) => Promise<Row[]>;
type PartListRow = { table: string; partition: string; parts: string };
type StoredRow = { table: string; partition: string; source: string; epoch: string; known: number; stored: string };
type SumRow = { source: string; epoch: string; frame_rows: string; duplicates_absorbed: string };
type SequenceRow = { source: string; epoch: string; from: string; to: string };

/** What one month of one table holds, by source and epoch, while its list of parts is `parts`. */
type Counted = { readonly parts: string; readonly stored: readonly (readonly [name: string, rows: number])[] };

/** One source and epoch: what the ledger says up to the watermark, and what the rows said when last counted. */
type Total = {
  readonly source: string;
  readonly epoch: number;
  frame_rows: number;
  duplicates_absorbed: number;
  /** Rows that the ledger added since the rows were counted. */
  added: number;
  counted: number;
  readonly sequences: RangeSet;
};

/** Frames of the ledger read at once: about 0.3 s and 0.2 GB of the engine. */
const CHUNK_FRAMES = 1_000_000;
/** Partitions counted by one statement: each one is a branch of its plan. */
const PARTITIONS_A_STATEMENT_MAX = 40;
/** Counting that takes longer than this is not done at every reading … */
const COUNT_MS_MAX = 150;
/** … but takes at most a twentieth of the time. */
const COUNT_SHARE = 20;

/**
 * The account by source and epoch, all of it as of one lineage, however many inserts run meanwhile. The ledger is read
 * from where the last reading ended. Rows are counted from the tables themselves; a month whose parts are the same as
 * last time is not counted again, because parts never change. Where counting is slow (tens of millions of rows a
 * month) frames since the last count enter by the ledger's word until the next one.
 */
export class AccountReader {
  readonly #select: Select;
  readonly #clock: Clock;
  readonly #chunk_frames: number;
  #totals = new Map<string, Total>();
  #watermark = 0n;
  #counted = new Map<string, Counted>();
  #count_ms = 0;
  #counted_at_ms = -Infinity;
  #reading: Promise<StoredAccount[]> | null = null;

  constructor(select: Select, clock: Clock, chunk_frames = CHUNK_FRAMES) {
    this.#select = select;
    this.#clock = clock;
    this.#chunk_frames = chunk_frames;
  }

  /** Callers that come while a reading runs share its result. */
  read(): Promise<StoredAccount[]> {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = null;
    });
    return this.#reading;
  }

  /** Whether a frame of this lineage would come behind what was read of the ledger: a replay or a late segment. */
  isPast(lineage: bigint): boolean {
    return lineage <= this.#watermark;
  }

  /** Reads everything anew the next time: the ledger changed behind what was read. */
  forget(): void {
    this.#totals = new Map();
    this.#watermark = 0n;
    this.#counted_at_ms = -Infinity;
  }

  async #read(): Promise<StoredAccount[]> {
    const totals = this.#totals;
    const [newest] = await this.#select<{ lineage: string }>(LINEAGE_MAX, {});
    const upto = BigInt(newest?.lineage ?? 0);
    while (upto > this.#watermark && totals === this.#totals) await this.#readChunk(totals);
    // a chunk may end above what was the newest a moment ago: everything is as of the watermark
    const asOf = this.#watermark;
    const due_ms = this.#counted_at_ms + (this.#count_ms > COUNT_MS_MAX ? COUNT_SHARE * this.#count_ms : 0);
    if (this.#clock.elapsed_ms() >= due_ms) await this.#count(totals, asOf);
    // frames behind the watermark were written meanwhile: read again from the start
    if (totals !== this.#totals) return this.#read();
    return [...totals.values()].map(accountOf);
  }

  /** Reads on in the ledger; nothing is taken in until all of the chunk is there. */
  async #readChunk(totals: Map<string, Total>): Promise<void> {
    const after = this.#watermark;
    const frames = this.#chunk_frames;
    const [chunk] = await this.#select<{ lineage: string }>(LEDGER_CHUNK, { after, frames });
    const span = { after, upto: BigInt(chunk?.lineage ?? 0) };
    const sums = await this.#select<SumRow>(LEDGER_SUMS, span);
    const sequences = await this.#select<SequenceRow>(LEDGER_SEQUENCES, span);
    if (totals !== this.#totals) return;
    this.#watermark = span.upto;
    for (const row of sums) {
      const total = totalOf(totals, row);
      const frame_rows = Number(row.frame_rows);
      const duplicates = Number(row.duplicates_absorbed);
      total.frame_rows += frame_rows;
      total.duplicates_absorbed += duplicates;
      total.added += frame_rows - duplicates;
    }
    for (const row of sequences) totalOf(totals, row).sequences.add(Number(row.from), Number(row.to));
  }

  async #count(totals: ReadonlyMap<string, Total>, upto: bigint): Promise<void> {
    const started_ms = this.#clock.elapsed_ms();
    await this.#recount(upto);
    const stored = new Map<string, number>();
    for (const counted of this.#counted.values())
      for (const [name, rows] of counted.stored) stored.set(name, (stored.get(name) ?? 0) + rows);
    for (const [name, total] of totals) {
      total.counted = stored.get(name) ?? 0;
      total.added = 0;
    }
    this.#counted_at_ms = this.#clock.elapsed_ms();
    this.#count_ms = this.#counted_at_ms - started_ms;
  }

  async #recount(upto: bigint): Promise<void> {
    const counted = new Map<string, Counted>();
    const stale: { table: TableName; partition: string; parts: string }[] = [];
    for (const { table: name, partition, parts } of await this.#select<PartListRow>(PART_LISTS, {})) {
      const table = TABLE_NAMES.find((type) => type === name);
      if (table === undefined) continue;
      const before = this.#counted.get(`${table} ${partition}`);
      if (before?.parts === parts) counted.set(`${table} ${partition}`, before);
      else stale.push({ table, partition, parts });
    }
    for (let from = 0; from < stale.length; from += PARTITIONS_A_STATEMENT_MAX) {
      const some = stale.slice(from, from + PARTITIONS_A_STATEMENT_MAX);
      const rows = await this.#select<StoredRow>(storedRows(some), { upto });
      for (const { table, partition, parts } of some) {
        const own = rows.filter((row) => row.table === table && row.partition === partition);
        // rows whose frames are not in the ledger yet will be counted when they are: their parts stay the same
        const complete = own.every((row) => row.known === 1);
        const stored = own.filter((row) => row.known === 1).map((row) => [nameOf(row), Number(row.stored)] as const);
        counted.set(`${table} ${partition}`, { parts: complete ? parts : '', stored });
      }
    }
    this.#counted = counted;
  }
}

function nameOf(row: { source: string; epoch: string }): string {
  return `${row.epoch} ${row.source}`;
}

function totalOf(totals: Map<string, Total>, row: { source: string; epoch: string }): Total {
  const known = totals.get(nameOf(row));
  if (known !== undefined) return known;
  const { source } = row;
  const counts = { frame_rows: 0, duplicates_absorbed: 0, added: 0, counted: 0 };
  const total = { source, epoch: Number(row.epoch), ...counts, sequences: new RangeSet() };
  totals.set(nameOf(row), total);
  return total;
}

function accountOf(total: Total): StoredAccount {
  const { source, epoch, frame_rows, duplicates_absorbed, sequences } = total;
  return {
    source,
    epoch,
    frame_rows,
    duplicates_absorbed,
    stored: total.counted + total.added,
    sequence_min: sequences.min,
    sequence_max: sequences.max,
    sequences: sequences.count,
  };
}
