import { usd, words } from '../format.js';
import { html } from '../parts/dom.js';
import { setQuery } from '../parts/address.js';
import { Mark } from '../parts/marks.js';
import { Resource } from '../parts/resource.js';
import { Table } from '../parts/table.js';
import { Ago, Time } from '../parts/text.js';
import { hrefOf, queryText } from '../route.js';

const STATUSES = [
  { status: 'open,acknowledged,snoozed', name: 'Not resolved' },
  { status: 'open', name: 'Open' },
  { status: 'acknowledged', name: 'Acknowledged' },
  { status: 'snoozed', name: 'Snoozed' },
  { status: 'resolved', name: 'Resolved' },
  { status: 'all', name: 'All' },
];

/** Columns of incidents, also for the pages of jobs and models. */
export const INCIDENT_COLUMNS = [
  {
    name: 'severity',
    title: 'Severity',
    cell: (/** @type {any} */ item) => html`<${Mark} word=${item.severity} />`,
    sort: (/** @type {any} */ item) => item.severity,
  },
  {
    name: 'title',
    title: 'Incident',
    grow: true,
    cell: (/** @type {any} */ item) => html`<a href=${hrefOf('incidents', item.id)}>${item.title}</a>`,
  },
  {
    name: 'status',
    title: 'Status',
    cell: (/** @type {any} */ item) => words(item.status),
    sort: (/** @type {any} */ item) => item.status,
  },
  { name: 'cause', title: 'Cause', wide: true, cell: (/** @type {any} */ item) => words(item.cause) },
  { name: 'where', title: 'Job or model', wide: true, cell: whereOf },
  {
    name: 'since',
    title: 'Since',
    cell: (/** @type {any} */ item) => html`<${Time} at_ms=${item.started_at_ms ?? item.opened_at_ms} />`,
    sort: (/** @type {any} */ item) => item.started_at_ms ?? item.opened_at_ms,
  },
  {
    name: 'updated',
    title: 'Last change',
    wide: true,
    cell: (/** @type {any} */ item) => html`<${Ago} at_ms=${item.updated_at_ms} />`,
    sort: (/** @type {any} */ item) => item.updated_at_ms,
  },
  {
    name: 'lost',
    title: 'Lost',
    number: true,
    cell: (/** @type {any} */ item) => usd(item.usd_lost),
    sort: (/** @type {any} */ item) => (item.usd_lost === null ? null : Number(item.usd_lost)),
  },
  {
    name: 'hourly',
    title: 'Per hour',
    number: true,
    wide: true,
    cell: (/** @type {any} */ item) => usd(item.usd_per_hour),
  },
];

/** @param {any} item */
function whereOf({ job, model }) {
  if (job !== undefined) return html`<a href=${hrefOf('training', job)}>${job}</a>`;
  return model === undefined ? '–' : html`<a href=${hrefOf('models', model)}>${model}</a>`;
}

/** Incidents, the latest first. @param {{ query: Record<string, string> }} props */
export function Incidents({ query }) {
  const status = query['status'] ?? STATUSES[0]?.status ?? '';
  const { cursor, kind, severity } = query;
  const path = `/api/v1/incidents${queryText({ limit: 100, status: status === 'all' ? null : status, kind, severity, cursor })}`;
  return html`
    <h1>Incidents</h1>
    <div class="filters">
      ${STATUSES.map((each) => html`<a key=${each.status} href=${hrefOf('incidents', undefined, { ...query, status: each.status, cursor: null })} aria-current=${each.status === status ? 'true' : null}>${each.name}</a>`)}
      <label>Severity <select value=${severity ?? ''} onChange=${(/** @type {any} */ event) => setQuery({ severity: event.target.value, cursor: null })}>
        <option value="">any</option><option value="page">page</option><option value="warn">warn</option>
      </select></label>
    </div>
    <${Resource} path=${path} empty=${(/** @type {any} */ value) => (value.items.length === 0 ? emptyFor(status) : null)}>
      ${(/** @type {any} */ value) => html`
        <${Table} caption="Incidents" columns=${INCIDENT_COLUMNS} rows=${value.items} keyOf=${(/** @type {any} */ item) => item.id} />
        <${More} list="incidents" query=${query} cursor=${value.next_cursor} />
      `}
    <//>
  `;
}

/** @param {string} status */
function emptyFor(status) {
  if (status === 'all' || status === 'resolved')
    return html`<p>No incident so far. <code>leeway demo</code> plants a fault and shows one from its first second.</p>`;
  return html`<p>Nothing is wrong that a rule looks for. <a href=${hrefOf('incidents', undefined, { status: 'all' })}>All incidents</a> shows the past; the rules are under <a href="/settings">Settings</a>.</p>`;
}

/** The link to the next page of a list. @param {{ list: string, query: Record<string, string>, cursor: string | null }} props */
export function More({ list, query, cursor }) {
  const first = query['cursor'] !== undefined;
  if (cursor === null && !first) return null;
  return html`<p class="filters">
    ${first && html`<a href=${hrefOf(list, undefined, { ...query, cursor: null })}>First page</a>`}
    ${cursor !== null && html`<a href=${hrefOf(list, undefined, { ...query, cursor })}>Next page</a>`}
  </p>`;
}
