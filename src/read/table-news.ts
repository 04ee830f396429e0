import type { Store } from '../core/ports.ts';

/** What is new: the tables that took rows. `read` says that they were read; until then they stay new. */
export type News = { readonly tables: ReadonlySet<string>; readonly read: () => void };

/** Tells which tables took rows since they were last read: one look at the marks instead of a query a table. */
export class TableNews {
  readonly #store: Store;
  #marks: ReadonlyMap<string, string> = new Map();

  constructor(store: Store) {
    this.#store = store;
  }

  /** Looks. The first look finds every table that holds rows. */
  async look(signal: AbortSignal): Promise<News> {
    const marks = await this.#store.marks(signal);
    const tables = new Set([...marks].flatMap(([table, mark]) => (this.#marks.get(table) === mark ? [] : [table])));
    return {
      tables,
      read: () => {
        this.#marks = marks;
      },
    };
  }
}
