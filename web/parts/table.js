import { html } from './dom.js';
import { setQuery, useAddress } from './address.js';

/**
 * @typedef {{ name: string, title: unknown, cell: (row: any) => unknown, sort?: (row: any) => number | string | null, number?: boolean, wide?: boolean, grow?: boolean, note?: string }} Column
 */

/**
 * A table whose rows are reached by the arrow keys. Columns with `sort` sort at a click on their title; the order is
 * in the address under `sort` (`-` in front = descending). `wide` columns are left out on narrow screens.
 * @param {{ caption: string, columns: ReadonlyArray<Column>, rows: ReadonlyArray<any>, keyOf: (row: any) => string, foot?: unknown, sortName?: string, current?: string | null }} props
 */
export function Table({ caption, columns, rows, keyOf, foot, sortName = 'sort', current = null }) {
  const { query } = useAddress();
  const order = query[sortName] ?? '';
  const shown = sorted(rows, columns, order);
  return html`
    <div class="scroll" role="region" aria-label=${caption} tabindex="0">
      <table onKeyDown=${moveInTable}>
        <caption class="unseen">${caption}</caption>
        <thead>
          <tr>${columns.map((column) => html`<${Head} key=${column.name} column=${column} order=${order} sortName=${sortName} />`)}</tr>
        </thead>
        <tbody>
          ${shown.map(
            (
              row,
            ) => html`<tr key=${keyOf(row)} aria-current=${current !== null && keyOf(row) === current ? 'true' : null}>
              ${columns.map((column) => html`<td key=${column.name} class=${classOf(column)}>${column.cell(row)}</td>`)}
            </tr>`,
          )}
        </tbody>
        ${foot !== undefined && html`<tfoot>${foot}</tfoot>`}
      </table>
    </div>
  `;
}

/** @param {Column} column */
function classOf({ number, wide, grow }) {
  const names = [number === true && 'number', wide === true && 'wide', grow === true && 'grow'];
  return names.filter((name) => name !== false).join(' ') || null;
}

/** @param {{ column: Column, order: string, sortName: string }} props */
function Head({ column, order, sortName }) {
  const of = order.replace(/^-/, '') === column.name ? (order.startsWith('-') ? 'descending' : 'ascending') : null;
  if (column.sort === undefined)
    return html`<th scope="col" class=${classOf(column)} title=${column.note ?? null}>${column.title}</th>`;
  const next = of === 'descending' ? column.name : `-${column.name}`;
  const arrow = of === 'descending' ? ' ↓' : of === 'ascending' ? ' ↑' : '';
  return html`<th scope="col" class=${classOf(column)} aria-sort=${of} title=${column.note ?? null}>
    <button type="button" class="link" onClick=${() => setQuery({ [sortName]: next })}>${column.title}${arrow}</button>
  </th>`;
}

/** @param {ReadonlyArray<any>} rows @param {ReadonlyArray<Column>} columns @param {string} order */
function sorted(rows, columns, order) {
  const by = columns.find((column) => column.name === order.replace(/^-/, ''))?.sort;
  if (by === undefined) return rows;
  const sign = order.startsWith('-') ? -1 : 1;
  return rows.toSorted((a, b) => {
    const [left, right] = [by(a), by(b)];
    if (left === null || right === null) return left === right ? 0 : left === null ? 1 : -1;
    return left < right ? -sign : left > right ? sign : 0;
  });
}

const STEPS = { ArrowDown: 1, ArrowUp: -1 };

/**
 * Arrow keys go from the link or button of one row to that of the next, in the same place of the row.
 * @param {KeyboardEvent} event
 */
function moveInTable(event) {
  const step = STEPS[/** @type {keyof typeof STEPS} */ (event.key)];
  const from = event.target instanceof Element ? event.target : null;
  if (step === undefined || from === null || from.matches('input, select, textarea')) return;
  const table = from.closest('table');
  const rows = [...(table?.querySelectorAll('tr') ?? [])].filter((row) => reachable(row).length > 0);
  const row = from.closest('tr');
  const next = rows[rows.indexOf(/** @type {HTMLTableRowElement} */ (row)) + step];
  if (row === null || next === undefined) return;
  const targets = reachable(next);
  const place = Math.max(0, reachable(row).indexOf(/** @type {HTMLElement} */ (from)));
  targets[Math.min(place, targets.length - 1)]?.focus();
  event.preventDefault();
}

/** @param {Element} row @returns {HTMLElement[]} */
function reachable(row) {
  return [...row.querySelectorAll('a[href], button')].filter(
    (each) => each instanceof HTMLElement && each.offsetParent !== null,
  );
}
