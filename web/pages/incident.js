import { count, duration, gpuTime, percent, usd, words } from '../format.js';
import { Acting } from '../parts/acting.js';
import { html, useState } from '../parts/dom.js';
import { Evidence, findingValue } from '../parts/evidence.js';
import { Gates } from '../parts/gates.js';
import { History } from '../parts/history.js';
import { Mark } from '../parts/marks.js';
import { Resource, useNow, useResource } from '../parts/resource.js';
import { useSteps } from '../parts/steps.js';
import { Chart } from '../parts/chart.js';
import { Table } from '../parts/table.js';
import { CopyId, Facts, Time } from '../parts/text.js';
import { apiPath, hrefOf } from '../route.js';
import { againstCohort } from '../step-matrix.js';

const HOUR_MS = 3_600_000;
const SNOOZES = [1, 4, 24, 168];
/** Ranks read to show some of them against the others. */
const COHORT_MAX = 16;
const COHORT_STEPS = 300;

/** One incident: what is wrong, who, since when, what it costs, what was done, how sure it is. @param {{ id: string }} props */
export function Incident({ id }) {
  return html`<p class="quiet"><a href="/incidents">Incidents</a></p>
    <${Resource} path=${apiPath('incidents', id)} rows=${8} heading=${id}>${(/** @type {any} */ incident) => html`<${Shown} incident=${incident} />`}<//>`;
}

/** @param {{ incident: any }} props */
function Shown({ incident }) {
  return html`
    <h1>${incident.title}</h1>
    <p class="sentence"><${Mark} word=${incident.severity} /> <${Sentence} incident=${incident} /></p>
    <${Facts} facts=${factsOf(incident)} />
    <${Actions} incident=${incident} />
    ${incident.job !== undefined && html`<${AgainstCohort} incident=${incident} />`}
    <h2>Findings</h2>
    ${incident.findings.length === 0 ? html`<p class="quiet">No finding is attached: it was reported from outside.</p>` : incident.findings.map((/** @type {any} */ finding, /** @type {number} */ index) => html`<${Finding} key=${index} finding=${finding} />`)}
    <h2>Notifications</h2><${Notifications} items=${incident.notifications} />
    <h2>Retraining decisions</h2>
    ${incident.decisions.length === 0 ? html`<p class="quiet">No retraining was considered for it.</p>` : incident.decisions.map((/** @type {any} */ decision) => html`<div key=${decision.id}><p><a href=${hrefOf('retraining', decision.id)}>${decision.model}</a> <${Mark} word=${decision.state} /> <span class="quiet">${decision.reason ?? ''}</span></p><${Gates} gates=${decision.gates} /></div>`)}
    <h2>History</h2><${History} events=${incident.events} />
  `;
}

/** In plain words: how long, why, what it cost and costs. @param {{ incident: any }} props */
function Sentence({ incident }) {
  const now_ms = useNow();
  const started = incident.started_at_ms ?? incident.opened_at_ms;
  const over = incident.resolved_at_ms !== null;
  const lasted =
    started === null ? '' : `${over ? 'Lasted' : 'For'} ${duration((incident.resolved_at_ms ?? now_ms) - started)}`;
  const cause =
    incident.cause === null || incident.cause === 'unknown' ? 'cause not known' : `cause: ${words(incident.cause)}`;
  const lost =
    incident.usd_lost === null && incident.model !== undefined
      ? ''
      : incident.usd_lost === null
        ? 'cost not known, no price covers it'
        : `${usd(incident.usd_lost)} lost`;
  const rate = incident.usd_per_hour === null || over ? '' : `, ${usd(incident.usd_per_hour)}/h`;
  return html`${[lasted, cause, lost + rate].filter((part) => part !== '').join('; ')}.`;
}

