import { count, counted, duration, money, percent, bigintOf } from '../format.js';
import { html } from '../parts/dom.js';
import { Mark } from '../parts/marks.js';
import { Resource } from '../parts/resource.js';
import { Table } from '../parts/table.js';
import { Money, Time } from '../parts/text.js';
import { Timeline } from '../parts/timeline.js';
import { hrefOf } from '../route.js';

/** Later than this, what the page shows is old. */
const LAG_MS_OK = 5000;
const LISTED_MAX = 20;

/** One line of health per area, then the last 24 hours on one axis. One request, so that it shows at once. */
export function Overview() {
  return html`<h1>Overview</h1><${Resource} path="/api/v1/overview" rows=${7}>${(/** @type {any} */ value) => html`<${Shown} overview=${value} />`}<//>`;
}

/** @param {{ overview: any }} props */
function Shown({ overview }) {
  return html`
    <table class="health">
      <caption class="unseen">Health of every area</caption>
      <tbody>${linesOf(overview).map(
        (line) => html`<tr key=${line.name}>
        <th scope="row"><a href=${line.href}>${line.name}</a></th>
        <td class="figure">${line.figure}</td>
        <td><${Mark} tone=${line.tone} word=${line.word} />${line.rest !== '' && html` <span class="quiet">${line.rest}</span>`}</td>
      </tr>`,
      )}</tbody>
    </table>
    <h2>Last 24 hours</h2>
    <${Timeline} at_ms=${overview.at_ms} events=${overview.timeline} costs=${overview.cost_series} />
    ${
      overview.timeline.length === 0
        ? html`<div class="empty"><p>No incident, deploy or retraining in the last 24 hours. <code>leeway demo</code> shows a training job with a planted fault and a model that drifts.</p></div>`
        : html`<h2>What happened</h2><${Table} caption="What happened in the last 24 hours" keyOf=${keyOf} rows=${overview.timeline.toSorted(latestFirst).slice(0, LISTED_MAX)} columns=${COLUMNS} />`
    }
  `;
}

/** @param {any} a @param {any} b */
function latestFirst(a, b) {
  return b.at_ms - a.at_ms;
}

/** @param {any} event */
function keyOf({ at_ms, kind, title }) {
  return `${at_ms}/${kind}/${title}`;
}

const COLUMNS = [
  {
    name: 'kind',
    title: 'What',
    cell: (/** @type {any} */ event) =>
      html`<${Mark} word=${event.kind} tone=${event.severity ?? (event.kind === 'deploy' ? 'info' : 'ok')} text=${event.severity === undefined ? event.kind : `${event.kind}, ${event.severity}`} />`,
  },
  {
    name: 'title',
    title: 'Title',
    grow: true,
    cell: (/** @type {any} */ event) =>
      event.href === null ? event.title : html`<a href=${event.href}>${event.title}</a>`,
  },
  { name: 'at', title: 'When', cell: (/** @type {any} */ event) => html`<${Time} at_ms=${event.at_ms} />` },
];

/** @typedef {{ name: string, href: string, figure: unknown, tone: string, word: string, rest: string }} Line */

/** @param {any} overview @returns {Line[]} */
function linesOf({ incidents, jobs, models, cost, delivery, retraining }) {
  return [
    {
      name: 'Incidents',
      href: hrefOf('incidents'),
      figure: `${count(incidents.open)} open`,
      tone: incidents.page > 0 ? 'page' : incidents.warn > 0 ? 'warn' : 'ok',
      word:
        incidents.page > 0
          ? `${count(incidents.page)} page`
          : incidents.warn > 0
            ? `${count(incidents.warn)} warn`
            : 'nothing is wrong',
      rest: incidents.page > 0 && incidents.warn > 0 ? `and ${count(incidents.warn)} warn` : '',
    },
    areaLine({
      name: 'Training',
      href: hrefOf('training'),
      all: jobs.running,
      bad: jobs.slowed,
      of: 'job',
      is: 'running',
      badly: 'slowed',
      well: 'at full speed',
      none: 'no job has sent steps lately',
    }),
    areaLine({
      name: 'Models',
      href: hrefOf('models'),
      all: models.serving,
      bad: models.drifting,
      of: 'model',
      is: 'serving',
      badly: 'drifting',
      well: 'no drift',
      none: 'no model has sent predictions',
    }),
    costLine(cost),
    {
      name: 'Retraining',
      href: hrefOf('retraining'),
      figure: `${count(retraining.running)} running`,
      tone: retraining.awaiting_approval > 0 ? 'info' : 'ok',
      word:
        retraining.awaiting_approval > 0
          ? `${count(retraining.awaiting_approval)} awaiting approval`
          : 'nothing waits for you',
      rest: '',
    },
    deliveryLine(delivery),
  ];
}

/** @param {{ name: string, href: string, all: number, bad: number, of: string, is: string, badly: string, well: string, none: string }} area @returns {Line} */
function areaLine({ name, href, all, bad, of, is, badly, well, none }) {
  const figure = `${counted(all, of)} ${is}`;
  if (all === 0) return { name, href, figure, tone: 'none', word: none, rest: '' };
  return {
    name,
    href,
    figure,
    tone: bad > 0 ? 'warn' : 'ok',
    word: bad > 0 ? `${count(bad)} ${badly}` : well,
    rest: '',
  };
}

/** @param {any} cost @returns {Line} */
function costLine(cost) {
  const [today, idle, budget] = [
    bigintOf(cost.today_nano_usd),
    bigintOf(cost.idle_nano_usd),
    bigintOf(cost.budget_nano_usd),
  ];
  const line = { name: 'Cost', href: hrefOf('cost'), figure: html`<${Money} nano=${today} /> today` };
  if (today === null || today === 0n)
    return { ...line, tone: 'none', word: 'no priced asset has reported today', rest: '' };
  const share = idle === null ? '' : `${money(idle)} idle (${percent(Number(idle) / Number(today))})`;
  if (budget === null || budget === 0n) return { ...line, tone: 'none', word: 'no budget is set', rest: share };
  const burnt = Number(today) / Number(budget);
  return {
    ...line,
    tone: burnt >= 1 ? 'page' : burnt >= 0.8 ? 'warn' : 'ok',
    word: `${percent(burnt)} of ${money(budget)}`,
    rest: share,
  };
}

/** @param {any} delivery @returns {Line} */
function deliveryLine({ emitted, stored, in_flight, declared_loss, lag_ms }) {
  const lost =
    typeof declared_loss === 'number'
      ? declared_loss
      : Object.values(declared_loss).reduce((sum, each) => sum + Number(each), 0);
  const missing = emitted - stored - in_flight - lost;
  const late = lag_ms !== null && lag_ms > LAG_MS_OK;
  const word =
    emitted === 0
      ? 'nothing has arrived yet'
      : missing !== 0
        ? `${count(missing)} records unaccounted for`
        : lost > 0
          ? `${count(lost)} lost, declared`
          : late
            ? 'behind'
            : 'every record accounted for';
  const tone = emitted === 0 ? 'none' : missing !== 0 ? 'page' : lost > 0 || late ? 'warn' : 'ok';
  return {
    name: 'Delivery',
    href: hrefOf('delivery'),
    figure: lag_ms === null ? '– behind' : `${duration(lag_ms)} behind`,
    tone,
    word,
    rest: emitted === 0 ? '' : `${count(stored)} of ${count(emitted)} stored`,
  };
}
