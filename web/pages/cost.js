import { bandsOf, checkSum, tenantKey } from '../cost-bands.js';
import { bigintOf, gpuTime, money, moneyExact, percent, usd, valueOf, words } from '../format.js';
import { setQuery } from '../parts/address.js';
import { CostStack } from '../parts/cost-stack.js';
import { html, useMemo, useState } from '../parts/dom.js';
import { Resource } from '../parts/resource.js';
import { Table } from '../parts/table.js';
import { Facts, Money, Time } from '../parts/text.js';
import { queryText } from '../route.js';

const HOUR_MS = 3_600_000;
const SPANS = { '24h': 24, '7d': 168, '30d': 720, '90d': 2160 };
const GROUPINGS = {
  team: 'team',
  model: 'model',
  job: 'job',
  'team,model': 'team and model',
  'team,job': 'team and job',
  'model,team': 'model and team',
};
const PERIODS = ['hour', 'day', 'month'];

/** What the GPUs cost, who used them and what nobody used. @param {{ query: Record<string, string> }} props */
export function Cost({ query }) {
  const { span = '24h', period = span === '24h' ? 'hour' : 'day', by = 'team' } = query;
  const hours = SPANS[/** @type {keyof typeof SPANS} */ (span)] ?? 24;
  const fixed = query['from'] !== undefined && query['to'] !== undefined;
  // Whole hours, so that the path stays the same within one.
  const until = (Math.floor(Date.now() / HOUR_MS) + 1) * HOUR_MS;
  const [from, to] = fixed ? [Number(query['from']), Number(query['to'])] : [until - hours * HOUR_MS, until];
  // Without an end the ledger ends where its records do: an hour under way is not billed ahead as idle.
  const path = `/api/v1/costs${queryText({ from, to: fixed ? to : null, group_by: by, period })}`;
  const choose = (/** @type {string} */ name) => (/** @type {any} */ event) =>
    setQuery({ [name]: event.target.value, at: null });
  return html`
    <h1>Cost</h1>
    <div class="filters">
      <label>Time <select value=${fixed ? '' : span} onChange=${(/** @type {any} */ event) => setQuery({ span: event.target.value, from: null, to: null, period: null, at: null })}>
        ${fixed && html`<option value="">fixed</option>`}${Object.keys(SPANS).map((each) => html`<option key=${each} value=${each}>last ${each.replace(/(\d+)/, '$1 ')}</option>`)}
      </select></label>
      <label>By <select value=${period} onChange=${choose('period')}>${PERIODS.map((each) => html`<option key=${each} value=${each}>${each}</option>`)}</select></label>
      <label>Tenant <select value=${by} onChange=${choose('by')}>${Object.entries(GROUPINGS).map(([keys, name]) => html`<option key=${keys} value=${keys}>${name}</option>`)}</select></label>
      ${!fixed && html`<button type="button" onClick=${() => setQuery({ from, to, period })}>Fix this time in the address</button>`}
    </div>
    <${Resource} path=${path} rows=${8} empty=${(/** @type {any} */ value) => (value.items.length === 0 ? EMPTY : null)}>
      ${(/** @type {any} */ costs) => html`<${Shown} costs=${costs} period=${period} query=${query} />`}
    <//>
  `;
}

const EMPTY = html`<p>Nothing was billed in this time. Costs need <code>asset</code> and <code>price</code> records: <code>cost.assets_file</code> and <code>cost.prices_file</code> of the configuration name files of them, senders post them to <code>POST /v1/events</code>, and <code>leeway demo</code> sends some.</p>`;

