// Addresses: the path and the query hold all state of a page. Pure.

/** The first segment of each page's address, in the order of the navigation. */
export const PAGES = [
  { segment: '', name: 'Overview', key: 'o' },
  { segment: 'incidents', name: 'Incidents', key: 'i' },
  { segment: 'training', name: 'Training', key: 't' },
  { segment: 'models', name: 'Models', key: 'm' },
  { segment: 'cost', name: 'Cost', key: 'c' },
  { segment: 'retraining', name: 'Retraining', key: 'r' },
  { segment: 'delivery', name: 'Delivery', key: 'd' },
  { segment: 'sources', name: 'Sources', key: 's' },
  { segment: 'settings', name: 'Settings', key: ',' },
];

/**
 * The address of a page, of an object on it, with a query. Dots are escaped too: the server takes a path that ends
 * like a file name for a file.
 * @param {string} segment @param {string} [id] @param {Record<string, unknown>} [query]
 */
export function hrefOf(segment, id, query = {}) {
  const path = id === undefined ? `/${segment}` : `/${segment}/${escapeSegment(id)}`;
  return path + queryText(query);
}

/** @param {string} text */
export function escapeSegment(text) {
  return encodeURIComponent(text).replaceAll('.', '%2E');
}

/**
 * A query without empty values: { a: 1, b: null } → "?a=1".
 * @param {Record<string, unknown>} query
 */
export function queryText(query) {
  const pairs = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== '');
  const text = new URLSearchParams(pairs.map(([name, value]) => [name, String(value)])).toString();
  return text === '' ? '' : `?${text}`;
}

/**
 * The address taken apart: { segment, id, query }; id null where the path names no object.
 * @param {string} path @param {string} search
 * @returns {{ segment: string, id: string | null, query: Record<string, string> }}
 */
export function parseAddress(path, search) {
  const [, segment = '', ...rest] = path.split('/');
  const id = rest.join('/');
  return { segment, id: id === '' ? null : decoded(id), query: Object.fromEntries(new URLSearchParams(search)) };
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a stray percent sign: taken as it is
  }
}

/** The path of the API for an id. @param {string} list @param {string} id @param {string} [rest] */
export function apiPath(list, id, rest = '') {
  return `/api/v1/${list}/${encodeURIComponent(id)}${rest}`;
}
