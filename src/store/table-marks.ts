import type { QueryParameters } from '../core/ports.ts';
import type { TableName } from '../core/tables.ts';

type Select = <Row>(sql: string, parameters: QueryParameters) => Promise<Row[]>;
type MarkRow = { readonly table: string; readonly mark: string };

/** Every insert takes a new block number and merging keeps the largest, so the sum moves with each insert alone. */
const MARKS = `SELECT table, toString(sum(block)) AS mark FROM (
  SELECT table, partition_id, max(max_block_number) AS block FROM system.parts
  WHERE database = 'leeway' AND active GROUP BY table, partition_id
) GROUP BY table`;

/**
 * By table a mark that every insert of rows changes. The sole writer of a store counts its own inserts (a look at the parts
 * costs 5 ms of CPU, and several loops look every second); where others write too, each reading looks at the parts.
 */
export class TableMarks {
  readonly #select: Select;
  readonly #isSoleWriter: boolean;
  readonly #inserts = new Map<string, number>();
  #found: Map<string, string> | null = null;

  constructor(select: Select, isSoleWriter: boolean) {
    this.#select = select;
    this.#isSoleWriter = isSoleWriter;
  }

  /** Told after an insert of rows ended, however it ended. */
  inserted(table: TableName): void {
    this.#inserts.set(table, (this.#inserts.get(table) ?? 0) + 1);
  }

  /** The marks now; a table that never took rows has none. */
  async read(): Promise<ReadonlyMap<string, string>> {
    if (!this.#isSoleWriter) return this.#look();
    this.#found ??= await this.#look();
    const marks = new Map(this.#found);
    for (const [table, inserts] of this.#inserts) marks.set(table, `${marks.get(table) ?? 0} + ${inserts}`);
    return marks;
  }

  async #look(): Promise<Map<string, string>> {
    const rows = await this.#select<MarkRow>(MARKS, {});
    return new Map(rows.map(({ table, mark }) => [table, mark]));
  }
}
