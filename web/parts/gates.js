import { valueOf, words } from '../format.js';
import { html } from './dom.js';
import { Mark } from './marks.js';

/**
 * The gates of a decision in a row: what was seen against what is asked for.
 * @param {{ gates: ReadonlyArray<any> }} props
 */
export function Gates({ gates }) {
  if (gates.length === 0) return html`<p class="quiet">No gate was judged.</p>`;
  return html`<ol class="gates" aria-label="Gates">
    ${gates.map(
      (gate) => html`<li key=${gate.gate}>
        <h3>${words(gate.gate)}</h3>
        <${Mark} word=${gate.result} />
        <div class="result">${valueOf(gate.gate, gate.observed)}</div>
        <div class="result quiet">asked for: ${valueOf(gate.gate, gate.threshold)}</div>
        ${gate.note !== null && html`<div class="result quiet">${gate.note}</div>`}
      </li>`,
    )}
  </ol>`;
}
