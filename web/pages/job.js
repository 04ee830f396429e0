import { count, counted, duration, gpuTime, percent, usd, words } from '../format.js';
import { setQuery } from '../parts/address.js';
import { Chart } from '../parts/chart.js';
import { html, useMemo } from '../parts/dom.js';
import { HeatMap } from '../parts/heat-map.js';
import { Mark } from '../parts/marks.js';
import { Resource } from '../parts/resource.js';
import { Problem } from '../parts/states.js';
import { RANKS_MAX, stepsMax, useSteps } from '../parts/steps.js';
import { Table } from '../parts/table.js';
import { Ago, CopyId, Facts } from '../parts/text.js';
import { apiPath, hrefOf, queryText } from '../route.js';
import { phaseSpans, ranksShown, stepTimes } from '../step-matrix.js';
import { INCIDENT_COLUMNS } from './incidents.js';

const STEPS_SHOWN = [100, 300, 1000, 3000];

/** One training job: where its time goes. @param {{ id: string, query: Record<string, string> }} props */
export function Job({ id, query }) {
  return html`<p class="quiet"><a href="/training">Training</a></p>
    <${Resource} path=${apiPath('jobs', id)} rows=${8} heading=${id}>${(/** @type {any} */ job) => html`<${Shown} job=${job} query=${query} />`}<//>`;
}

/** @param {{ job: any, query: Record<string, string> }} props */
function Shown({ job, query }) {
  return html`
    <h1>${job.job}</h1>
    <p class="sentence"><${Mark} word=${job.state} /> ${sentenceOf(job)}</p>
    <${Facts} facts=${[
      ['Team', job.team ?? '–'],
      ['Model', job.model === null ? '–' : html`<a href=${hrefOf('models', job.model)}>${job.model}</a>`],
      ['Ranks', count(job.world_size)],
      ['Attempt', count(job.attempt)],
      ['Step', count(job.last_step)],
      ['Last step', html`<${Ago} at_ms=${job.last_at_ms} />`],
      ['Median step time', duration(job.median_step_ms)],
      ['GPU time', gpuTime(job.gpu_seconds)],
      [
        'Coverage',
        html`<span title="Share of the step records that should have come">${percent(job.coverage_ratio)}</span>`,
      ],
      ['Name', html`<${CopyId} id=${job.job} label="job name" />`],
    ]} />
    <${Steps} job=${job} query=${query} />
    <${LostByCause} job=${job} />
    <h2>Ranks</h2><${Ranks} job=${job} chosen=${query['rank'] ?? null} />
  `;
}

/** @param {any} job */
function sentenceOf(job) {
  const open = job.incidents_open === 0 ? 'no open incident' : counted(job.incidents_open, 'open incident');
  const lost = lostText(job);
  return `${open}; ${lost}.`;
}

/** @param {any} job */
function lostText({ gpu_seconds_lost, usd_lost }) {
  if (gpu_seconds_lost === null) return 'time lost not known';
  if (gpu_seconds_lost === 0) return 'no GPU time lost';
  return `${gpuTime(gpu_seconds_lost)} of GPU time lost${usd_lost === null ? '' : ` (${usd(usd_lost)})`}`;
}

/** @param {{ job: any, query: Record<string, string> }} props */
function Steps({ job, query }) {
  const ranks = useMemo(() => (job.ranks.length > 0 ? ranksShown(job.ranks, RANKS_MAX) : []), [job.ranks]);
  const wanted = Math.min(Number(query['steps'] ?? 300) || 300, stepsMax(ranks.length));
  const newest = (job.last_step ?? -1) + 1;
  const to = Math.min(Number(query['to'] ?? newest) || newest, newest);
  const all = ranks.length === job.ranks.length;
  const { matrix, loading, problem } = useSteps(
    ranks.length === 0 ? null : { job: job.job, ranks, from: Math.max(0, to - wanted), to, all },
  );
  if (ranks.length === 0)
    return html`<div class="empty"><p>No rank has reported a step in the last 200 steps.</p></div>`;
  return html`
    <div class="row"><h2>Ranks by step</h2>${html`<${Range} steps=${wanted} to=${to} newest=${newest} most=${stepsMax(ranks.length)} />`}</div>
    ${!all && html`<p class="quiet">${counted(ranks.length, 'rank')} of ${count(job.ranks.length)}: the slowest half of them, and others evenly spread.</p>`}
    ${problem !== null && html`<${Problem} problem=${problem} path=${apiPath('jobs', job.job)} />`}
    ${
      matrix === null || matrix.steps.length === 0
        ? html`<p class="quiet" role="status">${loading ? 'Reading steps …' : 'No step records in this range.'}</p>`
        : html`<${HeatMap} matrix=${matrix} onRank=${(/** @type {number} */ rank) => setQuery({ rank })} /><${StepTimes} matrix=${matrix} />`
    }
  `;
}

