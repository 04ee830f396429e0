import { followStream, isLocked, startPolling, watchLock } from './api.js';
import { startRouting, useAddress } from './parts/address.js';
import { html, render, useEffect, useErrorBoundary, useState } from './parts/dom.js';
import { HelpDialog } from './parts/help-dialog.js';
import { startKeyboard } from './parts/keyboard.js';
import { SearchDialog } from './parts/search-dialog.js';
import { startTheme, ThemeChoice } from './parts/theme-choice.js';
import { TokenDialog } from './parts/token-dialog.js';
import { hrefOf, PAGES } from './route.js';
import { Overview } from './pages/overview.js';

/** Modules of the other pages, loaded when they are first opened. @type {Record<string, () => Promise<any>>} */
const LOADERS = {
  incidents: async () =>
    pageOf((await import('./pages/incidents.js')).Incidents, (await import('./pages/incident.js')).Incident),
  training: async () => pageOf((await import('./pages/training.js')).Training, (await import('./pages/job.js')).Job),
  models: async () => pageOf((await import('./pages/models.js')).Models, (await import('./pages/model.js')).Model),
  cost: async () => pageOf((await import('./pages/cost.js')).Cost),
  retraining: async () =>
    pageOf((await import('./pages/retraining.js')).Retraining, (await import('./pages/decision.js')).Decision),
  delivery: async () => pageOf((await import('./pages/delivery.js')).Delivery),
  sources: async () => pageOf((await import('./pages/sources.js')).Sources),
  settings: async () => pageOf((await import('./pages/settings.js')).Settings),
};

/** @param {unknown} list @param {unknown} [detail] */
function pageOf(list, detail) {
  return { list, detail };
}

const loaded = /** @type {Map<string, any>} */ (new Map([['', pageOf(Overview)]]));

/** @param {{ segment: string, id: string | null, query: Record<string, string> }} address */
function Page({ segment, id, query }) {
  const [, draw] = useState(0);
  const [failure, retry] = useErrorBoundary();
  useEffect(() => {
    const loader = LOADERS[segment];
    if (loaded.has(segment) || loader === undefined) return;
    loader().then(
      (page) => (loaded.set(segment, page), draw((times) => times + 1)),
      () => (loaded.set(segment, pageOf(Unloadable, Unloadable)), draw((times) => times + 1)),
    );
  }, [segment]);
  if (failure !== undefined) return html`<${Broken} failure=${failure} onRetry=${retry} />`;
  const page = loaded.get(segment);
  if (page === undefined) return LOADERS[segment] === undefined ? html`<${Nowhere} />` : null;
  const view = id === null ? page.list : page.detail;
  return view === undefined
    ? html`<${Nowhere} />`
    : html`<${view} key=${`${segment}/${id}`} id=${id} query=${query} />`;
}

function Nowhere() {
  return html`<h1>No such page</h1><p>The navigation lists every page; <a href="/">Overview</a> is the first.</p>`;
}

function Unloadable() {
  return html`<h1>This page could not be loaded</h1><p>Check that "leeway serve" is running, then reload.</p>`;
}

/** @param {{ failure: unknown, onRetry: () => void }} props */
function Broken({ failure, onRetry }) {
  return html`<h1>This page failed to draw</h1>
    <div class="problem" role="alert"><p>${String(failure)}</p><p><button type="button" onClick=${onRetry}>Draw again</button></p></div>`;
}

function Shell() {
  const address = useAddress();
  const [live, setLive] = useState(false);
  const [open, setOpen] = useState(/** @type {'search' | 'help' | null} */ (null));
  const [locked, setLocked] = useState(isLocked());
  useEffect(() => {
    startKeyboard({ onSearch: () => setOpen('search'), onHelp: () => setOpen('help') });
    startTheme();
    startPolling();
    void followStream(setLive);
    return watchLock(() => setLocked(isLocked()));
  }, []);
  const page = PAGES.find(({ segment }) => segment === address.segment);
  useEffect(() => {
    document.title = `${address.id === null ? '' : `${address.id} · `}${page?.name ?? 'No such page'} · Leeway`;
  }, [address.id, page]);
  useEffect(() => {
    document.querySelector('nav [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  }, [address.segment]);
  const close = () => setOpen(null);
  return html`
    <a class="skip" href="#main">To the content</a>
    <header>
      <a class="brand" href="/">Leeway</a>
      <nav aria-label="Pages">
        ${PAGES.map(
          ({ segment, name }) =>
            html`<a key=${segment} href=${hrefOf(segment)} aria-current=${segment === address.segment ? 'page' : null}>${name}</a>`,
        )}
      </nav>
      <div class="tools">
        <button type="button" onClick=${() => setOpen('search')}>Search <kbd>/</kbd></button>
        <button type="button" onClick=${() => setOpen('help')}>Keys <kbd>?</kbd></button>
        <${ThemeChoice} />
        <span class="quiet live" title=${live ? 'Changes arrive as they happen' : 'The stream of events is not open; the page asks every 10 s'}>${live ? 'live' : 'polling'}</span>
      </div>
    </header>
    <main id="main" tabindex="-1"><${Page} ...${address} key=${address.segment} /></main>
    ${locked && html`<${TokenDialog} />`} ${!locked && open === 'search' && html`<${SearchDialog} onClose=${close} />`}
    ${!locked && open === 'help' && html`<${HelpDialog} onClose=${close} />`}
  `;
}

startRouting();
render(html`<${Shell} />`, /** @type {Element} */ (document.getElementById('app')));
