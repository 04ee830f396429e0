import type { Collection, Condition, Control, Document } from '../core/ports.ts';
import type { Page, Paging } from '../server/services.ts';

/** Newest first by `field`, one page; `map` makes the item. */
export async function newestPage<Body, Item>(
  control: Control,
  of: { readonly collection: Collection<Body>; readonly field: string; readonly where: readonly Condition[] },
  paging: Paging,
  map: (document: Document<Body>) => Item,
): Promise<Page<Item>> {
  const documents = await control.transaction((tx) =>
    tx.list(of.collection, {
      where: of.where,
      order: { field: of.field, descending: true },
      limit: paging.limit + 1,
      ...(paging.after === null ? {} : { after: paging.after }),
    }),
  );
  const shown = documents.slice(0, paging.limit);
  const last = documents.length > paging.limit ? shown.at(-1) : undefined;
  return {
    items: shown.map(map),
    next: last === undefined ? null : { value: positionOf(last.body, of.field), id: last.id },
  };
}

function positionOf(body: unknown, field: string): string | number {
  const value: unknown = typeof body === 'object' && body !== null ? Reflect.get(body, field) : null;
  return typeof value === 'number' || typeof value === 'string' ? value : 0;
}

/** Equality conditions for the filters that were given; `from`/`to` become a half-open interval of `time`. */
export function conditions(
  filter: Readonly<Record<string, string | number | readonly string[] | undefined>>,
  time: string,
): Condition[] {
  return Object.entries(filter).flatMap(([field, value]): Condition[] => {
    if (value === undefined) return [];
    if (field === 'from') return [{ field: time, is: '>=', value }];
    if (field === 'to') return [{ field: time, is: '<', value }];
    if (typeof value === 'object') return value.length === 0 ? [] : [{ field, is: 'in', value }];
    return [{ field, is: '=', value }];
  });
}

/** One page of a list that is already whole and ordered; the position is the item's key. Where that item is gone, the list goes on at the next greater key. */
export function pageOf<Item>(items: readonly Item[], paging: Paging, keyOf: (item: Item) => string): Page<Item> {
  const after = paging.after;
  const from = after === null ? 0 : placeAfter(items, after.id, keyOf);
  const shown = items.slice(from, from + paging.limit);
  const last = from + paging.limit < items.length ? shown.at(-1) : undefined;
  return { items: shown, next: last === undefined ? null : { value: keyOf(last), id: keyOf(last) } };
}

function placeAfter<Item>(items: readonly Item[], key: string, keyOf: (item: Item) => string): number {
  const place = items.findIndex((item) => keyOf(item) === key);
  if (place >= 0) return place + 1;
  const next = items.findIndex((item) => keyOf(item) > key);
  return next < 0 ? items.length : next;
}
