import { describe, expect, it } from 'vitest';
import { normal, type Random, seededRandom } from '../../src/core/random.ts';
import { windowAlpha } from '../../src/drift/alarm-budget.ts';
import { type FeatureRow, freezeReference, type Reference } from '../../src/drift/reference.ts';
import { assessWindow, type WindowVerdict } from '../../src/drift/assess-window.ts';
import { windowOfRows } from '../../src/drift/window.ts';

const SPAN = { from_ms: 0, to_ms: 60_000 };
type Draw = (random: Random) => FeatureRow;

function rows(random: Random, count: number, draw: Draw): FeatureRow[] {
  return Array.from({ length: count }, () => draw(random));
}

function assess(reference: Reference, window: readonly FeatureRow[], alpha: number): WindowVerdict {
  return assessWindow(reference, windowOfRows(reference, window, SPAN), { alpha, rows_min: 30 });
}

/** Ten features of the shapes that live models have: bell, skewed, few values, zeros, categories, flags, gaps. */
const mixed: Draw = (random) => {
  const shared = normal(random);
  return {
    bell: normal(random),
    correlated: 0.9 * shared + 0.4 * normal(random),
    correlated_too: 0.9 * shared + 0.4 * normal(random),
    skewed: Math.exp(2 * normal(random)),
    counts: Math.floor(6 * random.next() ** 2),
    zeros: random.next() < 0.6 ? 0 : random.next(),
    category: ['a', 'b', 'c', 'd', 'e', 'f'][Math.floor(6 * random.next() ** 3)] ?? 'a',
    rare: `id-${Math.floor(300 * random.next() ** 2)}`,
    flag: random.next() < 0.1,
    gaps: random.next() < 0.05 ? null : random.next(),
  };
};

describe('assessWindow on an unchanged stream', () => {
  const seed = 4711;
  it.each([
    { reference_rows: 500, window_rows: 200, alpha: 0.05 },
    { reference_rows: 500, window_rows: 40, alpha: 0.05 },
    { reference_rows: 60, window_rows: 300, alpha: 0.01 },
  ])('raises at most the chosen share of false alarms (%o, seed 4711)', (setting) => {
    const random = seededRandom(seed + setting.window_rows);
    const trials = 200;
    let alarms = 0;
    for (let trial = 0; trial < trials; trial++) {
      const reference = freezeReference(rows(random, setting.reference_rows, mixed));
      const verdict = assess(reference, rows(random, setting.window_rows, mixed), setting.alpha);
      if (verdict.status === 'drift') alarms += 1;
    }
    // three standard deviations above the promise: at most one run in 740 fails by chance, and the seed is fixed
    const limit = trials * setting.alpha + 3 * Math.sqrt(trials * setting.alpha * (1 - setting.alpha));
    expect(alarms, `seed ${seed}: ${alarms} alarms in ${trials}`).toBeLessThanOrEqual(limit);
  });

  it('keeps the promise when one reference of 500 rows serves 300 windows, at a monthly budget', () => {
    const random = seededRandom(99);
    const alpha = windowAlpha({ false_alarms_per_month: 1, window_ms: 5_000 });
    const reference = freezeReference(rows(random, 500, mixed));
    let alarms = 0;
    for (let window = 0; window < 300; window++)
      if (assess(reference, rows(random, 200, mixed), alpha).status === 'drift') alarms += 1;
    expect(alarms, 'seed 99').toBe(0);
  });
});

