import { count, counted, duration, number, percent, power, valueOf, words } from '../format.js';
import { setQuery } from '../parts/address.js';
import { Chart } from '../parts/chart.js';
import { html, useMemo } from '../parts/dom.js';
import { FeatureMultiples } from '../parts/feature-multiples.js';
import { Mark } from '../parts/marks.js';
import { Resource } from '../parts/resource.js';
import { Table } from '../parts/table.js';
import { Ago, CopyId, Facts, Time } from '../parts/text.js';
import { apiPath, hrefOf, queryText } from '../route.js';
import { INCIDENT_COLUMNS } from './incidents.js';
import { accuracyText } from './models.js';

const HOUR_MS = 3_600_000;
const SPANS = { '6h': 6, '24h': 24, '7d': 168, '30d': 720 };

/** One served model: is it as good as its reference, and what moved. @param {{ id: string, query: Record<string, string> }} props */
export function Model({ id, query }) {
  return html`<p class="quiet"><a href="/models">Models</a></p>
    <${Resource} path=${apiPath('models', id)} rows=${8} heading=${id}>${(/** @type {any} */ model) => html`<${Shown} model=${model} query=${query} />`}<//>`;
}

/** @param {{ model: any, query: Record<string, string> }} props */
function Shown({ model, query }) {
  const { version, span } = query;
  const hours = SPANS[/** @type {keyof typeof SPANS} */ (span)];
  const from = useMemo(() => (hours === undefined ? null : Date.now() - hours * HOUR_MS), [hours]);
  const window = queryText({ version, from });
  return html`
    <h1>${model.model}</h1>
    <p class="sentence"><${Mark} word=${model.status} /> ${sentenceOf(model)}</p>
    <${Facts} facts=${factsOf(model)} />
    <div class="filters">
      <label>Version <select value=${version ?? ''} onChange=${(/** @type {any} */ event) => setQuery({ version: event.target.value })}>
        <option value="">active</option>${model.versions.map((/** @type {any} */ each) => html`<option key=${each.version} value=${each.version}>${each.version}</option>`)}
      </select></label>
      <label>Time <select value=${span ?? ''} onChange=${(/** @type {any} */ event) => setQuery({ span: event.target.value })}>
        <option value="">everything kept</option>${Object.keys(SPANS).map((each) => html`<option key=${each} value=${each}>last ${each.replace(/(\d+)/, '$1 ')}</option>`)}
      </select></label>
    </div>
    <h2>Accuracy</h2>
    <${Resource} path=${apiPath('models', model.model, `/quality${window}`)}>${(/** @type {any} */ quality) => html`<${Quality} quality=${quality} versions=${model.versions} />`}<//>
    <${Resource} path=${apiPath('models', model.model, `/drift${window}`)}>${(/** @type {any} */ drift) => html`<${Drift} drift=${drift} versions=${model.versions} />`}<//>
    <h2>Versions</h2><${Versions} versions=${model.versions} />
    <${ModelIncidents} model=${model.model} />
  `;
}

/** @param {any} model */
function sentenceOf({ accuracy, reference_accuracy, features_drifted, status }) {
  const drift =
    status === 'no_reference'
      ? 'no reference to compare with yet'
      : features_drifted === null
        ? 'no window assessed yet'
        : features_drifted === 0
          ? 'no feature drifts'
          : `${counted(features_drifted, 'feature')} ${features_drifted === 1 ? 'drifts' : 'drift'}`;
  if (accuracy === null) return `${drift}; no labelled prediction, so its accuracy is not known.`;
  const before = reference_accuracy === null ? '' : `, ${percent(reference_accuracy, 1)} in its reference`;
  return `${drift}; accuracy ${percent(accuracy.value, 1)} from ${percent(accuracy.completeness_ratio)} of predictions labelled${before}.`;
}

