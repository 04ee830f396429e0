import Plot from 'uplot';
import { localTime } from '../format.js';
import { html, useEffect, useRef } from './dom.js';
import { ink, watchTheme } from './theme-choice.js';

/**
 * @typedef {{ label: string, color: string, values: ReadonlyArray<number | null>, width?: number, dash?: number[], points?: boolean, scale?: string }} Line color = a token
 * @typedef {{ upper: number, lower: number, color: string }} Band indexes of lines
 * @typedef {{ at: number, to?: number, label: string, color: string }} Marking a vertical line, or a shaded stretch
 */

const HEIGHT = 200;

/**
 * Lines over time or steps. What it shows is also said in `summary`, for those who do not see it.
 * @param {{ summary: string, x: ReadonlyArray<number>, lines: Line[], bands?: Band[], markings?: Marking[], time?: boolean, format: (value: number) => string, formatX?: (value: number) => string, height?: number }} props `x` in ms where `time`
 */
export function Chart(props) {
  const ref = useRef(/** @type {HTMLElement | null} */ (null));
  const plot = useRef(/** @type {any} */ (null));
  const shape = JSON.stringify([
    props.lines.map((line) => [line.label, line.color]),
    props.markings,
    props.bands,
    props.height,
  ]);
  useEffect(() => {
    const element = ref.current;
    if (element === null) return undefined;
    const draw = () => {
      plot.current?.destroy();
      plot.current = new Plot(optionsFor(props, element.clientWidth), dataOf(props), element);
    };
    draw();
    const observer = new ResizeObserver(() =>
      plot.current?.setSize({ width: element.clientWidth, height: props.height ?? HEIGHT }),
    );
    observer.observe(element);
    const unwatch = watchTheme(draw);
    return () => {
      observer.disconnect();
      unwatch();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [shape]);
  useEffect(() => plot.current?.setData(dataOf(props)), [props.x, ...props.lines.map((line) => line.values)]);
  return html`<figure><figcaption>${props.summary}</figcaption><div class="chart" role="img" aria-label=${props.summary} ref=${ref}></div></figure>`;
}

/** @param {any} props */
function dataOf({ x, lines, time }) {
  const clean = (/** @type {any} */ value) => (Number.isFinite(value) ? value : null);
  return [
    time === true ? x.map((/** @type {number} */ each) => each / 1000) : x,
    ...lines.map((/** @type {Line} */ line) => line.values.map(clean)),
  ];
}

/** @param {any} props @param {number} width */
function optionsFor({ lines, bands = [], markings = [], time = false, format, formatX, height = HEIGHT }, width) {
  const axis = {
    stroke: ink('quiet'),
    grid: { stroke: ink('line'), width: 1 },
    ticks: { stroke: ink('line'), width: 1 },
    font: '11px system-ui, sans-serif',
  };
  return {
    width,
    height,
    padding: [8, 16, 0, 0],
    cursor: { y: false, points: { size: 5 } },
    legend: { live: true },
    scales: {
      x: { time, ...(time ? { range: aroundPoint } : {}) },
    },
    axes: [
      {
        ...axis,
        ...(formatX === undefined
          ? {}
          : { values: (/** @type {any} */ _plot, /** @type {number[]} */ values) => values.map(formatX) }),
        space: time ? 76 : 50,
        ...(time ? { values: (/** @type {any} */ _plot, /** @type {number[]} */ values) => timeTicks(values) } : {}),
      },
      {
        ...axis,
        size: 64,
        values: (/** @type {any} */ _plot, /** @type {any[]} */ values) =>
          values.map((value) => (value === null ? '' : format(value))),
      },
    ],
    series: [
      {
        label: time ? 'time' : 'step',
        ...(formatX === undefined
          ? {}
          : {
              value: (/** @type {any} */ _plot, /** @type {number} */ value) => (value === null ? '–' : formatX(value)),
            }),
        ...(time ? { value: (/** @type {any} */ _plot, /** @type {number} */ value) => timeText(value) } : {}),
      },
      ...lines.map((/** @type {Line} */ line) => ({
        label: line.label,
        stroke: ink(line.color),
        width: line.width ?? 1.5,
        ...(line.dash === undefined ? {} : { dash: line.dash }),
        points: { show: line.points === true, size: 5 },
        spanGaps: false,
        value: (/** @type {any} */ _plot, /** @type {number | null} */ value) => (value === null ? '–' : format(value)),
      })),
    ],
    bands: bands.map((/** @type {Band} */ band) => ({
      series: [band.upper + 1, band.lower + 1],
      fill: faded(ink(band.color)),
    })),
    hooks: { drawClear: [(/** @type {any} */ plot) => drawMarkings(plot, markings, time)] },
  };
}

/** @param {number | null} seconds */
function timeText(seconds) {
  return seconds === null ? '–' : localTime(seconds * 1000, { now_ms: Date.now() });
}

/** The clock to the precision of the ticks, and the day where it begins. @param {number[]} values seconds */
function timeTicks(values) {
  const step = (values[1] ?? 0) - (values[0] ?? 0);
  const digits = step > 0 && step < 60 ? 8 : 5;
  let day = '';
  return values.map((value) => {
    const [date = '', clock = ''] = localTime(value * 1000, { now_ms: 0 }).split('\u00a0');
    const isNew = date !== day;
    day = date;
    if (step >= 86_400) return date;
    return clock.slice(0, digits) + (isNew ? `\n${date}` : '');
  });
}

/** One moment alone still has a minute to each side. @param {any} _plot @param {number} least @param {number} most */
function aroundPoint(_plot, least, most) {
  return least === most ? [least - 60, most + 60] : [least, most];
}

/** @param {string} color */
function faded(color) {
  return color.replace(/^rgb\((.*)\)$/, 'rgba($1, 0.16)');
}

/** @param {any} plot @param {Marking[]} markings @param {boolean} time */
function drawMarkings(plot, markings, time) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
  let labelled = Number.NEGATIVE_INFINITY;
  for (const { at, to, label, color } of markings) {
    const scaled = (/** @type {number} */ value) => plot.valToPos(time ? value / 1000 : value, 'x', true);
    const left = Math.max(bbox.left, scaled(at));
    const right = to === undefined ? left + devicePixelRatio : Math.min(bbox.left + bbox.width, scaled(to));
    if (left > bbox.left + bbox.width || right < bbox.left) continue;
    if (to === undefined && scaled(at) < bbox.left) continue;
    ctx.fillStyle = to === undefined ? ink(color) : faded(ink(color));
    ctx.fillRect(left, bbox.top, Math.max(devicePixelRatio, right - left), bbox.height);
    ctx.fillStyle = ink(color);
    const gap = 4 * devicePixelRatio;
    const wide = ctx.measureText(label).width;
    const from = left + gap + wide > bbox.left + bbox.width ? left - gap - wide : left + gap;
    if (from < labelled + gap) continue;
    labelled = from + wide;
    ctx.textBaseline = 'top';
    ctx.fillText(label, from, bbox.top + 2 * devicePixelRatio);
  }
  ctx.restore();
}
