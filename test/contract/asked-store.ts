import type { Store } from '../../src/core/ports.ts';

/** A store that writes down the SQL that it is asked, otherwise as `store`. */
export function askedStore(store: Store): { readonly store: Store; readonly asked: string[] } {
  const asked: string[] = [];
  const noting = new Proxy(store, {
    get: (target, key) => {
      const value: unknown = Reflect.get(target, key);
      if (typeof value !== 'function') return value;
      return (...given: unknown[]): unknown => {
        if (key === 'query') asked.push(String(given[0]));
        return Reflect.apply(value, target, given); // its own fields are private to the store itself
      };
    },
  });
  return { store: noting, asked };
}
