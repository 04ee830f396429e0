import type { Store } from '../core/ports.ts';

type MarkRow = { readonly table: string; readonly mark: string };

/** Every insert takes a new block number and merging keeps the largest, so the sum moves with each insert alone. */
const MARKS = `SELECT table, toString(sum(block)) AS mark FROM (
  SELECT table, partition_id, max(max_block_number) AS block FROM system.parts
  WHERE database = 'leeway' AND active GROUP BY table, partition_id
) GROUP BY table`;

/** What is new: the tables that took rows. `read` says that they were read; until then they stay new. */
export type News = { readonly tables: ReadonlySet<string>; readonly read: () => void };

/** Tells which tables took rows since they were last read: one look at the parts instead of a query a table. */
export class TableNews {
  readonly #store: Store;
  #marks = new Map<string, string>();

  constructor(store: Store) {
    this.#store = store;
  }

  /** Looks; O(parts). The first look finds every table that holds rows. */
  async look(signal: AbortSignal): Promise<News> {
    const rows = await this.#store.query<MarkRow>(MARKS, {}, signal);
    const marks = new Map(rows.map(({ table, mark }) => [table, mark]));
    const tables = new Set([...marks].flatMap(([table, mark]) => (this.#marks.get(table) === mark ? [] : [table])));
    return {
      tables,
      read: () => {
        this.#marks = marks;
      },
    };
  }
}
