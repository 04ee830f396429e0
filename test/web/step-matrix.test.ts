import { describe, expect, test } from 'vitest';
import { consoleModule } from './console-module.ts';

type Matrix = {
  readonly ranks: number[];
  readonly steps: number[];
  readonly compute_ms: Float64Array;
  readonly phases: string[];
};
type Steps = {
  matrixOf(records: readonly object[]): Matrix;
  relativeCompute(matrix: Matrix): Float64Array;
  median(values: number[]): number;
  stepTimes(matrix: Matrix): { step: number; median_ms: number; compute_median_ms: number; compute_max_ms: number }[];
  againstCohort(
    matrix: Matrix,
    chosen: number[],
  ): { own_ms: number; cohort_ms: number; low_ms: number; high_ms: number }[];
  phaseSpans(phases: string[]): object[];
  ranksShown(ranks: { rank: number; cohort_ratio: number | null }[], most: number): number[];
  stepRanges(of: { from: number; to: number; ranks: number; page: number }): { from: number; to: number }[];
};
type Heat = {
  paint(relative: Float64Array, ramp: { fast: number[]; even: number[]; slow: number[] }): Uint8ClampedArray;
  fewerColumns(
    relative: Float64Array,
    size: { columns: number; most: number },
  ): { relative: Float64Array; columns: number; each: number };
  rgbOf(color: string): number[];
};

const steps = await consoleModule<Steps>('step-matrix.js');
const heat = await consoleModule<Heat>('heat.js');

const record = (rank: number, step: number, compute_ms: number, phase = 'train') => ({
  rank,
  step,
  compute_ms,
  phase,
  at_ms: step * 100,
  duration_ms: 2 * compute_ms,
  data_ms: 1,
});
/** Three ranks over two steps, out of order; rank 2 lacks its second. */
const RECORDS = [
  record(2, 7, 130),
  record(0, 8, 90, 'checkpoint'),
  record(0, 7, 100),
  record(1, 7, 100),
  record(1, 8, 110, 'checkpoint'),
];

describe('the matrix of steps', () => {
  const matrix = steps.matrixOf(RECORDS);

  test('has a row a rank and a column a step, and a hole where no record came', () => {
    expect(matrix.ranks).toEqual([0, 1, 2]);
    expect(matrix.steps).toEqual([7, 8]);
    expect([...matrix.compute_ms]).toEqual([100, 90, 100, 110, 130, Number.NaN]);
    expect(matrix.phases).toEqual(['train', 'checkpoint']);
  });

  test('compute is relative to the median of its own step', () => {
    // Step 7: median of 100, 100, 130 = 100. Step 8: median of 90, 110 = 100.
    expect([...steps.relativeCompute(matrix)]).toEqual([1, 0.9, 1, 1.1, 1.3, Number.NaN]);
  });

  test('step times have the median over ranks and the slowest compute', () => {
    expect(steps.stepTimes(matrix)).toEqual([
      { step: 7, median_ms: 200, compute_median_ms: 100, compute_max_ms: 130 },
      { step: 8, median_ms: 200, compute_median_ms: 100, compute_max_ms: 110 },
    ]);
  });

  test('chosen ranks stand against all others', () => {
    expect(steps.againstCohort(matrix, [2])[0]).toEqual({
      step: 7,
      own_ms: 130,
      cohort_ms: 100,
      low_ms: 100,
      high_ms: 100,
    });
    expect(steps.againstCohort(matrix, [2])[1]?.own_ms).toBeNaN();
  });

  test('of two records of one cell the last counts', () => {
    expect([...steps.matrixOf([record(0, 1, 5), record(0, 1, 6)]).compute_ms]).toEqual([6]);
  });

  test('the median of an even number lies between the middle two, of nothing it is unknown', () => {
    expect(steps.median([4, 1, 3, 2])).toBe(2.5);
    expect(steps.median([])).toBeNaN();
  });

  test('phases other than training become stretches', () => {
    expect(steps.phaseSpans(['train', 'eval', 'eval', 'train', 'checkpoint', 'warmup'])).toEqual([
      { from: 1, to: 3, phase: 'eval' },
      { from: 4, to: 5, phase: 'checkpoint' },
      { from: 5, to: 6, phase: 'warmup' },
    ]);
  });
});

describe('what is read of a large job', () => {
  test('every rank where they fit, else the slowest half and others evenly spread', () => {
    const ranks = Array.from({ length: 1024 }, (_, rank) => ({ rank, cohort_ratio: rank === 700 ? 1.3 : 1 }));
    const shown = steps.ranksShown(ranks, 64);
    expect(shown.length).toBe(64);
    expect(shown).toContain(700);
    expect(Math.max(...shown)).toBeGreaterThan(960);
    expect(steps.ranksShown(ranks.slice(0, 3), 64)).toEqual([0, 1, 2]);
  });

  test('the requests cover the steps once, none asking for more than a page', () => {
    const ranges = steps.stepRanges({ from: 10, to: 100, ranks: 16, page: 500 });
    // 500 records of 16 ranks are 31 steps: 69..100, 38..69, 10..38.
    expect(ranges).toEqual([
      { from: 69, to: 100 },
      { from: 38, to: 69 },
      { from: 10, to: 38 },
    ]);
  });
});

describe('the heat map', () => {
  const ramp = { fast: [0, 0, 200], even: [100, 100, 100], slow: [200, 0, 0] };

  test('goes from even to slow and to fast, and leaves the unknown transparent', () => {
    // Limit 30 %: 1.15 is half way to slow, 0.7 is fast altogether, 9 stays slow.
    const pixels = [...heat.paint(Float64Array.of(1, 1.15, 0.7, 9, Number.NaN), ramp)];
    expect(pixels.slice(0, 4)).toEqual([100, 100, 100, 255]);
    expect(pixels.slice(4, 8)).toEqual([150, 50, 50, 255]);
    expect(pixels.slice(8, 12)).toEqual([0, 0, 200, 255]);
    expect(pixels.slice(12, 16)).toEqual([200, 0, 0, 255]);
    expect(pixels.slice(16)).toEqual([0, 0, 0, 0]);
  });

  test('fewer columns keep the slowest value, so that no straggler vanishes', () => {
    const kept = heat.fewerColumns(Float64Array.of(1, 1.5, 1, 1, 1, Number.NaN, 0.9, 1, 1, 1), { columns: 5, most: 3 });
    expect(kept).toMatchObject({ columns: 3, each: 2 });
    expect([...kept.relative]).toEqual([1.5, 1, 1, 0.9, 1, 1]);
  });

  test('reads the colours of the page', () => expect(heat.rgbOf('rgb(1, 20, 255)')).toEqual([1, 20, 255]));

  test('paints 1,024 ranks over 2,000 steps within the time of a few frames', () => {
    const relative = new Float64Array(1024 * 2000).fill(1.1);
    const started = performance.now();
    heat.paint(relative, ramp);
    expect(performance.now() - started).toBeLessThan(1000); // some 60 ms when nothing else runs
  });
});
