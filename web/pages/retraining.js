import { words } from '../format.js';
import { setQuery } from '../parts/address.js';
import { html } from '../parts/dom.js';
import { Mark } from '../parts/marks.js';
import { Resource } from '../parts/resource.js';
import { Table } from '../parts/table.js';
import { Time } from '../parts/text.js';
import { hrefOf, queryText } from '../route.js';
import { More } from './incidents.js';

const STATES = [
  'suppressed',
  'deferred',
  'suggested',
  'awaiting_approval',
  'approved',
  'dispatched',
  'expired',
  'rejected',
  'cancelled',
  'confirmed',
  'not_fixed',
];

/** @type {import('../parts/table.js').Column[]} */
const COLUMNS = [
  {
    name: 'model',
    title: 'Decision',
    cell: (item) => html`<a href=${hrefOf('retraining', item.id)}>${item.model} ${item.version ?? ''}</a>`,
    sort: (item) => item.model,
  },
  { name: 'state', title: 'State', cell: (item) => html`<${Mark} word=${item.state} />`, sort: (item) => item.state },
  { name: 'gates', title: 'Gates', cell: gatesText },
  { name: 'reason', title: 'Why', cell: (item) => item.reason ?? '–', wide: true, grow: true },
  { name: 'policy', title: 'Policy', cell: (item) => item.policy, wide: true },
  {
    name: 'created',
    title: 'Made',
    cell: (item) => html`<${Time} at_ms=${item.created_at_ms} />`,
    sort: (item) => item.created_at_ms,
  },
  { name: 'expires', title: 'Expires', cell: (item) => html`<${Time} at_ms=${item.expires_at_ms} />`, wide: true },
];

/** @param {any} item */
function gatesText({ gates }) {
  const held = gates.find((/** @type {any} */ gate) => gate.result === 'fail' || gate.result === 'defer');
  if (held !== undefined) return html`<${Mark} word=${held.result} text=${`${words(held.gate)}: ${held.result}`} />`;
  return gates.length === 0 ? '–' : html`<${Mark} word="pass" text=${`${gates.length} passed`} />`;
}

/** Retraining decisions and runs. @param {{ query: Record<string, string> }} props */
export function Retraining({ query }) {
  const { state, model, cursor } = query;
  const choose = (/** @type {any} */ event) => setQuery({ state: event.target.value, cursor: null });
  return html`
    <h1>Retraining</h1>
    <div class="filters">
      <label>State <select value=${state ?? ''} onChange=${choose}><option value="">any</option>${STATES.map((each) => html`<option key=${each} value=${each}>${words(each)}</option>`)}</select></label>
      ${model !== undefined && html`<span>of ${model} <a href=${hrefOf('retraining', undefined, { state })}>every model</a></span>`}
    </div>
    <${Resource} path=${`/api/v1/decisions${queryText({ limit: 100, state, model, cursor })}`} empty=${(/** @type {any} */ value) => (value.items.length === 0 ? emptyFor(state) : null)}>
      ${(/** @type {any} */ value) => html`<${Table} caption="Retraining decisions" columns=${COLUMNS} rows=${value.items} keyOf=${(/** @type {any} */ item) => item.id} /><${More} list="retraining" query=${query} cursor=${value.next_cursor} />`}
    <//>
    <h2>Runs</h2>
    <${Resource} path=${`/api/v1/retrain-runs${queryText({ limit: 50, model })}`} empty=${(/** @type {any} */ value) => (value.items.length === 0 ? html`<p>No run was started yet.</p>` : null)}>
      ${(/** @type {any} */ value) => html`<${Table} caption="Runs" columns=${RUN_COLUMNS} rows=${value.items} keyOf=${(/** @type {any} */ run) => run.id} sortName="runs" />`}
    <//>
  `;
}

/** @type {import('../parts/table.js').Column[]} */
const RUN_COLUMNS = [
  {
    name: 'model',
    title: 'Run',
    cell: (run) => html`<a href=${hrefOf('retraining', run.decision_id)}>${run.model}</a> <code>${run.id}</code>`,
  },
  { name: 'state', title: 'State', cell: (run) => html`<${Mark} word=${run.state} />` },
  { name: 'version', title: 'New version', cell: (run) => run.version ?? '–' },
  { name: 'reason', title: 'Reason', cell: (run) => run.reason ?? '–', wide: true, grow: true },
  { name: 'dispatched', title: 'Dispatched', cell: (run) => html`<${Time} at_ms=${run.dispatched_at_ms} />` },
  { name: 'updated', title: 'Last news', cell: (run) => html`<${Time} at_ms=${run.updated_at_ms} />`, wide: true },
];

/** @param {string | undefined} state */
function emptyFor(state) {
  if (state !== undefined) return html`<p>No decision is ${words(state)}. <a href="/retraining">Every decision</a></p>`;
  return html`<p>No model has given reason to retrain. <code>leeway demo</code> shows a decision with its gates, a run and its confirmation.</p>`;
}
