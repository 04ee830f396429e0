import { accountOf, accountsOf } from '../delivery-account.js';
import { count, counted, duration, words } from '../format.js';
import { html } from '../parts/dom.js';
import { Mark } from '../parts/marks.js';
import { Resource } from '../parts/resource.js';
import { Table } from '../parts/table.js';
import { hrefOf, queryText } from '../route.js';
import { More } from './incidents.js';

/** @typedef {import('../delivery-account.js').Account} Account */
/** @typedef {import('../delivery-account.js').Item} Item */
/** @typedef {import('../parts/table.js').Column} Column */

/** What both tables show of an account. @type {Column[]} */
const TERMS = [
  {
    name: 'emitted',
    title: 'Emitted',
    cell: (row) => count(row.emitted),
    sort: (row) => row.emitted,
    number: true,
  },
  { name: 'stored', title: '= stored', cell: (row) => count(row.stored), sort: (row) => row.stored, number: true },
  { name: 'in_flight', title: '+ in flight', cell: inFlightText, sort: (row) => row.in_flight, number: true },
  { name: 'loss', title: '+ declared loss', cell: lossText, sort: (row) => row.lost, number: true },
  {
    name: 'oldest',
    title: 'Oldest in flight',
    cell: (row) => duration(row.oldest_in_flight_ms),
    sort: (row) => row.oldest_in_flight_ms,
    number: true,
    note: 'Age of the oldest record that is acknowledged and not stored',
  },
  {
    name: 'late',
    title: 'Late',
    cell: (row) => count(row.late),
    sort: (row) => row.late,
    number: true,
    wide: true,
    note: 'Stored records that came behind a higher sequence',
  },
  {
    name: 'duplicates',
    title: 'Repeats',
    cell: (row) => count(row.duplicates_absorbed),
    sort: (row) => row.duplicates_absorbed,
    number: true,
    wide: true,
    note: 'Records that came again and were stored once',
  },
];

/** @type {Column[]} */
const SOURCE_COLUMNS = [
  {
    name: 'source',
    title: 'Source',
    cell: (row) => html`<a href=${hrefOf('delivery', undefined, { source: row.source })}>${row.source}</a>`,
    sort: (row) => row.source,
    grow: true,
  },
  { name: 'account', title: 'Account', cell: accountMark, sort: gravityOf },
  ...TERMS,
];

/** @type {Column[]} */
const EPOCH_COLUMNS = [
  {
    name: 'epoch',
    title: 'Epoch',
    cell: (row) => html`<code>${String(row.epoch)}</code>`,
    note: 'One start of the sender',
  },
  { name: 'account', title: 'Account', cell: accountMark, sort: gravityOf },
  {
    name: 'sequences',
    title: 'Batches',
    cell: ({ sequence_min, sequence_max }) => sequencesText(sequence_min, sequence_max),
    sort: (row) => row.sequence_max,
    number: true,
    wide: true,
    note: 'The first and the last sequence that is stored',
  },
  ...TERMS,
];

const GAP_WORDS = { declared: 'declared lost', in_flight: 'may be in flight', missing: 'missing' };
const GAP_TONES = /** @type {const} */ ({ declared: 'warn', in_flight: 'info', missing: 'page' });

/** @type {Column[]} */
const GAP_COLUMNS = [
  { name: 'epoch', title: 'Epoch', cell: (row) => html`<code>${String(row.epoch)}</code>`, wide: true },
  {
    name: 'from',
    title: 'Sequences',
    cell: ({ from_sequence, to_sequence }) => sequencesText(from_sequence, to_sequence),
    sort: (row) => row.from_sequence,
  },
  {
    name: 'batches',
    title: 'Batches',
    cell: (row) => count(row.to_sequence - row.from_sequence + 1),
    sort: (row) => row.to_sequence - row.from_sequence,
    number: true,
  },
  {
    name: 'state',
    title: 'What is known',
    cell: ({ state }) => {
      const known = /** @type {keyof typeof GAP_WORDS} */ (state);
      return html`<${Mark} word=${state} tone=${GAP_TONES[known]} text=${GAP_WORDS[known]} />`;
    },
    sort: (row) => row.state,
    grow: true,
  },
];

