import { number, percent, valueOf } from '../format.js';
import { html } from './dom.js';
import { Mark } from './marks.js';

const SHOWN_MAX = 60;
const HEIGHT = 60;

/**
 * A small histogram a feature, all of one size: the reference filled, the newest window as a line over it.
 * @param {{ features: ReadonlyArray<any> }} props
 */
export function FeatureMultiples({ features }) {
  const ordered = features.toSorted(
    (a, b) => Number(b.drifted) - Number(a.drifted) || (b.contribution ?? 0) - (a.contribution ?? 0),
  );
  return html`<div class="multiples">${ordered.slice(0, SHOWN_MAX).map((feature) => html`<${Feature} key=${feature.name} feature=${feature} />`)}</div>
    ${ordered.length > SHOWN_MAX && html`<p class="quiet">The first ${SHOWN_MAX} of ${ordered.length} features.</p>`}`;
}

/** @param {{ feature: any }} props */
function Feature({ feature }) {
  const { name, statistic, value, p_value, drifted, contribution, edges, reference_ratios, current_ratios } = feature;
  const bins = Math.max(reference_ratios.length, current_ratios.length, 1);
  const most = Math.max(...reference_ratios, ...current_ratios, 1e-9);
  const y = (/** @type {number} */ ratio) => HEIGHT - (HEIGHT * ratio) / most;
  const label = `${name}: ${drifted ? 'drifts' : 'stable'}, ${statistic} ${number(value)}, p ${number(p_value)}`;
  return html`<figure class=${drifted ? 'moved' : null}>
    <h3>${name}</h3>
    <div><${Mark} word=${drifted ? 'drift' : 'stable'} text=${drifted ? 'drifts' : 'stable'} /> <span class="quiet">${statistic} ${number(value)}, p ${number(p_value)}${!drifted || contribution === null ? '' : `, ${percent(contribution)} of the drift`}</span></div>
    <svg class="histogram" viewBox=${`0 0 ${bins} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label=${label}>
      ${reference_ratios.map((/** @type {number} */ ratio, /** @type {number} */ bin) => html`<rect key=${bin} class="reference" x=${bin} width="1" y=${y(ratio)} height=${HEIGHT - y(ratio)} />`)}
      <path class="current" d=${stairs(current_ratios, y)} />
    </svg>
    <div class="edges"><span>${edgeText(edges[0])}</span><span>${edges.length > 1 ? edgeText(edges.at(-1)) : ''}</span></div>
  </figure>`;
}

/** @param {ReadonlyArray<number>} ratios @param {(ratio: number) => number} y */
function stairs(ratios, y) {
  return ratios.map((ratio, bin) => `${bin === 0 ? 'M0 ' : 'V'}${y(ratio)}H${bin + 1}`).join('');
}

/** @param {unknown} edge */
function edgeText(edge) {
  return typeof edge === 'number' ? number(edge) : valueOf('', edge);
}