/** @param {{ steps: number, to: number, newest: number, most: number }} props */
function Range({ steps, to, newest, most }) {
  const live = to === newest;
  return html`<div class="filters">
    <label>Steps <select value=${String(steps)} onChange=${(/** @type {any} */ event) => setQuery({ steps: event.target.value })}>
      ${[...new Set([...STEPS_SHOWN.filter((each) => each <= most), steps])].sort((a, b) => a - b).map((each) => html`<option key=${each} value=${String(each)}>${count(each)}</option>`)}
    </select></label>
    <button type="button" disabled=${to - steps <= 0} onClick=${() => setQuery({ to: Math.max(steps, to - steps) })}>Earlier</button>
    <button type="button" disabled=${live} onClick=${() => setQuery({ to: to + steps >= newest ? null : to + steps })}>Later</button>
    <button type="button" onClick=${() => setQuery({ to: live ? to : null })}>${live ? 'Hold here' : 'Follow the newest'}</button>
  </div>`;
}

/** @param {{ matrix: import('../step-matrix.js').StepMatrix }} props */
function StepTimes({ matrix }) {
  const times = useMemo(() => stepTimes(matrix), [matrix]);
  const markings = useMemo(
    () =>
      phaseSpans(matrix.phases).map(({ from, to, phase }) => ({
        at: matrix.steps[from] ?? 0,
        to: (matrix.steps[to - 1] ?? 0) + 1,
        label: phase,
        color: 'neutral-1',
      })),
    [matrix],
  );
  return html`<h2>Step time</h2><${Chart}
    summary="Time from step to step (median over ranks), and compute before the barrier: where the slowest rank leaves the median, the others wait. Other phases than training are shaded."
    x=${times.map(({ step }) => step)} format=${duration} formatX=${count} markings=${markings}
    lines=${[
      { label: 'step time', color: 'accent', width: 2, values: times.map((each) => each.median_ms) },
      { label: 'slowest compute', color: 'page', values: times.map((each) => each.compute_max_ms) },
      { label: 'median compute', color: 'neutral-3', values: times.map((each) => each.compute_median_ms) },
    ]} />`;
}

/** Incidents of the job, and what each cause cost. @param {{ job: any }} props */
function LostByCause({ job }) {
  return html`<${Resource} path=${`/api/v1/incidents${queryText({ job: job.job, limit: 100 })}`} rows=${2}>
    ${(/** @type {any} */ value) => html`
      <h2>Time lost by cause</h2><${CauseBars} incidents=${value.items} />
      <h2>Incidents</h2>
      ${value.items.length === 0 ? html`<p class="quiet">No incident of this job.</p>` : html`<${Table} caption="Incidents of this job" columns=${INCIDENT_COLUMNS.filter(({ name }) => name !== 'where')} rows=${value.items} keyOf=${(/** @type {any} */ item) => item.id} sortName="incidents" />`}
    `}
  <//>`;
}

/** @param {{ incidents: ReadonlyArray<any> }} props */
function CauseBars({ incidents }) {
  const sums = new Map();
  for (const { cause, gpu_seconds_lost } of incidents)
    sums.set(cause ?? 'unknown', (sums.get(cause ?? 'unknown') ?? 0) + (gpu_seconds_lost ?? 0));
  const causes = [...sums].filter(([, seconds]) => seconds > 0).sort((a, b) => b[1] - a[1]);
  if (causes.length === 0) return html`<p class="quiet">No time was lost to a cause that a rule looks for.</p>`;
  const most = causes[0]?.[1] ?? 1;
  return html`<div class="bars">${causes.map(
    ([cause, seconds]) => html`
    <span key=${cause}>${words(cause)}</span><span class="bar" style=${{ width: `${(100 * seconds) / most}%` }}></span><span class="number">${gpuTime(seconds)}</span>`,
  )}</div>`;
}

/** @type {import('../parts/table.js').Column[]} */
const RANK_COLUMNS = [
  { name: 'rank', title: 'Rank', cell: (rank) => count(rank.rank), sort: (rank) => rank.rank },
  { name: 'node', title: 'Node', cell: (rank) => rank.node ?? '–', sort: (rank) => rank.node },
  { name: 'gpu', title: 'GPU', cell: (rank) => String(rank.gpu ?? '–') },
  {
    name: 'compute',
    title: 'Compute',
    cell: (rank) => duration(rank.compute_ms_median),
    sort: (rank) => rank.compute_ms_median,
    number: true,
    note: 'Median over the last 200 steps',
  },
  {
    name: 'cohort',
    title: 'Against cohort',
    cell: cohortText,
    sort: (rank) => rank.cohort_ratio,
    number: true,
    note: 'Compute against the faster quartile of ranks',
  },
  {
    name: 'step',
    title: 'Last step',
    cell: (rank) => count(rank.last_step),
    sort: (rank) => rank.last_step,
    number: true,
  },
];

/** @param {any} rank */
function cohortText({ cohort_ratio }) {
  if (cohort_ratio === null) return '–';
  const away = cohort_ratio - 1;
  if (Math.abs(away) < 0.0005) return 'even';
  const text = `${percent(Math.abs(away))} ${away > 0 ? 'slower' : 'faster'}`;
  return away >= 0.03 ? html`<${Mark} word="slowed" text=${text} />` : text;
}

/** @param {{ job: any, chosen: string | null }} props */
function Ranks({ job, chosen }) {
  if (job.ranks.length === 0) return html`<p class="quiet">No rank has reported lately.</p>`;
  return html`<${Table} caption="Ranks" columns=${RANK_COLUMNS} rows=${job.ranks} keyOf=${(/** @type {any} */ rank) => String(rank.rank)} sortName="ranks" current=${chosen} />`;
}