/** @param {{ costs: any, period: string, query: Record<string, string> }} props */
function Shown({ costs, period, query }) {
  const bands = useMemo(() => bandsOf(costs.items), [costs]);
  const chosen = query['at'] === undefined ? null : Number(query['at']);
  return html`
    <p class="sentence">${sentenceOf(costs.totals)}</p>
    ${
      costs.warnings.length > 0 &&
      html`<div class="problem"><p><strong>The ledger warns.</strong> ${costs.warnings
        .slice(0, 10)
        .map((/** @type {unknown} */ each) => valueOf('', each))
        .join('; ')}</p></div>`
    }
    <${CostStack} bands=${bands} period=${period} chosen=${chosen} onChoose=${(/** @type {number} */ at) => setQuery({ at })} />
    ${chosen !== null && html`<${ChosenPeriod} bands=${bands} at=${chosen} period=${period} query=${query} />`}
    ${query['to'] !== undefined && Number(query['to']) > Date.now() && html`<p class="quiet">This time reaches beyond now: what is left of it counts as idle.</p>`}
    <h2>Who it was for</h2><${Bill} bands=${bands} totals=${costs.totals} />
  `;
}

/** @param {any} totals */
function sentenceOf(totals) {
  const billed = bigintOf(totals.billed_nano_usd) ?? 0n;
  const wasted = ['idle', 'stranded', 'unobserved']
    .map((name) => ({ name, nano: bigintOf(totals[`${name}_nano_usd`]) ?? 0n }))
    .filter(({ nano }) => nano !== 0n);
  const rest = wasted
    .map(({ name, nano }) => `${money(nano)} ${name} (${percent(Number(nano) / Number(billed))})`)
    .join(', ');
  return `${money(billed)} billed, ${money(totals.tenant_nano_usd)} of it used by tenants${rest === '' ? '' : `; ${rest}`}.`;
}

/** The table whose last row is the bill, to the nano-dollar. @param {{ bands: ReadonlyArray<any>, totals: any }} props */
function Bill({ bands, totals }) {
  const { sum, billed, exact } = useMemo(() => checkSum(bands, totals.billed_nano_usd), [bands, totals]);
  const share = (/** @type {bigint} */ nano) => (billed === 0n ? '–' : percent(Number(nano) / Number(billed)));
  /** @type {import('../parts/table.js').Column[]} */
  const columns = [
    {
      name: 'name',
      title: 'Tenant or category',
      grow: true,
      cell: (band) => (band.tenant === null ? words(band.category) : band.name),
    },
    {
      name: 'gpu',
      title: 'GPU time',
      number: true,
      wide: true,
      cell: (band) => gpuTime(band.gpu_seconds),
      sort: (band) => band.gpu_seconds,
    },
    { name: 'share', title: 'Share', number: true, cell: (band) => share(band.nano_usd) },
    {
      name: 'usd',
      title: 'Amount',
      number: true,
      cell: (band) => html`<${Money} nano=${band.nano_usd} />`,
      sort: (band) => Number(band.nano_usd),
    },
    { name: 'exact', title: 'Exactly', number: true, wide: true, cell: (band) => moneyExact(band.nano_usd) },
  ];
  const foot = html`<tr>
    <th scope="row">The bill</th><td class="number wide"></td><td class="number">${billed === 0n ? '–' : percent(1)}</td>
    <td class="number"><${Money} nano=${billed} /></td><td class="number wide">${moneyExact(billed)}</td>
  </tr>`;
  return html`
    <${Table} caption="Cost by tenant and category" columns=${columns} rows=${bands} keyOf=${(/** @type {any} */ band) => band.key} foot=${foot} />
    <p class=${exact ? 'quiet' : 'problem'}>${exact ? 'The rows add up to the bill exactly.' : `The rows add up to ${moneyExact(sum)}, not to the bill of ${moneyExact(billed)}: please report it.`}</p>
  `;
}

