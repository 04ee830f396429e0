import type { StoredAccount } from '../core/ports.ts';
import { RECORD_TYPES, type RecordType } from '../core/records.ts';
import { LEDGER_ACCOUNT, PART_LISTS, storedRows } from './schema.ts';

type Select = <Row>(sql: string) => Promise<Row[]>;
type PartListRow = { table: string; partition: string; parts: string };
type StoredRow = { table: string; partition: string; source: string; epoch: string; known: number; stored: string };
type LedgerRow = Record<keyof Omit<StoredAccount, 'stored'>, string>;

/** What one month of one table holds, by source and epoch, while its list of parts is `parts`. */
type Counted = { readonly parts: string; readonly stored: readonly (readonly [name: string, rows: number])[] };

/** Partitions counted by one statement: each one is a branch of its plan. */
const PARTITIONS_A_STATEMENT_MAX = 40;

/**
 * The account by source and epoch, counted from the rows. A month whose parts are the same as last time is not counted
 * again: parts never change, so the cost is that of the months that are being written.
 */
export class AccountReader {
  #counted = new Map<string, Counted>();

  async read(select: Select): Promise<StoredAccount[]> {
    await this.#recount(select);
    const stored = new Map<string, number>();
    for (const counted of this.#counted.values())
      for (const [name, rows] of counted.stored) stored.set(name, (stored.get(name) ?? 0) + rows);
    const ledger = await select<LedgerRow>(LEDGER_ACCOUNT);
    return ledger.map((row) => ({
      source: row.source,
      epoch: Number(row.epoch),
      frame_rows: Number(row.frame_rows),
      duplicates_absorbed: Number(row.duplicates_absorbed),
      stored: stored.get(`${row.epoch} ${row.source}`) ?? 0,
      sequence_min: Number(row.sequence_min),
      sequence_max: Number(row.sequence_max),
      sequences: Number(row.sequences),
    }));
  }

  async #recount(select: Select): Promise<void> {
    const counted = new Map<string, Counted>();
    const stale: { table: RecordType; partition: string; parts: string }[] = [];
    for (const { table: name, partition, parts } of await select<PartListRow>(PART_LISTS)) {
      const table = RECORD_TYPES.find((type) => type === name);
      if (table === undefined) continue;
      const before = this.#counted.get(`${table} ${partition}`);
      if (before?.parts === parts) counted.set(`${table} ${partition}`, before);
      else stale.push({ table, partition, parts });
    }
    for (let from = 0; from < stale.length; from += PARTITIONS_A_STATEMENT_MAX) {
      const some = stale.slice(from, from + PARTITIONS_A_STATEMENT_MAX);
      const rows = await select<StoredRow>(storedRows(some));
      for (const { table, partition, parts } of some) {
        const own = rows.filter((row) => row.table === table && row.partition === partition);
        // rows whose frames are not in the ledger yet will be counted when they are: their parts stay the same
        const complete = own.every((row) => row.known === 1);
        const stored = own.filter((row) => row.known === 1).map(nameAndRows);
        counted.set(`${table} ${partition}`, { parts: complete ? parts : '', stored });
      }
    }
    this.#counted = counted;
  }
}

function nameAndRows(row: StoredRow): readonly [string, number] {
  return [`${row.epoch} ${row.source}`, Number(row.stored)];
}
