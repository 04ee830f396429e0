// Step records as a matrix rank × step, and what is drawn from it. Pure.

/**
 * @typedef {{ rank: number, step: number, at_ms: number, duration_ms: number, compute_ms: number, data_ms: number, phase?: string }} Step
 * @typedef {{ ranks: number[], steps: number[], compute_ms: Float64Array, duration_ms: Float64Array, at_ms: Float64Array, phases: string[] }} StepMatrix
 */

/**
 * Rows are ranks, columns steps, both ascending; NaN where no record came. The last of two records of one cell counts.
 * @param {ReadonlyArray<Step>} records
 * @returns {StepMatrix}
 */
export function matrixOf(records) {
  const ranks = distinct(records, (record) => record.rank);
  const steps = distinct(records, (record) => record.step);
  const [rows, columns] = [indexOf(ranks), indexOf(steps)];
  const size = ranks.length * steps.length;
  const compute_ms = new Float64Array(size).fill(Number.NaN);
  const duration_ms = new Float64Array(size).fill(Number.NaN);
  const at_ms = new Float64Array(steps.length).fill(Number.NaN);
  const phases = steps.map(() => 'train');
  for (const record of records) {
    const column = columns.get(record.step) ?? 0;
    const cell = (rows.get(record.rank) ?? 0) * steps.length + column;
    compute_ms[cell] = record.compute_ms;
    duration_ms[cell] = record.duration_ms;
    at_ms[column] = Math.max(
      record.at_ms,
      Number.isNaN(at_ms[column] ?? Number.NaN) ? -Infinity : (at_ms[column] ?? 0),
    );
    if (record.phase !== undefined) phases[column] = record.phase;
  }
  return { ranks, steps, compute_ms, duration_ms, at_ms, phases };
}

/** @param {ReadonlyArray<Step>} records @param {(record: Step) => number} of */
function distinct(records, of) {
  return [...new Set(records.map(of))].sort((a, b) => a - b);
}

/** @param {number[]} values */
function indexOf(values) {
  return new Map(values.map((value, index) => [value, index]));
}

/**
 * Compute of each cell relative to its step's median over ranks: 1 = as the others, 1.3 = 30 % slower.
 * @param {StepMatrix} matrix
 * @returns {Float64Array}
 */
export function relativeCompute({ ranks, steps, compute_ms }) {
  const relative = new Float64Array(compute_ms.length).fill(Number.NaN);
  for (let column = 0; column < steps.length; column++) {
    const middle = median(columnOf(compute_ms, column, steps.length));
    if (!(middle > 0)) continue;
    for (let row = 0; row < ranks.length; row++) {
      const cell = row * steps.length + column;
      relative[cell] = (compute_ms[cell] ?? Number.NaN) / middle;
    }
  }
  return relative;
}

/** @param {Float64Array} values @param {number} column @param {number} width */
function columnOf(values, column, width) {
  const found = [];
  for (let cell = column; cell < values.length; cell += width) {
    const value = values[cell] ?? Number.NaN;
    if (!Number.isNaN(value)) found.push(value);
  }
  return found;
}

/**
 * The middle value; NaN of nothing.
 * @param {number[]} values
 */
export function median(values) {
  const ordered = values.toSorted((a, b) => a - b);
  const half = Math.floor(ordered.length / 2);
  if (ordered.length === 0) return Number.NaN;
  return ordered.length % 2 === 1 ? (ordered[half] ?? 0) : ((ordered[half - 1] ?? 0) + (ordered[half] ?? 0)) / 2;
}

/**
 * By step: the median and the greatest time over ranks, and the greatest and median compute.
 * @param {StepMatrix} matrix
 */
export function stepTimes({ steps, duration_ms, compute_ms }) {
  return steps.map((step, column) => {
    const durations = columnOf(duration_ms, column, steps.length);
    const computes = columnOf(compute_ms, column, steps.length);
    return {
      step,
      median_ms: median(durations),
      compute_median_ms: median(computes),
      compute_max_ms: computes.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY),
    };
  });
}

/**
 * Compute of the chosen ranks (their median) and of all others (median, and the band from the fastest to the slowest).
 * @param {StepMatrix} matrix @param {ReadonlyArray<number>} chosen
 */
export function againstCohort({ ranks, steps, compute_ms }, chosen) {
  const mine = new Set(chosen);
  return steps.map((step, column) => {
    const own = [];
    const others = [];
    for (const [row, rank] of ranks.entries()) {
      const value = compute_ms[row * steps.length + column] ?? Number.NaN;
      if (!Number.isNaN(value)) (mine.has(rank) ? own : others).push(value);
    }
    return {
      step,
      own_ms: median(own),
      cohort_ms: median(others),
      low_ms: others.length === 0 ? Number.NaN : Math.min(...others),
      high_ms: others.length === 0 ? Number.NaN : Math.max(...others),
    };
  });
}

/** Stretches of columns whose phase is not training. @param {string[]} phases @returns {{ from: number, to: number, phase: string }[]} */
export function phaseSpans(phases) {
  /** @type {{ from: number, to: number, phase: string }[]} */
  const spans = [];
  for (const [column, phase] of phases.entries()) {
    const last = spans.at(-1);
    if (phase === 'train') continue;
    if (last !== undefined && last.phase === phase && last.to === column) last.to = column + 1;
    else spans.push({ from: column, to: column + 1, phase });
  }
  return spans;
}

/**
 * Which ranks to show where there are more than fit: the slowest half, and the rest evenly spread.
 * @param {ReadonlyArray<{ rank: number, cohort_ratio: number | null }>} ranks @param {number} most
 * @returns {number[]} ascending
 */
export function ranksShown(ranks, most) {
  if (ranks.length <= most) return ranks.map(({ rank }) => rank).sort((a, b) => a - b);
  const slowest = ranks
    .toSorted((a, b) => (b.cohort_ratio ?? 0) - (a.cohort_ratio ?? 0))
    .slice(0, Math.floor(most / 2));
  const chosen = new Set(slowest.map(({ rank }) => rank));
  const rest = ranks.filter(({ rank }) => !chosen.has(rank));
  const wanted = most - chosen.size;
  for (let index = 0; index < wanted; index++) {
    const other = rest[Math.floor((index * rest.length) / wanted)];
    if (other !== undefined) chosen.add(other.rank);
  }
  return [...chosen].sort((a, b) => a - b);
}

/**
 * Requests that together cover [from, to) of steps with at most `page` records each, the newest first.
 * @param {{ from: number, to: number, ranks: number, page: number }} of
 * @returns {{ from: number, to: number }[]}
 */
export function stepRanges({ from, to, ranks, page }) {
  const width = Math.max(1, Math.floor(page / Math.max(1, ranks)));
  const ranges = [];
  for (let end = to; end > from; end -= width) ranges.push({ from: Math.max(from, end - width), to: end });
  return ranges;
}
