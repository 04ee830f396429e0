import { decodeCursor, encodeCursor } from './cursor.ts';
import type { Page, Paging } from './services.ts';

type ListQuery = { readonly limit?: number; readonly cursor?: string };

/** The default length of a page; the most is LIMITS.page_items_max. */
const PAGE_ITEMS = 100;

/** The paging of a list's query. Throws LW-USAGE for a cursor of another list. */
export function pagingOf(path: string, query: ListQuery): Paging {
  return {
    limit: query.limit ?? PAGE_ITEMS,
    after: query.cursor === undefined ? null : decodeCursor(path, query.cursor),
  };
}

/** The answer of a list: its items and the opaque cursor of the next page. */
export function listAnswer<Item>(path: string, page: Page<Item>): { items: Item[]; next_cursor: string | null } {
  return { items: [...page.items], next_cursor: page.next === null ? null : encodeCursor(path, page.next) };
}

/** A query without its paging: the filters alone. */
export function filtersOf<Query extends ListQuery>(query: Query): Omit<Query, 'limit' | 'cursor'> {
  const { limit: _limit, cursor: _cursor, ...filters } = query;
  return filters;
}

/** A comma list as its parts; absent = []. */
export function partsOf(text: string | undefined): readonly string[] {
  return text === undefined || text === '' ? [] : text.split(',');
}