/** @param {any} incident */
function factsOf(incident) {
  return [
    ['Status', html`${words(incident.status)} <span class="quiet">(${words(incident.state)})</span>`],
    ['Since', html`<${Time} at_ms=${incident.started_at_ms} withAgo />`],
    ['Opened', html`<${Time} at_ms=${incident.opened_at_ms} />`],
    incident.resolved_at_ms !== null && ['Resolved', html`<${Time} at_ms=${incident.resolved_at_ms} />`],
    incident.job !== undefined && ['Job', html`<a href=${hrefOf('training', incident.job)}>${incident.job}</a>`],
    incident.model !== undefined && [
      'Model',
      html`<a href=${hrefOf('models', incident.model)}>${incident.model}</a> ${incident.version ?? ''}`,
    ],
    ['Who', incident.subjects.map((/** @type {any} */ { type, id }) => `${type} ${id}`).join(', ') || '–'],
    ['GPU time lost', gpuTime(incident.gpu_seconds_lost)],
    ['Coverage', html`<span title="Share of the data it should have seen">${percent(incident.coverage_ratio)}</span>`],
    ['Rule', incident.rule ?? 'reported from outside'],
    incident.runbook_url !== null && [
      'Runbook',
      /^https?:\/\//.test(incident.runbook_url)
        ? html`<a href=${incident.runbook_url} target="_blank" rel="noreferrer">${incident.runbook_url}</a>`
        : html`<code>${incident.runbook_url}</code>`,
    ],
    ['Id', html`<${CopyId} id=${incident.id} label="incident id" />`],
  ];
}

/** @param {{ incident: any }} props */
function Actions({ incident }) {
  const [hours, setHours] = useState(1);
  const of = (/** @type {string} */ verb) => apiPath('incidents', incident.id, `/${verb}`);
  const over = incident.status === 'resolved';
  const until = () => ({
    ends_at_ms: Date.now() + hours * HOUR_MS,
    matchers: [{ field: 'incident', value: incident.id }],
  });
  return html`<${Acting} actions=${[
    {
      name: 'Acknowledge',
      path: of('acknowledge'),
      disabled: over || incident.status === 'acknowledged',
      primary: true,
      done: 'Acknowledged.',
    },
    { name: 'Snooze', path: of('snooze'), body: () => ({ for_ms: hours * HOUR_MS }), disabled: over, done: 'Snoozed.' },
    {
      name: 'Silence',
      path: '/api/v1/silences',
      body: until,
      noteIn: 'comment',
      disabled: over,
      done: 'Silenced: it goes on being judged and tells nobody.',
    },
    { name: 'Resolve', path: of('resolve'), disabled: over, done: 'Resolved.' },
  ]}><label class="quiet">for <select value=${hours} onChange=${(/** @type {any} */ event) => setHours(Number(event.target.value))}>
      ${SNOOZES.map((each) => html`<option key=${each} value=${each}>${duration(each * HOUR_MS)}</option>`)}
    </select></label><//>`;
}

/** @param {{ finding: any }} props */
function Finding({ finding }) {
  return html`
    <p>
      <strong>${words(finding.name)}</strong> ${findingValue(finding.name, finding.value)}
      <span class="quiet"> against ${finding.threshold === null ? 'no threshold' : thresholdText(finding)}, from <${Time} at_ms=${finding.window.from_ms} /> to <${Time} at_ms=${finding.window.to_ms} /></span>
    </p>
    <${Evidence} evidence=${finding.evidence} />
  `;
}

/** @param {any} finding */
function thresholdText({ name, threshold }) {
  if (typeof threshold === 'number') return findingValue(name, threshold);
  return Object.entries(Object(threshold))
    .map(([how, value]) => `${words(how)} ${typeof value === 'number' ? findingValue(name, value) : String(value)}`)
    .join(', ');
}

