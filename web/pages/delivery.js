import { count, words } from '../format.js';
import { html } from '../parts/dom.js';
import { Mark } from '../parts/marks.js';
import { Resource } from '../parts/resource.js';
import { Table } from '../parts/table.js';
import { queryText } from '../route.js';
import { More } from './incidents.js';

/** Records whose whereabouts nobody knows: emitted less stored, in flight and declared lost. @param {any} item */
export function unaccounted(item) {
  return item.emitted - item.stored - item.in_flight - lossOf(item);
}

/** @param {any} item */
function lossOf({ declared_loss }) {
  return Object.values(declared_loss).reduce((sum, each) => sum + Number(each), 0);
}

/** @type {import('../parts/table.js').Column[]} */
const COLUMNS = [
  { name: 'source', title: 'Source', cell: (item) => item.source, sort: (item) => item.source, grow: true },
  { name: 'account', title: 'Account', cell: accountMark, sort: (item) => Math.abs(unaccounted(item)) },
  {
    name: 'epoch',
    title: 'Epoch',
    cell: (item) => String(item.epoch),
    number: true,
    wide: true,
    note: 'One start of the sender',
  },
  {
    name: 'emitted',
    title: 'Emitted',
    cell: (item) => count(item.emitted),
    sort: (item) => item.emitted,
    number: true,
  },
  { name: 'stored', title: '= stored', cell: (item) => count(item.stored), sort: (item) => item.stored, number: true },
  {
    name: 'in_flight',
    title: '+ in flight',
    cell: (item) => count(item.in_flight),
    sort: (item) => item.in_flight,
    number: true,
  },
  { name: 'loss', title: '+ declared loss', cell: lossText, sort: lossOf, number: true },
  {
    name: 'duplicates',
    title: 'Repeats absorbed',
    cell: (item) => count(item.duplicates_absorbed),
    number: true,
    wide: true,
  },
  { name: 'sequences', title: 'Sequences', cell: sequencesText, number: true, wide: true },
];

/** @param {any} item */
function lossText(item) {
  const reasons = Object.entries(item.declared_loss).filter(([, amount]) => Number(amount) > 0);
  if (reasons.length === 0) return '0';
  return html`${count(lossOf(item))} <span class="quiet">${reasons.map(([reason, amount]) => `${words(reason)} ${count(Number(amount))}`).join(', ')}</span>`;
}

/** @param {any} item */
function accountMark(item) {
  const missing = unaccounted(item);
  if (missing !== 0)
    return html`<${Mark} word="fail" text=${`${count(Math.abs(missing))} ${missing > 0 ? 'missing' : 'too many'}`} />`;
  if (item.sequences_missing > 0)
    return html`<${Mark} word="warn" text=${`${count(item.sequences_missing)} batches missing`} />`;
  return lossOf(item) > 0
    ? html`<${Mark} word="warn" text="loss declared" />`
    : html`<${Mark} word="ok" text="complete" />`;
}

/** @param {any} item */
function sequencesText({ sequence_min, sequence_max }) {
  return sequence_min === null ? '–' : `${count(sequence_min)}–${count(sequence_max)}`;
}

/** The account: every record emitted is stored, on its way, or declared lost. @param {{ query: Record<string, string> }} props */
export function Delivery({ query }) {
  return html`
    <h1>Delivery</h1>
    <p class="quiet">By source and epoch, in records: emitted = stored + in flight + declared loss.</p>
    <${Resource} path=${`/api/v1/delivery${queryText({ limit: 200, cursor: query['cursor'] })}`} empty=${(/** @type {any} */ value) => (value.items.length === 0 ? EMPTY : null)}>
      ${(/** @type {any} */ value) => html`
        <${Table} caption="The account by source" columns=${COLUMNS} rows=${value.items} keyOf=${(/** @type {any} */ item) => `${item.source}/${item.epoch}`} foot=${html`<${Total} items=${value.items} whole=${value.next_cursor === null && query['cursor'] === undefined} />`} />
        <${More} list="delivery" query=${query} cursor=${value.next_cursor} />
      `}
    <//>
  `;
}

const EMPTY = html`<p>Nothing has arrived. Senders post records to <code>POST /v1/events</code>; <code>leeway demo</code> starts some.</p>`;

/** @param {{ items: ReadonlyArray<any>, whole: boolean }} props */
function Total({ items, whole }) {
  const total = (/** @type {(item: any) => number} */ of) => count(items.reduce((sum, item) => sum + of(item), 0));
  const missing = items.reduce((sum, item) => sum + Math.abs(unaccounted(item)), 0);
  return html`<tr>
    <th scope="row">${whole ? 'All sources' : 'This page'}</th>
    <td>${missing === 0 ? html`<${Mark} word="ok" text="adds up" />` : html`<${Mark} word="fail" text=${`${count(missing)} unaccounted for`} />`}</td>
<td class="wide"></td>
    <td class="number">${total((item) => item.emitted)}</td><td class="number">${total((item) => item.stored)}</td>
    <td class="number">${total((item) => item.in_flight)}</td><td class="number">${total(lossOf)}</td>
    <td class="number wide">${total((item) => item.duplicates_absorbed)}</td><td class="wide"></td>
  </tr>`;
}
