import { hrefOf, parseAddress, queryText } from '../route.js';
import { useEffect, useState } from './dom.js';

/** @type {Set<() => void>} */
const listeners = new Set();

function changed() {
  for (const listener of listeners) listener();
}

/**
 * Goes to an address of the console.
 * @param {string} href
 * @param {{ replace?: boolean }} [options]
 */
export function go(href, { replace = false } = {}) {
  const same = href === location.pathname + location.search;
  if (!same) history[replace ? 'replaceState' : 'pushState'](null, '', href);
  changed();
  if (!replace) scrollTo(0, 0);
}

/**
 * Changes some of the query and leaves the rest; null takes a name out.
 * @param {Record<string, string | number | null>} changes
 */
export function setQuery(changes) {
  const query = { ...Object.fromEntries(new URLSearchParams(location.search)), ...changes };
  go(location.pathname + queryText(query), { replace: true });
}

/** Follows links inside the console without a reload, and the browser's back and forward. Call once. */
export function startRouting() {
  addEventListener('popstate', changed);
  document.addEventListener('click', (event) => {
    const link = event.target instanceof Element ? event.target.closest('a[href]') : null;
    if (link === null || event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey || link.hasAttribute('target')) return;
    const url = new URL(link.getAttribute('href') ?? '', location.href);
    if (url.origin !== location.origin || url.hash !== '' || /^\/(api|v1|metrics|openapi)/.test(url.pathname)) return;
    event.preventDefault();
    go(withoutDots(url));
  });
}

/** @param {URL} url */
function withoutDots({ pathname, search }) {
  const { segment, id } = parseAddress(pathname, '');
  return (id === null ? pathname : hrefOf(segment, id)) + search;
}

/** The address as it is now; the component is drawn again when it changes. */
export function useAddress() {
  const [, draw] = useState(0);
  useEffect(() => {
    const listener = () => draw((times) => times + 1);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, []);
  return parseAddress(location.pathname, location.search);
}
