import { count } from '../format.js';
import { setQuery } from '../parts/address.js';
import { html } from '../parts/dom.js';
import { Mark } from '../parts/marks.js';
import { Resource } from '../parts/resource.js';
import { Table } from '../parts/table.js';
import { Ago } from '../parts/text.js';
import { queryText } from '../route.js';
import { More } from './incidents.js';

const LISTED_MAX = 6;

/** @type {import('../parts/table.js').Column[]} */
const COLUMNS = [
  { name: 'source', title: 'Source', cell: (item) => item.source, sort: (item) => item.source },
  { name: 'kind', title: 'Kind', cell: (item) => item.kind, sort: (item) => item.kind, wide: true },
  { name: 'state', title: 'State', cell: (item) => html`<${Mark} word=${item.state} />`, sort: (item) => item.state },
  {
    name: 'detail',
    title: 'Why',
    grow: true,
    cell: (item) => item.detail ?? (item.state === 'silent' ? 'nothing arrived lately' : '–'),
  },
  {
    name: 'seen',
    title: 'Last seen',
    cell: (item) => html`<${Ago} at_ms=${item.last_seen_ms} />`,
    sort: (item) => item.last_seen_ms,
  },
  {
    name: 'accepted',
    title: 'Accepted',
    cell: (item) => count(item.accepted),
    sort: (item) => item.accepted,
    number: true,
  },
  { name: 'rejected', title: 'Rejected', cell: (item) => tally(item.rejected), sort: (item) => sum(item.rejected) },
  {
    name: 'quality',
    title: 'Fields absent',
    cell: (item) => tally(item.quality),
    sort: (item) => sum(item.quality),
    wide: true,
    note: 'Fields that could not be read, with the reason',
  },
];

/** @param {Record<string, number>} counts */
function sum(counts) {
  return Object.values(counts).reduce((total, each) => total + each, 0);
}

/** @param {Record<string, number>} counts */
function tally(counts) {
  const sorted = Object.entries(counts)
    .filter(([, amount]) => amount > 0)
    .sort((a, b) => b[1] - a[1]);
  if (sorted.length === 0) return html`<span class="quiet">none</span>`;
  const rest = sorted.length > LISTED_MAX ? `, and ${sorted.length - LISTED_MAX} more` : '';
  return html`${sorted.slice(0, LISTED_MAX).map(([code, amount], index) => html`<span key=${code}>${index > 0 && ', '}<code>${code}</code> ${count(amount)}</span>`)}${rest}`;
}

/** Collectors and senders: who is heard, who is not and why. @param {{ query: Record<string, string> }} props */
export function Sources({ query }) {
  const { state, kind, cursor } = query;
  const choose = (/** @type {string} */ name) => (/** @type {any} */ event) =>
    setQuery({ [name]: event.target.value, cursor: null });
  const filtered = state !== undefined || kind !== undefined;
  return html`
    <h1>Sources</h1>
    <div class="filters">
      <label>State <select value=${state ?? ''} onChange=${choose('state')}><option value="">any</option>${['live', 'silent', 'absent'].map((each) => html`<option key=${each} value=${each}>${each}</option>`)}</select></label>
      <label>Kind <select value=${kind ?? ''} onChange=${choose('kind')}><option value="">any</option>${['collector', 'sender'].map((each) => html`<option key=${each} value=${each}>${each}</option>`)}</select></label>
    </div>
    <${Resource} path=${`/api/v1/sources${queryText({ limit: 200, state, kind, cursor })}`} empty=${(/** @type {any} */ value) => (value.items.length === 0 ? (filtered ? html`<p>No source fits. <a href="/sources">Every source</a></p>` : EMPTY) : null)}>
      ${(/** @type {any} */ value) => html`<${Table} caption="Sources" columns=${COLUMNS} rows=${value.items} keyOf=${(/** @type {any} */ item) => `${item.kind}/${item.source}`} /><${More} list="sources" query=${query} cursor=${value.next_cursor} />`}
    <//>
  `;
}

const EMPTY = html`<p>Nobody has sent anything. Switch collectors on in the configuration (<code>leeway config</code> prints what is set), or send records to <code>POST /v1/events</code>.</p>`;
