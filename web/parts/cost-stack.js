import { localTime, money } from '../format.js';
import { drawnBands, periodsOf } from '../cost-bands.js';
import { html } from './dom.js';
import { useWidth } from './timeline.js';

const HEIGHT = 220;
const LEFT = 64;
const BOTTOM = 20;
const NEUTRAL = { overhead: 'neutral-3', idle: 'neutral-1', stranded: 'neutral-2', unobserved: 'neutral-4' };
const SERIES_MAX = 6;
/** A single hour is a column, not a wall. */
const COLUMN_MAX = 96;

/**
 * Cost by period, tenants in colour and what nobody used in neutral tones. A click on a period chooses it.
 * @param {{ bands: ReadonlyArray<import('../cost-bands.js').Band>, period: string, chosen: number | null, onChoose: (period_ms: number) => void }} props
 */
export function CostStack({ bands, period, chosen, onChoose }) {
  const { ref, width } = useWidth();
  const drawn = drawnBands(bands).map((band, index) => ({ ...band, color: colorOf(band.category, index) }));
  const periods = periodsOf(bands);
  const totals = periods.map((at) => drawn.reduce((sum, band) => sum + Number(band.byPeriod.get(at) ?? 0n), 0));
  const most = Math.max(...totals, 1);
  const inner = Math.max(1, width - LEFT);
  const each = Math.min(COLUMN_MAX, inner / Math.max(1, periods.length));
  const y = (/** @type {number} */ nano) => HEIGHT - BOTTOM - ((HEIGHT - BOTTOM - 12) * nano) / most;
  return html`<figure>
    <figcaption>Cost by ${period}, tenants in colour, idle, stranded and unobserved in grey. Choose ${period === 'hour' ? 'an' : 'a'} ${period} to see what makes it.</figcaption>
    <div ref=${ref}>${
      width > 0 &&
      html`<svg class="timeline" width=${width} height=${HEIGHT} role="group" aria-label=${`Cost by ${period}`}>
      ${[0.5, 1].map((share) => html`<g key=${share}><line class="lane" x1=${LEFT} x2=${width} y1=${y(most * share)} y2=${y(most * share)} /><text x=${LEFT - 8} y=${y(most * share) + 4} text-anchor="end">${money(BigInt(Math.round(most * share)))}</text></g>`)}
      <line class="lane" x1=${LEFT} x2=${width} y1=${y(0)} y2=${y(0)} />
      ${periods.map((at, index) => html`<${Column} key=${at} at=${at} total=${totals[index]} drawn=${drawn} x=${LEFT + index * each} width=${Math.max(1, each - 1)} y=${y} chosen=${at === chosen} onChoose=${onChoose} />`)}
      ${periods.filter((_, index) => index % Math.ceil(periods.length / Math.max(2, Math.floor(inner / 110))) === 0).map((at) => html`<text key=${at} x=${LEFT + periods.indexOf(at) * each} y=${HEIGHT - 4}>${tickText(at, period)}</text>`)}
    </svg>`
    }</div>
    <ul class="legend">${drawn.map((band) => html`<li key=${band.key}><${Swatch} color=${band.color} />${band.name}</li>`)}</ul>
  </figure>`;
}

/** @param {string} category @param {number} index */
function colorOf(category, index) {
  return NEUTRAL[/** @type {keyof typeof NEUTRAL} */ (category)] ?? `series-${(index % SERIES_MAX) + 1}`;
}

/** @param {{ color: string }} props */
export function Swatch({ color }) {
  return html`<span class="swatch" style=${{ background: `var(--${color})` }} aria-hidden="true"></span>`;
}

/** @param {number} at @param {string} period */
function tickText(at, period) {
  const text = localTime(at, { now_ms: 0 });
  return period === 'hour' ? text.slice(5, 16) : text.slice(0, period === 'day' ? 10 : 7);
}

/** @param {any} props */
function Column({ at, total, drawn, x, width, y, chosen, onChoose }) {
  let below = 0;
  const choose = () => onChoose(at);
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== 'Enter' && event.key !== ' ') return;
    event.preventDefault();
    choose();
  };
  const label = `${localTime(at, { now_ms: 0 })}: ${money(BigInt(Math.round(total)))}`;
  return html`<g role="button" tabindex="0" aria-label=${label} aria-pressed=${chosen ? 'true' : 'false'} class="column" onClick=${choose} onKeyDown=${onKeyDown}>
    <title>${label}</title>
    <rect x=${x} y="0" width=${width} height=${HEIGHT - BOTTOM} fill="transparent" />
    ${drawn.map((/** @type {any} */ band) => {
      const amount = Number(band.byPeriod.get(at) ?? 0n);
      const top = y(below + amount);
      const high = y(below) - top;
      below += amount;
      return high <= 0
        ? null
        : html`<rect key=${band.key} x=${x} width=${width} y=${top} height=${high} style=${{ fill: `var(--${band.color})` }} />`;
    })}
  </g>`;
}