/** @param {number | null} from @param {number | null} to */
function sequencesText(from, to) {
  return from === to ? count(from) : `${count(from)} – ${count(to)}`;
}

/** @param {Account} row */
function inFlightText({ in_flight, in_flight_known }) {
  if (in_flight_known) return count(in_flight);
  return html`<span title="This process cannot see all that is on its way">${in_flight === 0 ? 'not known' : `≥ ${count(in_flight)}`}</span>`;
}

/** @param {Account} row */
function lossText({ lost, declared_loss }) {
  const reasons = Object.entries(declared_loss).filter(([, amount]) => amount > 0);
  if (reasons.length === 0) return '0';
  const list = reasons.map(([reason, amount]) =>
    reasons.length === 1 ? words(reason) : `${words(reason)} ${count(amount)}`,
  );
  return html`${count(lost)} <span class="quiet">${list.join(', ')}</span>`;
}

/** How much is wrong, for the order. @param {Account} row */
function gravityOf({ unaccounted, sequences_lost, lost }) {
  return unaccounted * 1e6 + sequences_lost * 1e3 + Math.min(lost, 999);
}

/** The gravest thing to say of an account. @param {Account} row */
function accountMark(row) {
  if (row.unaccounted > 0) return sumMark(row);
  if (row.sequences_lost > 0) return batchesMark(row);
  if (row.lost > 0) return html`<${Mark} word="warn" text="loss declared" />`;
  return sumMark(row);
}

/** @param {Account} row */
function sumMark({ unaccounted, in_flight_known }) {
  if (unaccounted > 0) return html`<${Mark} word="fail" text=${`${count(unaccounted)} unaccounted for`} />`;
  if (!in_flight_known) return html`<${Mark} word="none" text="stored adds up" />`;
  return html`<${Mark} word="ok" text="adds up" />`;
}

/** @param {Account} row */
function batchesMark({ sequences_lost }) {
  return html`<${Mark} word="warn" text=${`${counted(sequences_lost, 'batch', 'batches')} missing`} />`;
}

/**
 * The account as a sum that a reader can check: emitted = stored + in flight + declared loss.
 * @param {{ account: Account }} props
 */
function Equation({ account }) {
  const { emitted, stored, in_flight, in_flight_known, lost, unaccounted, sequences_lost } = account;
  const waiting = in_flight_known ? count(in_flight) : in_flight === 0 ? '?' : `≥ ${count(in_flight)}`;
  const rest = emitted - stored - in_flight - lost;
  return html`<p class="equation" aria-label="The account in records">
    <span><b>${count(emitted)}</b> emitted</span> <span>= <b>${count(stored)}</b> stored</span>${' '}
    <span>+ <b>${waiting}</b> in flight</span> <span>+ <b>${count(lost)}</b> declared loss</span>${' '}
    ${rest !== 0 && html`<span class="wrong">${rest > 0 ? '+' : '−'} <b>${count(Math.abs(rest))}</b> ${rest > 0 ? 'unaccounted for' : 'too many'}</span> `}
    ${unaccounted > 0 ? html`<${Mark} word="fail" text="does not add up" />` : sumMark(account)}${' '}
    ${sequences_lost > 0 && batchesMark(account)}
  </p>`;
}

/** The account: every record emitted is stored, on its way, or declared lost. @param {{ query: Record<string, string> }} props */
export function Delivery({ query }) {
  const { source } = query;
  return source === undefined
    ? html`<${EverySource} query=${query} />`
    : html`<${OneSource} source=${source} query=${query} />`;
}