/** The ranks of the incident against all others. @param {{ incident: any }} props */
function AgainstCohort({ incident }) {
  const { value: job } = useResource(apiPath('jobs', incident.job));
  const chosen = ranksOf(incident, job);
  const others = (job?.ranks ?? [])
    .map((/** @type {any} */ each) => each.rank)
    .filter((/** @type {number} */ rank) => !chosen.includes(rank));
  const every = Math.max(1, Math.ceil(others.length / COHORT_MAX));
  const ranks = [
    ...chosen.slice(0, COHORT_MAX),
    ...others.filter((/** @type {number} */ _rank, /** @type {number} */ index) => index % every === 0),
  ];
  const to = (job?.last_step ?? -1) + 1;
  const { matrix } = useSteps(
    chosen.length === 0 || ranks.length < 2
      ? null
      : { job: incident.job, ranks, from: Math.max(0, to - COHORT_STEPS), to, all: false },
  );
  if (job === undefined || chosen.length === 0 || ranks.length < 2) return null;
  if (matrix === null) return html`<h2>Against its cohort</h2><p class="chart quiet" role="status">Reading steps …</p>`;
  if (matrix.steps.length === 0) return null;
  const points = againstCohort(matrix, chosen);
  const who = `Rank ${chosen.slice(0, 8).join(', ')}${chosen.length > 8 ? ' …' : ''}`;
  return html`<h2>Against its cohort</h2><${Chart}
    summary=${`Compute before the barrier by step: ${who} against the median of ${count(ranks.length - Math.min(chosen.length, COHORT_MAX))} other ranks; the band reaches from their fastest to their slowest.`}
    x=${points.map((point) => point.step)} format=${duration} formatX=${count}
    lines=${[
      { label: who, color: 'page', width: 2, values: points.map((point) => point.own_ms) },
      { label: 'median of the others', color: 'accent', values: points.map((point) => point.cohort_ms) },
      { label: 'slowest other', color: 'neutral-2', width: 0.5, values: points.map((point) => point.high_ms) },
      { label: 'fastest other', color: 'neutral-2', width: 0.5, values: points.map((point) => point.low_ms) },
    ]}
    bands=${[{ upper: 2, lower: 3, color: 'accent' }]} />`;
}

/** @param {any} incident @param {any} job @returns {number[]} */
function ranksOf(incident, job) {
  const told = incident.findings.flatMap((/** @type {any} */ finding) =>
    Array.isArray(finding.evidence?.ranks) ? finding.evidence.ranks : [],
  );
  const named = incident.subjects
    .filter((/** @type {any} */ each) => each.type === 'rank')
    .map((/** @type {any} */ each) => Number(each.id));
  const nodes = incident.subjects
    .filter((/** @type {any} */ each) => each.type === 'node')
    .map((/** @type {any} */ each) => each.id);
  const onNodes = (job?.ranks ?? [])
    .filter((/** @type {any} */ each) => nodes.includes(each.node))
    .map((/** @type {any} */ each) => each.rank);
  const exact = [...told, ...named].filter(Number.isInteger);
  return [...new Set(exact.length > 0 ? exact : onNodes)].sort((a, b) => a - b);
}

/** @param {{ items: ReadonlyArray<any> }} props */
function Notifications({ items }) {
  if (items.length === 0)
    return html`<p class="quiet">Nobody was told: no sink takes incidents of this severity, or it is silenced. Sinks are under <a href="/settings">Settings</a>.</p>`;
  return html`<${Table} caption="Notifications" rows=${items} keyOf=${(/** @type {any} */ item) => item.id} columns=${[
    { name: 'state', title: 'State', cell: (/** @type {any} */ item) => html`<${Mark} word=${item.state} />` },
    { name: 'sink', title: 'Sink', cell: (/** @type {any} */ item) => item.sink },
    { name: 'type', title: 'Type', wide: true, cell: (/** @type {any} */ item) => html`<code>${item.type}</code>` },
    {
      name: 'created',
      title: 'Made',
      cell: (/** @type {any} */ item) => html`<${Time} at_ms=${item.created_at_ms} />`,
    },
    { name: 'attempts', title: 'Attempts', cell: (/** @type {any} */ item) => attemptText(item) },
    {
      name: 'next',
      title: 'Next',
      wide: true,
      cell: (/** @type {any} */ item) =>
        item.next_attempt_at_ms === null ? '–' : html`<${Time} at_ms=${item.next_attempt_at_ms} />`,
    },
    {
      name: 'replay',
      title: html`<span class="unseen">Deliver again</span>`,
      cell: (/** @type {any} */ item) =>
        html`<${Acting} note=${false} actions=${[{ name: 'Deliver again', path: apiPath('notifications', item.id, '/replay'), done: 'Queued.' }]} />`,
    },
  ]} />`;
}

/** @param {any} item */
function attemptText({ attempts }) {
  const last = attempts.at(-1);
  if (last === undefined) return 'none yet';
  const answer = last.http_status === null ? (last.reason ?? last.outcome) : `HTTP ${last.http_status}`;
  return `${count(attempts.length)}, last: ${answer}${last.duration_ms === null ? '' : ` in ${duration(last.duration_ms)}`}`;
}
