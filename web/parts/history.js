import { words } from '../format.js';
import { html } from './dom.js';
import { Table } from './table.js';
import { Time } from './text.js';

const COLUMNS = [
  { name: 'at', title: 'When', cell: (/** @type {any} */ event) => html`<${Time} at_ms=${event.at_ms} />` },
  { name: 'kind', title: 'What', cell: (/** @type {any} */ event) => words(event.kind) },
  { name: 'note', title: 'Note', grow: true, cell: (/** @type {any} */ event) => event.note ?? '' },
  { name: 'actor', title: 'Who', cell: (/** @type {any} */ event) => event.actor ?? 'leeway' },
];

/** What happened to an incident or a decision. @param {{ events: ReadonlyArray<any> }} props */
export function History({ events }) {
  if (events.length === 0) return html`<p class="quiet">Nothing has happened to it yet.</p>`;
  return html`<${Table} caption="History" columns=${COLUMNS} rows=${events.map((event, index) => ({ ...event, index }))} keyOf=${(/** @type {any} */ event) => String(event.index)} />`;
}
