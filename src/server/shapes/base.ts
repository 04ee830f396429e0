import Type, { type TProperties, type TSchema } from 'typebox';
import { LIMITS } from '../../core/limits.ts';

// The vocabulary of the API's shapes. Times are Unix ms, money and 64-bit integers decimal strings, ratios 0..1,
// null = unknown. Answers stay open (fields may be added); bodies of control routes are closed.

export const text = Type.String();
export const nullableText = Type.Union([Type.String(), Type.Null()]);
export const count = Type.Number({ minimum: 0 });
export const real = Type.Number();
export const nullableReal = Type.Union([Type.Number(), Type.Null()]);
export const ratio = Type.Union([Type.Number({ minimum: 0, maximum: 1 }), Type.Null()]);
export const time = Type.Number();
export const nullableTime = Type.Union([Type.Number(), Type.Null()]);
export const money = Type.String({ pattern: '^-?[0-9]+(\\.[0-9]+)?$' });
export const nullableMoney = Type.Union([money, Type.Null()]);
/** Counts by a closed set of reasons. */
export const tally = Type.Record(Type.String(), Type.Number());
/** JSON whose inside belongs to whoever measured it. */
export const evidence = Type.Unknown();

/** A choice of fixed words. */
export function words<const Words extends readonly string[]>(list: Words) {
  return Type.Enum<[...Words]>([...list]);
}

/** The query of a list: at most `limit` items, continuing after an opaque `cursor`, with filters beside. */
export function listQuery<Filters extends TProperties>(filters: Filters) {
  return Type.Object({
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: LIMITS.page_items_max, default: 100 })),
    cursor: Type.Optional(Type.String({ maxLength: 1024 })),
    ...filters,
  });
}

/** The answer of a list. */
export function listOf<Item extends TSchema>(item: Item) {
  return Type.Object({ items: Type.Array(item), next_cursor: nullableText });
}

/** A filter by the exact text of a field. */
export const filter = Type.Optional(Type.String({ maxLength: 512 }));
/** A filter by one of a field's fixed words: another word is refused, for nothing could ever match it. */
export function filterOf<const Words extends readonly string[]>(list: Words) {
  return Type.Optional(words(list));
}
/** A filter by some of a field's fixed words, as a comma list; empty = any. */
export function filterOfSome(list: readonly string[]) {
  const word = `(${list.join('|')})`;
  const description = `a comma list of ${list.join(', ')}`;
  return Type.Optional(Type.String({ pattern: `^(${word}(,${word})*)?$`, maxLength: 512, description }));
}
/** One end of a half-open interval of time, Unix ms. */
export const bound = Type.Optional(Type.Number({ minimum: 0, maximum: 253_402_300_799_999 }));
/** `{id}` of a path. */
export const idParams = Type.Object({ id: Type.String({ minLength: 1, maxLength: 512 }) });
/** The body of an action that a person explains. */
export const noteBody = Type.Object({ note: Type.Optional(Type.String({ maxLength: 4096 })) });