/** One period: its amounts, and the segments behind one of them. @param {{ bands: ReadonlyArray<any>, at: number, period: string, query: Record<string, string> }} props */
function ChosenPeriod({ bands, at, period, query }) {
  const rows = bands.filter((band) => band.byPeriod.has(at));
  const total = rows.reduce((sum, band) => sum + (band.byPeriod.get(at) ?? 0n), 0n);
  return html`
    <div class="row"><h2>The ${period} from <${Time} at_ms=${at} />: ${money(total)}</h2><button type="button" onClick=${() => setQuery({ at: null, of: null })}>Close</button></div>
    <${Table} caption="Amounts of the chosen period" rows=${rows} keyOf=${(/** @type {any} */ band) => band.key} sortName="hour" columns=${[
      { name: 'name', title: 'Tenant or category', grow: true, cell: (/** @type {any} */ band) => band.name },
      {
        name: 'usd',
        title: 'Amount',
        number: true,
        cell: (/** @type {any} */ band) => html`<${Money} nano=${band.byPeriod.get(at)} />`,
      },
      {
        name: 'exact',
        title: 'Exactly',
        number: true,
        cell: (/** @type {any} */ band) => moneyExact(band.byPeriod.get(at)),
      },
      {
        name: 'explain',
        title: html`<span class="unseen">Explain</span>`,
        cell: (/** @type {any} */ band) =>
          period === 'hour'
            ? html`<button type="button" class="link" onClick=${() => setQuery({ of: band.tenant === null ? band.category : tenantKey(band.tenant) })}>explain</button>`
            : '',
      },
    ]} />
    ${period === 'hour' ? html`<${Explain} at=${at} query=${query} />` : html`<p class="quiet">Choose "By hour" to see the segments behind an amount.</p>`}
  `;
}

/** The segments of one asset's hour. @param {{ at: number, query: Record<string, string> }} props */
function Explain({ at, query }) {
  const { asset = '', of = 'idle' } = query;
  const [text, setText] = useState(asset);
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    setQuery({ asset: text.trim(), of });
  };
  return html`
    <form class="filters" onSubmit=${submit}>
      <label>Asset <input value=${text} placeholder="id as in the asset record" onInput=${(/** @type {any} */ event) => setText(event.target.value)} /></label>
      <label>of <code>${of}</code></label>
      <button type="submit">Explain this hour</button>
    </form>
    ${asset === '' ? html`<p class="quiet">An amount is made on each asset by itself: name one to see its price, shares and segments. A tenant is found by all of its keys: choose them under Tenant first.</p>` : html`<${Resource} path=${`/api/v1/costs/explain${queryText({ asset, hour: at, tenant: of })}`}>${(/** @type {any} */ value) => html`<${Explanation} value=${value} />`}<//>`}
  `;
}

/** @param {{ value: any }} props */
function Explanation({ value }) {
  const segments = (value.segments ?? []).map((/** @type {any} */ segment, /** @type {number} */ index) => ({
    ...segment,
    index,
  }));
  return html`
    <${Facts} facts=${[
      ['Asset', html`<code>${value.asset}</code>`],
      ['Hour', html`<${Time} at_ms=${value.hour_ms} />`],
      ['Bill of the asset', moneyExact(value.bill_nano_usd)],
      ...(value.rows ?? []).map((/** @type {any} */ row) => [
        row.correction ? 'Correction' : words(row.category),
        moneyExact(row.nano_usd),
      ]),
    ]} />
    ${
      segments.length === 0
        ? html`<p class="quiet">It has no segments of its own: it is the asset's bill less what the others used.</p>`
        : html`<${Table} caption="Segments" rows=${segments} keyOf=${(/** @type {any} */ segment) => String(segment.index)} sortName="segments" columns=${[
            {
              name: 'from',
              title: 'From',
              cell: (/** @type {any} */ segment) => html`<${Time} at_ms=${segment.from_ms} />`,
            },
            { name: 'to', title: 'To', cell: (/** @type {any} */ segment) => html`<${Time} at_ms=${segment.to_ms} />` },
            { name: 'mode', title: 'Mode', cell: (/** @type {any} */ segment) => words(segment.mode) },
            {
              name: 'price',
              title: 'Price per hour',
              number: true,
              cell: (/** @type {any} */ segment) => usd(segment.usd_per_hour),
            },
            {
              name: 'share',
              title: 'Share of the asset',
              number: true,
              cell: (/** @type {any} */ segment) => `${segment.share_numerator}/${segment.share_denominator}`,
            },
            { name: 'usd', title: 'Amount', number: true, cell: (/** @type {any} */ segment) => `$${segment.usd}` },
          ]} />`
    }
  `;
}
