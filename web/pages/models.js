import { count, percent } from '../format.js';
import { html } from '../parts/dom.js';
import { Mark } from '../parts/marks.js';
import { Resource } from '../parts/resource.js';
import { Table } from '../parts/table.js';
import { Ago } from '../parts/text.js';
import { hrefOf, queryText } from '../route.js';
import { More } from './incidents.js';

/** @type {import('../parts/table.js').Column[]} */
const COLUMNS = [
  {
    name: 'model',
    title: 'Model',
    cell: (item) => html`<a href=${hrefOf('models', item.model)}>${item.model}</a>`,
    sort: (item) => item.model,
    grow: true,
  },
  { name: 'version', title: 'Version', cell: (item) => item.version ?? '–' },
  {
    name: 'status',
    title: 'Status',
    cell: (item) => html`<${Mark} word=${item.status} />`,
    sort: (item) => item.status,
  },
  {
    name: 'accuracy',
    title: 'Accuracy',
    cell: (item) => accuracyText(item.accuracy),
    sort: (item) => item.accuracy?.value ?? null,
    number: true,
    note: 'Realised, of labelled predictions; 95 % interval',
  },
  {
    name: 'reference',
    title: 'In reference',
    cell: (item) => percent(item.reference_accuracy, 1),
    number: true,
    wide: true,
  },
  {
    name: 'labelled',
    title: 'Labelled',
    cell: (item) => percent(item.accuracy?.completeness_ratio),
    number: true,
    wide: true,
    note: 'Share of predictions that have a label',
  },
  {
    name: 'features',
    title: 'Features drifted',
    cell: (item) => count(item.features_drifted),
    sort: (item) => item.features_drifted,
    number: true,
  },
  {
    name: 'predictions',
    title: 'Predictions',
    cell: (item) => count(item.predictions),
    sort: (item) => item.predictions,
    number: true,
    wide: true,
  },
  {
    name: 'seen',
    title: 'Last prediction',
    cell: (item) => html`<${Ago} at_ms=${item.last_at_ms} />`,
    sort: (item) => item.last_at_ms,
    wide: true,
  },
];

/**
 * Accuracy with its interval: "91.2 % (89.7 to 92.5)".
 * @param {any} accuracy
 */
export function accuracyText(accuracy) {
  if (accuracy === null || accuracy === undefined || typeof accuracy !== 'object')
    return html`<span title="No labelled prediction yet">–</span>`;
  const { value, low, high } = accuracy;
  const interval = low === null || high === null ? '' : ` (${(low * 100).toFixed(1)} to ${(high * 100).toFixed(1)})`;
  return html`${percent(value, 1)}<span class="quiet wide-inline">${interval}</span>`;
}

/** Served models. @param {{ query: Record<string, string> }} props */
export function Models({ query }) {
  const path = `/api/v1/models${queryText({ limit: 100, status: query['status'], cursor: query['cursor'] })}`;
  return html`
    <h1>Models</h1>
    <${Resource} path=${path} empty=${(/** @type {any} */ value) => (value.items.length === 0 ? EMPTY : null)}>
      ${(/** @type {any} */ value) => html`
        <${Table} caption="Models" columns=${COLUMNS} rows=${value.items} keyOf=${(/** @type {any} */ item) => item.model} />
        <${More} list="models" query=${query} cursor=${value.next_cursor} />
      `}
    <//>
  `;
}

const EMPTY = html`<p>No model has sent predictions. <code>leeway demo</code> serves one that drifts; a service of yours sends prediction records to <code>POST /v1/events</code>.</p>`;