/** @param {{ query: Record<string, string> }} props */
function EverySource({ query }) {
  const { cursor } = query;
  return html`
    <h1>Delivery</h1>
    <${Resource} path=${`/api/v1/delivery${queryText({ limit: 500, cursor })}`} empty=${(/** @type {any} */ value) => (value.items.length === 0 ? EMPTY : null)}>
      ${(/** @type {any} */ value) => {
        const all = accountOf(
          value.next_cursor === null && cursor === undefined ? 'All sources' : 'This page',
          value.items,
        );
        return html`
          <${Equation} account=${all} />
          <${Unknown} account=${all} />
          <${Table} caption="The account by source, in records" columns=${SOURCE_COLUMNS} rows=${accountsOf(value.items)} keyOf=${(/** @type {Account} */ row) => row.source} foot=${html`<${Total} account=${all} />`} />
          <${More} list="delivery" query=${query} cursor=${value.next_cursor} />
        `;
      }}
    <//>
  `;
}

/** @param {{ source: string, query: Record<string, string> }} props */
function OneSource({ source, query }) {
  const path = `/api/v1/delivery${queryText({ limit: 500, source, cursor: query['cursor'] })}`;
  return html`
    <h1>Delivery of ${source}</h1>
    <p><a href="/delivery">All sources</a></p>
    <${Resource} path=${path} empty=${(/** @type {any} */ value) => (value.items.length === 0 ? html`<p>Nothing has arrived from this source. <a href="/delivery">All sources</a></p>` : null)}>
      ${(/** @type {any} */ value) => {
        const all = accountOf(source, value.items);
        const rows = value.items.map((/** @type {Item} */ item) => ({ ...item, ...accountOf(source, [item]) }));
        return html`
          <${Equation} account=${all} />
          <${Unknown} account=${all} />
          <h2>Epochs</h2>
          <p class="quiet">One start of the sender each; it numbers its batches from 1.</p>
          <${Table} caption="The account by epoch, in records" columns=${EPOCH_COLUMNS} rows=${rows} keyOf=${(/** @type {Item} */ row) => String(row.epoch)} />
          <${Gaps} items=${value.items} />
          <${More} list="delivery" query=${query} cursor=${value.next_cursor} />
        `;
      }}
    <//>
  `;
}

/** @param {{ account: Account }} props */
function Unknown({ account }) {
  if (account.in_flight_known) return null;
  return html`<p class="quiet">This process cannot see everything that is on its way: what is in flight, and so what was emitted, may be more.</p>`;
}

/** @param {{ items: ReadonlyArray<Item> }} props */
function Gaps({ items }) {
  const rows = items.flatMap(({ epoch, gaps }) => gaps.map((gap) => ({ ...gap, epoch })));
  const omitted = items.reduce((sum, { gaps_omitted }) => sum + gaps_omitted, 0);
  if (rows.length === 0)
    return html`<h2>Gaps</h2><p>None: every batch between the first and the last of each epoch is stored.</p>`;
  return html`
    <h2>Gaps</h2>
    <p class="quiet">Batches between the first and the last of an epoch that the store does not hold.</p>
    <${Table} caption="Gaps in the sequences" columns=${GAP_COLUMNS} rows=${rows} keyOf=${(/** @type {any} */ row) => `${row.epoch}/${row.from_sequence}`} sortName="gaps" />
    ${omitted > 0 && html`<p class="quiet">${counted(omitted, 'more range', 'more ranges')} not listed; the missing ones come first.</p>`}
  `;
}

const EMPTY = html`<p>Nothing has arrived. Senders post records to <code>POST /v1/events</code>; <code>leeway demo</code> starts some.</p>`;

/** @param {{ account: Account }} props */
function Total({ account }) {
  return html`<tr>
    <th scope="row">${account.source}</th>
    <td>${accountMark(account)}</td>
    <td class="number">${count(account.emitted)}</td><td class="number">${count(account.stored)}</td>
    <td class="number">${inFlightText(account)}</td><td class="number">${count(account.lost)}</td>
    <td class="number">${duration(account.oldest_in_flight_ms)}</td>
    <td class="number wide">${count(account.late)}</td><td class="number wide">${count(account.duplicates_absorbed)}</td>
  </tr>`;
}