/** @param {any} model */
function factsOf({ model, version, predictions, last_at_ms, window, inference }) {
  const serving =
    inference === null
      ? [['Serving', 'no inference record yet']]
      : [
          ['Requests', `${number(inference.requests_per_s)}/s`],
          ['Errors, last records', count(inference.errors)],
          ['Latency p50', duration(inference.total_ms_p50)],
          ['Latency p99', duration(inference.total_ms_p99)],
          ['Queue p50', duration(inference.queue_ms_p50)],
          ['Compute p50', duration(inference.compute_ms_p50)],
          ['Batch', number(inference.batch_mean)],
          ['Provider', inference.provider ?? '–'],
        ];
  return [
    ['Active version', version === null ? '–' : html`<${CopyId} id=${version} label="version" />`],
    ['Predictions', count(predictions)],
    ['Last prediction', html`<${Ago} at_ms=${last_at_ms} />`],
    window !== null && [
      'Newest window',
      html`<${Time} at_ms=${window.from_ms} /> to <${Time} at_ms=${window.to_ms} />`,
    ],
    ...serving,
    ['Name', html`<${CopyId} id=${model} label="model name" />`],
  ];
}

/** @param {ReadonlyArray<any>} versions */
function deploysOf(versions) {
  return versions
    .filter(({ deployed_at_ms }) => deployed_at_ms !== null)
    .map(({ deployed_at_ms, version }) => ({ at: deployed_at_ms, label: version, color: 'info' }));
}

/** A gap in the lines where the version changes. @param {ReadonlyArray<any>} items */
function apart(items) {
  return items.flatMap((item, index) => {
    const before = items[index - 1];
    const gap = { to_ms: item.from_ms, accuracy: null, low: null, high: null };
    return before === undefined || before.version === item.version ? [item] : [gap, item];
  });
}

