import { count, duration, percent } from '../format.js';
import { fewerColumns, HEAT_LIMIT, paint, rgbOf } from '../heat.js';
import { relativeCompute } from '../step-matrix.js';
import { html, useEffect, useMemo, useRef, useState } from './dom.js';
import { ink, watchTheme } from './theme-choice.js';

const COLUMNS_MAX = 1000;

function ramp() {
  return { fast: rgbOf(ink('heat-fast')), even: rgbOf(ink('heat-even')), slow: rgbOf(ink('heat-slow')) };
}

/** @param {HTMLCanvasElement} canvas @param {Float64Array} relative @param {number} columns */
function draw(canvas, relative, columns) {
  const rows = relative.length / columns;
  canvas.width = columns;
  canvas.height = rows;
  canvas.getContext('2d')?.putImageData(new ImageData(paint(relative, ramp()), columns, rows), 0, 0);
}

/**
 * Rank × step: how long each rank computed before the barrier, relative to the median of the step.
 * @param {{ matrix: import('../step-matrix.js').StepMatrix, onRank: (rank: number) => void }} props
 */
export function HeatMap({ matrix, onRank }) {
  const ref = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const [under, setUnder] = useState('');
  const shown = useMemo(
    () => fewerColumns(relativeCompute(matrix), { columns: matrix.steps.length, most: COLUMNS_MAX }),
    [matrix],
  );
  useEffect(() => {
    const canvas = ref.current;
    if (canvas === null) return undefined;
    const paintAll = () => draw(canvas, shown.relative, shown.columns);
    paintAll();
    return watchTheme(paintAll);
  }, [shown]);
  const { ranks, steps } = matrix;
  const at = (/** @type {MouseEvent} */ event) => {
    const box = /** @type {HTMLCanvasElement} */ (event.currentTarget).getBoundingClientRect();
    const column = Math.min(
      shown.columns - 1,
      Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * shown.columns)),
    );
    const row = Math.min(
      ranks.length - 1,
      Math.max(0, Math.floor(((event.clientY - box.top) / box.height) * ranks.length)),
    );
    return { row, column };
  };
  const tell = (/** @type {MouseEvent} */ event) => setUnder(cellText(matrix, shown, at(event)));
  const height = Math.max(64, Math.min(480, ranks.length * (ranks.length > 32 ? 8 : 14)));
  const label = `Heat map of ${count(ranks.length)} ranks over steps ${count(steps[0])} to ${count(steps.at(-1))}; the table of ranks below has the same in numbers.`;
  return html`<figure>
    <figcaption>
      Compute before the barrier, each rank against the median of its step.
      <span class="ramp"> −${percent(HEAT_LIMIT)} <${Ramp} /> +${percent(HEAT_LIMIT)}</span>
      ${shown.each > 1 && ` One column is the slowest of ${shown.each} steps.`}
    </figcaption>
    <div class="heat">
      <div class="axis ranks"><span>rank ${ranks[0]}</span><span>${ranks.length > 1 ? `rank ${ranks.at(-1)}` : ''}</span></div>
      <canvas ref=${ref} role="img" aria-label=${label} style=${{ height: `${height}px` }} onMouseMove=${tell} onMouseLeave=${() => setUnder('')} onClick=${(/** @type {MouseEvent} */ event) => onRank(ranks[at(event).row] ?? 0)}></canvas>
      <span></span>
      <div class="axis"><span>step ${count(steps[0])}</span><span>${under}</span><span>step ${count(steps.at(-1))}</span></div>
    </div>
  </figure>`;
}

/** @param {import('../step-matrix.js').StepMatrix} matrix @param {{ relative: Float64Array, columns: number, each: number }} shown @param {{ row: number, column: number }} cell */
function cellText({ ranks, steps, compute_ms }, shown, { row, column }) {
  const relative = shown.relative[row * shown.columns + column] ?? Number.NaN;
  const step = steps[column * shown.each];
  if (Number.isNaN(relative)) return `rank ${ranks[row]}, step ${count(step)}: no record`;
  const how = relative >= 1 ? `${percent(relative - 1)} slower` : `${percent(1 - relative)} faster`;
  const ms = shown.each > 1 ? '' : `${duration(compute_ms[row * steps.length + column])}, `;
  return `rank ${ranks[row]}, step ${count(step)}: ${ms}${how} than the median`;
}

function Ramp() {
  const ref = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  useEffect(() => {
    const values = Float64Array.from({ length: 60 }, (_, index) => 1 - HEAT_LIMIT + (2 * HEAT_LIMIT * index) / 59);
    const paintAll = () => ref.current !== null && draw(ref.current, values, values.length);
    paintAll();
    return watchTheme(paintAll);
  }, []);
  return html`<canvas ref=${ref} aria-hidden="true"></canvas>`;
}
