import { number, valueOf, words } from '../format.js';
import { html } from './dom.js';

const SHOWN_MAX = 40;
/** Objects inside objects that get a heading of their own; deeper ones are one line. */
const DEPTH_MAX = 2;

/**
 * What a finding is based on, whatever its shape: facts as terms, tables for lists of objects.
 * @param {{ evidence: unknown, depth?: number }} props
 */
export function Evidence({ evidence, depth = 0 }) {
  if (evidence === null || typeof evidence !== 'object') return html`<p>${valueOf('', evidence)}</p>`;
  const pairs = Object.entries(evidence).slice(0, SHOWN_MAX);
  const plain = pairs.filter(
    ([, value]) => !isTable(value) && !(isRecord(value) && depth < DEPTH_MAX) && value !== null,
  );
  return html`
    <dl class="facts">${plain.map(([name, value]) => html`<div key=${name}><dt>${words(name)}</dt><dd>${valueOf(name, value)}</dd></div>`)}</dl>
    ${pairs.filter(([, value]) => isRecord(value) && depth < DEPTH_MAX).map(([name, value]) => html`<div key=${name}><h3>${words(name)}</h3><${Evidence} evidence=${value} depth=${depth + 1} /></div>`)}
    ${pairs.filter(([, value]) => isTable(value)).map(([name, value]) => html`<${Rows} key=${name} name=${name} rows=${value} />`)}
  `;
}

/** @param {unknown} value */
function isRecord(value) {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

/** @param {unknown} value */
function isTable(value) {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.every((each) => each !== null && typeof each === 'object' && !Array.isArray(each))
  );
}

/** @param {{ name: string, rows: ReadonlyArray<Record<string, unknown>> }} props */
function Rows({ name, rows }) {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))].slice(0, 10);
  return html`<div class="scroll" role="region" aria-label=${words(name)} tabindex="0"><table>
    <caption class="unseen">${words(name)}</caption>
    <thead><tr>${columns.map((column) => html`<th key=${column} scope="col">${words(column)}</th>`)}</tr></thead>
    <tbody>${rows.slice(0, SHOWN_MAX).map((row, index) => html`<tr key=${index}>${columns.map((column) => html`<td key=${column}>${valueOf(column, row[column])}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}

/**
 * The value of a finding: a share of time or of predictions where it lies in 0..1.
 * @param {string} name @param {number | null} value
 */
export function findingValue(name, value) {
  if (value === null) return '–';
  return /straggler|ratio|accuracy/.test(name) && Math.abs(value) <= 1 ? valueOf('value_ratio', value) : number(value);
}