/** @param {{ quality: any, versions: ReadonlyArray<any> }} props */
function Quality({ quality, versions }) {
  const { reference } = quality;
  const items = useMemo(() => apart(quality.items), [quality]);
  const markings = useMemo(
    () => deploysOf(versions),
    [JSON.stringify(versions.map(({ version, deployed_at_ms }) => [version, deployed_at_ms]))],
  );
  if (!items.some((/** @type {any} */ item) => item.accuracy !== null))
    return html`<div class="empty"><p>No prediction has a label yet. Send <code>label</code> records with the prediction's id to <code>POST /v1/events</code>.</p></div>`;
  const mean =
    items.reduce((/** @type {number} */ sum, /** @type {any} */ item) => sum + (item.completeness_ratio ?? 0), 0) /
    items.length;
  return html`<${Chart} time
    summary=${`Realised accuracy by window with its 95 % interval; ${percent(mean)} of predictions labelled on average. Lines mark the versions' first predictions.`}
    x=${items.map((/** @type {any} */ item) => item.to_ms)} format=${(/** @type {number} */ value) => percent(value, 1)} markings=${markings}
    lines=${[
      {
        label: 'accuracy',
        color: 'accent',
        width: 2,
        points: items.length < 60,
        values: items.map((/** @type {any} */ item) => item.accuracy),
      },
      { label: 'high', color: 'neutral-2', width: 0.5, values: items.map((/** @type {any} */ item) => item.high) },
      { label: 'low', color: 'neutral-2', width: 0.5, values: items.map((/** @type {any} */ item) => item.low) },
      { label: 'reference', color: 'ok', dash: [6, 4], values: items.map(() => reference?.accuracy ?? null) },
    ]}
    bands=${[{ upper: 1, lower: 2, color: 'accent' }]} />`;
}

/** More evidence than this is drawn as this much: it would press everything else flat. */
const EXPONENT_MAX = 12;

/** @param {number | null} value */
function exponentOf(value) {
  return value === null ? null : Math.max(-2, Math.min(EXPONENT_MAX, Math.log10(value)));
}

/** @param {number} exponent */
function evidenceText(exponent) {
  if (exponent >= EXPONENT_MAX) return `≥ ${power(10 ** EXPONENT_MAX)}`;
  return Number.isInteger(exponent) ? power(10 ** exponent) : number(10 ** exponent);
}

/** @param {{ drift: any, versions: ReadonlyArray<any> }} props */
function Drift({ drift, versions }) {
  const { windows, features, alpha, reference } = drift;
  const markings = useMemo(
    () => [
      ...windows
        .filter((/** @type {any} */ window) => window.status === 'drift')
        .map((/** @type {any} */ window) => ({ at: window.from_ms, to: window.to_ms, label: '', color: 'page' })),
      ...deploysOf(versions),
    ],
    [JSON.stringify(windows.at(-1) ?? null), versions.length],
  );
  return html`
    <h2>Evidence of drift over time</h2>
    ${
      windows.length === 0
        ? html`<div class="empty"><p>No window was assessed. The first ${reference === null ? 'predictions of a version become its reference' : 'full window after the reference is'}; it takes some hundred rows.</p></div>`
        : html`<${Chart} time           summary=${`Evidence that a change persists (e-value; 1 = none), ${counted(windows.length, 'window')}. Shaded windows raised the alarm: their least p-value lies below α = ${number(alpha)}, one false alarm in ${alpha === null ? '–' : counted(Math.round(1 / alpha), 'window')} expected.`}
          x=${windows.map((/** @type {any} */ window) => window.to_ms)} format=${evidenceText} markings=${markings}
          lines=${[
            {
              label: 'e-value',
              color: 'accent',
              width: 2,
              points: windows.length < 60,
              values: windows.map((/** @type {any} */ window) => exponentOf(window.e_value)),
            },
            {
              label: 'alarm line, 1/α',
              color: 'page',
              dash: [6, 4],
              values: windows.map(() => exponentOf(alpha === null ? null : 1 / alpha)),
            },
          ]} />`
    }
    <h2>Features</h2>
    ${
      features.length === 0
        ? html`<div class="empty"><p>No feature to compare: ${reference === null ? 'there is no reference yet' : 'no window was assessed'}.</p></div>`
        : html`<p class="quiet">Reference (filled, ${count(reference?.rows)} rows${reference?.edges_id === null || reference === null ? '' : html`, <code>${reference.edges_id}</code>`}) against the newest window (line), those that contribute most first.</p><${FeatureMultiples} features=${features} />`
    }
  `;
}

/** @type {import('../parts/table.js').Column[]} */
const VERSION_COLUMNS = [
  { name: 'version', title: 'Version', cell: ({ version }) => html`<${CopyId} id=${version} label="version" />` },
  {
    name: 'deployed',
    title: 'Deployed',
    cell: ({ deployed_at_ms }) => html`<${Time} at_ms=${deployed_at_ms} withAgo />`,
  },
  { name: 'action', title: 'How', cell: ({ action }) => words(action) },
  {
    name: 'accuracy',
    title: 'Accuracy',
    number: true,
    cell: ({ accuracy }) => (typeof accuracy === 'number' ? valueOf('accuracy', accuracy) : accuracyText(accuracy)),
  },
];

/** @param {{ versions: ReadonlyArray<any> }} props */
function Versions({ versions }) {
  if (versions.length === 0) return html`<p class="quiet">No version is known.</p>`;
  const latest = versions.toSorted((a, b) => (b.deployed_at_ms ?? 0) - (a.deployed_at_ms ?? 0));
  return html`<${Table} caption="Versions" columns=${VERSION_COLUMNS} rows=${latest} keyOf=${(/** @type {any} */ each) => each.version} sortName="versions" />`;
}

/** @param {{ model: string }} props */
function ModelIncidents({ model }) {
  return html`<h2>Incidents</h2><${Resource} path=${`/api/v1/incidents${queryText({ model, limit: 50 })}`} rows=${2}>
    ${(/** @type {any} */ value) => (value.items.length === 0 ? html`<p class="quiet">No incident of this model.</p>` : html`<${Table} caption="Incidents of this model" columns=${INCIDENT_COLUMNS.filter(({ name }) => name !== 'where')} rows=${value.items} keyOf=${(/** @type {any} */ item) => item.id} sortName="incidents" />`)}
  <//>
  <p class="quiet"><a href=${hrefOf('retraining', undefined, { model })}>Retraining decisions of this model</a></p>`;
}
