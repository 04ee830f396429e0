import { count, duration, gpuTime, percent, usd } from '../format.js';
import { setQuery } from '../parts/address.js';
import { html } from '../parts/dom.js';
import { Mark } from '../parts/marks.js';
import { Resource } from '../parts/resource.js';
import { Table } from '../parts/table.js';
import { Ago } from '../parts/text.js';
import { hrefOf, queryText } from '../route.js';
import { More } from './incidents.js';

const STATES = ['running', 'slowed', 'hung', 'ended'];

/** @type {import('../parts/table.js').Column[]} */
const COLUMNS = [
  {
    name: 'job',
    title: 'Job',
    cell: (job) => html`<a href=${hrefOf('training', job.job)}>${job.job}</a>`,
    sort: (job) => job.job,
    grow: true,
  },
  { name: 'state', title: 'State', cell: (job) => html`<${Mark} word=${job.state} />`, sort: (job) => job.state },
  { name: 'team', title: 'Team', cell: (job) => job.team ?? '–', sort: (job) => job.team, wide: true },
  { name: 'ranks', title: 'Ranks', cell: (job) => count(job.world_size), sort: (job) => job.world_size, number: true },
  {
    name: 'step',
    title: 'Step',
    cell: (job) => count(job.last_step),
    sort: (job) => job.last_step,
    number: true,
    wide: true,
  },
  {
    name: 'step_time',
    title: 'Step time',
    cell: (job) => duration(job.median_step_ms),
    sort: (job) => job.median_step_ms,
    number: true,
    note: 'Median over the ranks and steps stored',
  },
  {
    name: 'seen',
    title: 'Last step',
    cell: (job) => html`<${Ago} at_ms=${job.last_at_ms} />`,
    sort: (job) => job.last_at_ms,
    wide: true,
  },
  {
    name: 'coverage',
    title: 'Coverage',
    cell: (job) => percent(job.coverage_ratio),
    number: true,
    wide: true,
    note: 'Share of the step records that should have come',
  },
  {
    name: 'gpu',
    title: 'GPU time lost',
    cell: (job) => gpuTime(job.gpu_seconds_lost),
    sort: (job) => job.gpu_seconds_lost,
    number: true,
    wide: true,
  },
  {
    name: 'lost',
    title: 'Lost',
    cell: (job) => usd(job.usd_lost),
    sort: (job) => (job.usd_lost === null ? null : Number(job.usd_lost)),
    number: true,
  },
];

/** Training jobs, the latest first. @param {{ query: Record<string, string> }} props */
export function Training({ query }) {
  const { state, team, cursor } = query;
  const path = `/api/v1/jobs${queryText({ limit: 100, state, team, cursor })}`;
  return html`
    <h1>Training</h1>
    <div class="filters">
      <label>State <select value=${state ?? ''} onChange=${(/** @type {any} */ event) => setQuery({ state: event.target.value, cursor: null })}>
        <option value="">any</option>${STATES.map((each) => html`<option key=${each} value=${each}>${each}</option>`)}
      </select></label>
    </div>
    <${Resource} path=${path} empty=${(/** @type {any} */ value) => (value.items.length === 0 ? emptyFor(state) : null)}>
      ${(/** @type {any} */ value) => html`
        <${Table} caption="Training jobs" columns=${COLUMNS} rows=${value.items} keyOf=${(/** @type {any} */ job) => job.job} />
        <${More} list="training" query=${query} cursor=${value.next_cursor} />
      `}
    <//>
  `;
}

/** @param {string | undefined} state */
function emptyFor(state) {
  if (state !== undefined) return html`<p>No job is ${state}. <a href="/training">Every job</a></p>`;
  return html`<p>No job has reported a step. <code>leeway demo</code> starts one; a job of yours sends step records to <code>POST /v1/events</code>.</p>`;
}
