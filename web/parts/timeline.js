import { localTime, money, words } from '../format.js';
import { html, useEffect, useRef, useState } from './dom.js';
import { Shape } from './marks.js';

const LANES = [
  { kind: 'incident', name: 'Incidents' },
  { kind: 'deploy', name: 'Deploys' },
  { kind: 'retrain', name: 'Retraining' },
];
const LANE_HEIGHT = 28;
const COST_HEIGHT = 56;
const LABEL_WIDTH = 76;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** The width of an element, followed while it changes. */
export function useWidth() {
  const ref = useRef(/** @type {HTMLElement | null} */ (null));
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const element = ref.current;
    if (element === null) return undefined;
    const observer = new ResizeObserver(() => setWidth(Math.floor(element.clientWidth)));
    observer.observe(element);
    setWidth(Math.floor(element.clientWidth));
    return () => observer.disconnect();
  }, []);
  return { ref, width };
}

/**
 * The last 24 hours on one axis: incidents, deploys and retrainings in a lane each, cost by hour beneath.
 * @param {{ at_ms: number, events: ReadonlyArray<any>, costs: ReadonlyArray<{ at_ms: number, nano_usd: string }> }} props
 */
export function Timeline({ at_ms, events, costs }) {
  const { ref, width } = useWidth();
  const to_ms = Math.ceil(at_ms / HOUR_MS) * HOUR_MS;
  const from_ms = to_ms - DAY_MS;
  const inner = Math.max(1, width - LABEL_WIDTH - 8);
  const x = (/** @type {number} */ time) => LABEL_WIDTH + (inner * (time - from_ms)) / DAY_MS;
  const lanes = LANES.length * LANE_HEIGHT;
  const height = lanes + COST_HEIGHT + 20;
  return html`<div ref=${ref}>
    ${
      width > 0 &&
      html`<svg class="timeline" width=${width} height=${height} role="group" aria-label="The last 24 hours">
      ${LANES.map((lane, index) => html`<${Lane} key=${lane.kind} lane=${lane} y=${index * LANE_HEIGHT + LANE_HEIGHT / 2} x=${x} width=${width} from_ms=${from_ms} events=${events} now_ms=${at_ms} />`)}
      <${CostBars} costs=${costs} x=${x} top=${lanes} from_ms=${from_ms} at_ms=${to_ms} width=${width} />
      ${ticks(from_ms, to_ms, width < 600 ? 6 : 3).map(
        (tick) =>
          html`<g key=${tick}><line class="lane" x1=${x(tick)} x2=${x(tick)} y1=${height - 18} y2=${height - 14} /><text x=${x(tick)} y=${height - 3} text-anchor="middle">${clock(tick)}</text></g>`,
      )}
    </svg>`
    }
  </div>`;
}

/** @param {number} time */
function clock(time) {
  return localTime(time, { now_ms: time }).slice(0, 5);
}

/** Whole local hours between two times, every `hours`. @param {number} from_ms @param {number} to_ms @param {number} hours */
function ticks(from_ms, to_ms, hours) {
  const offset_ms = new Date(to_ms).getTimezoneOffset() * 60_000;
  const step_ms = hours * HOUR_MS;
  const first = Math.ceil((from_ms - offset_ms) / step_ms) * step_ms + offset_ms;
  return Array.from({ length: Math.floor((to_ms - first) / step_ms) + 1 }, (_, index) => first + index * step_ms);
}

/** @param {any} props */
function Lane({ lane, y, x, width, from_ms, events, now_ms }) {
  const shown = events.filter((/** @type {any} */ event) => event.kind === lane.kind && event.at_ms >= from_ms);
  return html`<g>
    <text x="0" y=${y + 4}>${lane.name}</text>
    <line class="lane" x1=${LABEL_WIDTH} x2=${width} y1=${y} y2=${y} />
    ${shown.map((/** @type {any} */ event, /** @type {number} */ index) => {
      const tone = event.severity ?? (lane.kind === 'deploy' ? 'info' : 'ok');
      const text = `${event.severity === undefined ? '' : `${words(event.severity)}: `}${event.title}, ${localTime(event.at_ms, { now_ms })}`;
      const mark = html`<title>${text}</title><g transform=${`translate(${x(event.at_ms) - 6} ${y - 6})`} data-tone=${tone}><${Shape} tone=${tone} /></g>`;
      return event.href === null
        ? html`<g key=${index} role="img" aria-label=${text}>${mark}</g>`
        : html`<a key=${index} href=${event.href} aria-label=${text}>${mark}</a>`;
    })}
  </g>`;
}

/** @param {any} props */
function CostBars({ costs, x, top, from_ms, at_ms, width }) {
  const amounts = costs.map((/** @type {any} */ cost) => Number(cost.nano_usd));
  const most = Math.max(...amounts, 1);
  const base = top + COST_HEIGHT;
  return html`<g>
    <text x="0" y=${base - 4}>Cost, $/h</text>
    <line class="lane" x1=${LABEL_WIDTH} x2=${width} y1=${base} y2=${base} />
    ${costs.map((/** @type {any} */ cost, /** @type {number} */ index) => {
      const left = x(Math.max(cost.at_ms, from_ms));
      const right = x(Math.min(cost.at_ms + HOUR_MS, at_ms));
      const high = ((COST_HEIGHT - 16) * (amounts[index] ?? 0)) / most;
      return right <= left
        ? null
        : html`<rect key=${cost.at_ms} class="cost" x=${left} width=${Math.max(1, right - left - 1)} y=${base - high} height=${high}><title>${`${localTime(cost.at_ms, { now_ms: at_ms })}: ${money(cost.nano_usd)}`}</title></rect>`;
    })}
    ${costs.length > 0 && html`<text x="0" y=${base - COST_HEIGHT + 26}>${`max ${money(BigInt(Math.round(most)))}`}</text>`}
  </g>`;
}
