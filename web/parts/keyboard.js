import { hrefOf, PAGES } from '../route.js';
import { go } from './address.js';

/** `g` waits this long for the second key. */
const CHORD_MS = 1200;

/**
 * The keys of the console: `g` and a letter goes to a page, `/` searches, `?` helps. Typing in a field is left alone.
 * @param {{ onSearch: () => void, onHelp: () => void }} actions
 */
export function startKeyboard({ onSearch, onHelp }) {
  let chord_ms = -Infinity;
  document.addEventListener('keydown', (event) => {
    const target = event.target instanceof Element ? event.target : null;
    if (event.metaKey || event.ctrlKey || event.altKey || target?.closest('input, textarea, select, dialog') != null)
      return;
    const page = performance.now() - chord_ms < CHORD_MS ? PAGES.find(({ key }) => key === event.key) : undefined;
    chord_ms = -Infinity;
    if (page !== undefined) go(hrefOf(page.segment));
    else if (event.key === 'g') chord_ms = performance.now();
    else if (event.key === '/') onSearch();
    else if (event.key === '?') onHelp();
    else return;
    event.preventDefault();
  });
}
