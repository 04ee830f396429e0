import { get } from '../api.js';
import { hrefOf, PAGES } from '../route.js';
import { html, useEffect, useState } from './dom.js';
import { go } from './address.js';
import { Dialog } from './dialog.js';

const SHOWN_MAX = 12;

/** @typedef {{ kind: string, name: string, href: string }} Hit */

/** Everything that has a page of its own, as far as the first 100 of each list. @returns {Promise<Hit[]>} */
async function everything() {
  const lists = await Promise.allSettled(
    ['jobs', 'models', 'incidents', 'decisions'].map((list) => get(`/api/v1/${list}?limit=100`)),
  );
  const [jobs, models, incidents, decisions] = lists.map((list) =>
    list.status === 'fulfilled' ? list.value.items : [],
  );
  return [
    ...jobs.map((/** @type {any} */ item) => ({ kind: 'job', name: item.job, href: hrefOf('training', item.job) })),
    ...models.map((/** @type {any} */ item) => ({
      kind: 'model',
      name: item.model,
      href: hrefOf('models', item.model),
    })),
    ...incidents.map((/** @type {any} */ item) => ({
      kind: 'incident',
      name: `${item.title} (${item.id})`,
      href: hrefOf('incidents', item.id),
    })),
    ...decisions.map((/** @type {any} */ item) => ({
      kind: 'decision',
      name: `${item.model} ${item.state} (${item.id})`,
      href: hrefOf('retraining', item.id),
    })),
  ];
}

/** Search over pages, jobs, models, incidents and decisions. @param {{ onClose: () => void }} props */
export function SearchDialog({ onClose }) {
  const [text, setText] = useState('');
  const [hits, setHits] = useState(
    /** @type {Hit[]} */ (PAGES.map(({ name, segment }) => ({ kind: 'page', name, href: hrefOf(segment) }))),
  );
  const [chosen, setChosen] = useState(0);
  useEffect(() => {
    void everything().then((found) => setHits((pages) => [...pages, ...found]));
  }, []);
  const wanted = text.toLowerCase().split(/\s+/);
  const shown = hits
    .filter((hit) => wanted.every((word) => `${hit.kind} ${hit.name}`.toLowerCase().includes(word)))
    .slice(0, SHOWN_MAX);
  const place = Math.min(chosen, shown.length - 1);
  const open = (/** @type {Hit | undefined} */ hit) => {
    if (hit === undefined) return;
    onClose();
    go(hit.href);
  };
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === 'Enter') open(shown[place]);
    else if (event.key === 'ArrowDown') setChosen(Math.min(place + 1, shown.length - 1));
    else if (event.key === 'ArrowUp') setChosen(Math.max(place - 1, 0));
    else return;
    event.preventDefault();
  };
  return html`
    <${Dialog} title="Search" onClose=${onClose}>
      <input type="search" role="combobox" aria-label="Search" aria-expanded="true" aria-controls="hits" autofocus
        aria-activedescendant=${shown.length > 0 ? `hit-${place}` : null} value=${text} onKeyDown=${onKeyDown}
        onInput=${(/** @type {any} */ event) => (setText(event.target.value), setChosen(0))} />
      <ul id="hits" role="listbox" aria-label="Results" class="hits">
        ${shown.map(
          (
            hit,
            index,
          ) => html`<li key=${hit.href} id=${`hit-${index}`} role="option" aria-selected=${index === place ? 'true' : 'false'} onClick=${() => open(hit)}>
            <span class="quiet">${hit.kind}</span> ${hit.name}
          </li>`,
        )}
      </ul>
      ${shown.length === 0 && html`<p class="quiet" role="status">Nothing has these words in its name.</p>`}
    <//>
  `;
}