describe('assessWindow on a changed stream', () => {
  const alpha = 2e-6; // one false alarm a month at windows of 5 s
  const images: Draw = (random) =>
    Object.fromEntries(Array.from({ length: 25 }, (_, index) => [`region_${index}`, normal(random)]));

  it('finds a shift of Kolmogorov–Smirnov distance 0.32 in one of 25 features with 200 rows, nearly always', () => {
    // two normals 0.825 deviations apart: 2Φ(0.4125) − 1 = 0.32
    const random = seededRandom(7);
    let found = 0;
    for (let trial = 0; trial < 40; trial++) {
      const reference = freezeReference(rows(random, 500, images));
      const shifted = rows(random, 200, images).map((row) => ({ ...row, region_7: Number(row['region_7']) + 0.825 }));
      const verdict = assess(reference, shifted, alpha);
      const drifted = verdict.features.filter((feature) => feature.drifted).map((feature) => feature.name);
      if (drifted.includes('region_7')) found += 1;
    }
    expect(found, 'seed 7').toBeGreaterThanOrEqual(36);
  });

  it('names the feature that moved, first, with the largest contribution', () => {
    const random = seededRandom(8);
    const reference = freezeReference(rows(random, 500, images));
    const moved = rows(random, 200, images).map((row) => ({ ...row, region_3: Number(row['region_3']) + 2 }));
    const verdict = assess(reference, moved, alpha);
    expect(verdict.status).toBe('drift');
    expect(verdict.features[0]?.name).toBe('region_3');
    expect(verdict.features[0]?.contribution).toBeGreaterThan(0.5);
    expect(verdict.features.filter((feature) => feature.drifted)).toHaveLength(1);
    expect(verdict.min_p).toBeLessThan(alpha);
    expect(verdict.e_value).toBeGreaterThan(100);
  });

  it.each<[string, (row: FeatureRow, random: Random) => FeatureRow]>([
    ['zeros', (row) => ({ ...row, zeros: 0.5 })], // stuck sensor
    ['category', (row) => ({ ...row, category: 'never seen' })],
    ['gaps', (row) => ({ ...row, gaps: null })],
    ['bell', (row) => ({ ...row, bell: 3 * Number(row['bell']) })], // same centre, three times as wide
    ['skewed', (row) => ({ ...row, skewed: String(row['skewed']) })], // type change
    ['flag', (row, random) => ({ ...row, flag: random.next() < 0.5 })],
  ])('finds a change of "%s" that is no shift', (name, change) => {
    const random = seededRandom(21);
    const reference = freezeReference(rows(random, 500, mixed));
    const verdict = assess(
      reference,
      rows(random, 200, mixed).map((row) => change(row, random)),
      alpha,
    );
    expect(verdict.features.filter((feature) => feature.drifted).map((feature) => feature.name)).toEqual([name]);
  });

  it('does not call a tiny effect drift, however many rows prove it', () => {
    const random = seededRandom(5);
    const one: Draw = (draw) => ({ value: normal(draw) });
    const reference = freezeReference(rows(random, 40_000, one));
    const verdict = assess(
      reference,
      rows(random, 40_000, one).map((row) => ({ value: Number(row['value']) + 0.08 })), // distance 0.032
      alpha,
    );
    expect(verdict.min_p).toBeLessThan(alpha);
    expect(verdict.status).toBe('stable');
  });
});

describe('assessWindow without enough data', () => {
  const random = seededRandom(3);
  const reference = freezeReference(rows(random, 100, mixed));

  it('says insufficient and why, never stable', () => {
    const few = assess(reference, rows(random, 29, mixed), 0.01);
    expect([few.status, few.reason, few.min_p, few.n]).toEqual(['insufficient', 'too_few_rows', null, 29]);
    const young = assess(freezeReference(rows(random, 10, mixed)), rows(random, 100, mixed), 0.01);
    expect([young.status, young.reason]).toEqual(['insufficient', 'too_few_reference_rows']);
  });

  it('says insufficient when the counts were made against other edges', () => {
    const foreign = { ...SPAN, features: { bell: { counts: [50, 50], missing: 0, n: 100 } } };
    const verdict = assessWindow(reference, foreign, { alpha: 0.01, rows_min: 30 });
    expect([verdict.status, verdict.reason]).toEqual(['insufficient', 'no_comparable_features']);
    expect(verdict.coverage_ratio).toBe(0);
  });

  it('says how much of the expected data it has seen: 100 of 200 rows are 0.5', () => {
    const window = windowOfRows(reference, rows(random, 100, mixed), SPAN);
    expect(assessWindow(reference, window, { alpha: 0.01, rows_min: 30, rows_expected: 200 }).coverage_ratio).toBe(0.5);
    expect(assessWindow(reference, window, { alpha: 0.01, rows_min: 30 }).coverage_ratio).toBe(1);
  });
});

describe('assessWindow on the strongest drift', () => {
  // p-values below 5e-324, the smallest double: they must read as 0, never as "no change"
  const flag = (row: number, country: string | null): FeatureRow => ({
    country,
    device: row % 2 === 0 ? 'phone' : 'desk',
  });
  const reference = freezeReference(
    Array.from({ length: 5000 }, (_, row) => flag(row, row % 10 === 0 ? 'rare' : 'common')),
  );
  it.each([
    ['a feature that is missing in every row', null],
    ['a feature that holds only its rare category', 'rare'],
  ])('finds %s of 5,000 rows', (_, value) => {
    const verdict = assess(
      reference,
      Array.from({ length: 5000 }, (__, row) => flag(row, value)),
      1e-6,
    );
    expect(verdict).toMatchObject({ status: 'drift', min_p: 0 });
    expect(verdict.e_value).toBeGreaterThan(1e100); // ½ / √5e-324 = 2e161
    expect(verdict.features).toMatchObject([
      { name: 'country', p_value: 0, drifted: true },
      { name: 'device', p_value: 1, drifted: false },
    ]);
  });
});
