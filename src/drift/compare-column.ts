import { andersonDarling } from '../math/anderson-darling.ts';
import { chiSquared, cramersV } from '../math/chi-squared.ts';
import { cramerVonMises, cramerVonMisesBinned } from '../math/cramer-von-mises.ts';
import { fisherTwoSided } from '../math/fisher-exact.ts';
import { kolmogorovSmirnov, kolmogorovSmirnovP } from '../math/kolmogorov-smirnov.ts';
import { type PopulationStability, populationStability } from '../math/population-stability.ts';
import { shareDistances } from '../math/share-distances.ts';
import { wasserstein, type Weighted } from '../math/wasserstein.ts';
import type { ColumnCounts } from './column-counter.ts';
import type { ColumnKind } from './column-kind.ts';
import type { ColumnPlan } from './column-learner.ts';
import { type MergedCells, mergedCells } from './merged-cells.ts';

/** One statistic: its values by name (contract: cli.md, "leeway drift"); null = could not be computed, with `reason`. */
export type Statistic = Readonly<Record<string, number | null>>;
export type ReasonedStatistic = Readonly<Record<string, number | string | null>>;

export type Contribution = {
  readonly bin: string;
  readonly reference_ratio: number;
  readonly current_ratio: number;
  readonly psi_term: number;
};

export type Severity = 'none' | 'small' | 'medium' | 'large';

/** What two columns show, before the correction for many columns. */
export type ColumnComparison = {
  readonly name: string;
  readonly kind: ColumnKind | null;
  /** Over all tests of this column (Bonferroni); null = not tested, `reason` says why. */
  readonly p_value: number | null;
  readonly reason: string | null;
  /** How large the change is, whether significant or not; "none" = below the noise floor. */
  readonly effect: Severity;
  readonly statistics: Readonly<Record<string, ReasonedStatistic>>;
  readonly missing: {
    readonly reference: number | null;
    readonly current: number | null;
    readonly p_value: number | null;
  };
  readonly unseen_ratio: number | null;
  readonly contributions: readonly Contribution[];
};

/** Rows a column needs on both sides for a verdict. Below, statistics are shown without one. */
export const ROWS_MIN = 20;

/** Rows that a cell must be expected to hold in the smaller sample for chi-squared laws to hold (Cochran 1954). */
const EXPECTED_MIN = 5;
/** Cells of the chi-squared part of a numeric verdict: few, so that a change of spread stands out. */
const VERDICT_CELLS = 16;
const PSI_CELLS = 64;

/** Compares one column of two data sets. */
export function compareColumn(plan: ColumnPlan, x: ColumnCounts, y: ColumnCounts): ColumnComparison {
  const parts = plan.kind === 'numeric' ? numericParts(plan, x, y) : categoricalParts(plan, x, y);
  const missing = missingOf(x, y);
  const p_values = [...parts.p_values, missing.p_value].filter((p) => p !== null);
  const few = Math.min(x.n, y.n) < ROWS_MIN;
  const untestable = p_values.length === 0 ? 'too_sparse' : null;
  const reason = few ? 'too_few_rows' : untestable;
  const present = y.n - y.missing;
  return {
    name: plan.name,
    kind: plan.kind,
    p_value: reason === null ? Math.min(1, p_values.length * Math.min(...p_values)) : null,
    reason,
    effect: largest([
      ...parts.effects,
      level(Math.abs((missing.current ?? 0) - (missing.reference ?? 0)), MISSING_LEVELS),
    ]),
    statistics: reasoned(parts.statistics, x, y),
    missing,
    unseen_ratio: present === 0 || (plan.kind !== 'numeric' && !plan.complete) ? null : y.unseen / present,
    contributions: parts.contributions,
  };
}

/** Puts beside each null why it is null. */
function reasoned(
  statistics: Readonly<Record<string, Statistic>>,
  x: ColumnCounts,
  y: ColumnCounts,
): Record<string, ReasonedStatistic> {
  const empty = x.n === x.missing || y.n === y.missing;
  const why = (name: string, value: number | null): string => {
    if (empty) return 'no_values';
    if (name !== 'wasserstein') return 'one_value';
    return value === null ? 'infinite_values' : 'no_spread_in_reference';
  };
  return Object.fromEntries(
    Object.entries(statistics).map(([name, statistic]) => {
      const complete = Object.values(statistic).every((value) => value !== null);
      return [name, complete ? statistic : { ...statistic, reason: why(name, statistic['value'] ?? null) }];
    }),
  );
}

/** A column that is not tested, with the reason. */
export function untested(name: string, kind: ColumnKind | null, reason: string): ColumnComparison {
  return {
    name,
    kind,
    p_value: null,
    reason,
    effect: 'none',
    statistics: {},
    missing: { reference: null, current: null, p_value: null },
    unseen_ratio: null,
    contributions: [],
  };
}

type Parts = {
  readonly statistics: Readonly<Record<string, Statistic>>;
  readonly p_values: readonly number[];
  readonly effects: readonly Severity[];
  readonly contributions: readonly Contribution[];
};

function numericParts(plan: ColumnPlan, x: ColumnCounts, y: ColumnCounts): Parts {
  const raw = x.values !== null && y.values !== null ? tallied(x.values, y.values) : null;
  const n = x.n - x.missing;
  const m = y.n - y.missing;
  const cells = raw ?? { x: x.counts, y: y.counts };
  const ks = kolmogorovSmirnov(cells.x, cells.y);
  const ks_p = ks === null ? null : kolmogorovSmirnovP(ks, n, m);
  const vonMises = raw === null ? cramerVonMisesBinned(cells.x, cells.y) : cramerVonMises(cells.x, cells.y);
  const darling = andersonDarling(cells.x, cells.y);
  const merged = mergedCells(x.counts, y.counts, { ordered: true, expected_min: EXPECTED_MIN, cells_max: PSI_CELLS });
  const psi = populationStability(merged.x, merged.y);
  const coarse = mergedCells(x.counts, y.counts, {
    ordered: true,
    expected_min: EXPECTED_MIN,
    cells_max: VERDICT_CELLS,
  });
  const shape = chiSquared(coarse.x, coarse.y)?.p_value ?? null;
  return {
    statistics: {
      ks: { value: ks, p_value: ks_p },
      wasserstein: distanceOf(raw === null ? [atomsOf(x), atomsOf(y)] : [sorted(x.values), sorted(y.values)], x, y),
      ...sharedStatistics(psi, merged),
      cramer_von_mises: { value: vonMises?.value ?? null, p_value: vonMises?.p_value ?? null },
      anderson_darling: { value: darling?.value ?? null, p_value: darling?.p_value ?? null },
    },
    p_values: [ks_p, shape].filter((p) => p !== null),
    effects: [level(psi?.debiased ?? 0, PSI_LEVELS), level(ks ?? 0, SHARE_LEVELS)],
    contributions: contributionsOf(merged, psi, (members) => intervalOf(plan.edges, members)),
  };
}

function categoricalParts(plan: ColumnPlan, x: ColumnCounts, y: ColumnCounts): Parts {
  const cells = categoryCells(plan, x, y);
  const merged = mergedCells(cells.x, cells.y, { ordered: false, expected_min: EXPECTED_MIN, cells_max: Infinity });
  const psi = populationStability(merged.x, merged.y);
  const chi2 = chiSquared(cells.x, cells.y);
  const verdict = chiSquared(merged.x, merged.y);
  const shares = shareDistances(cells.x, cells.y);
  const rows = x.n - x.missing + y.n - y.missing;
  return {
    statistics: {
      ...sharedStatistics(psi, cells),
      chi2: { value: chi2?.value ?? null, df: chi2?.df ?? null, p_value: chi2?.p_value ?? null },
      cramers_v: { value: chi2 === null ? null : cramersV(chi2.value, rows) },
    },
    p_values: [verdict?.p_value ?? null, constant(cells) ? 1 : null].filter((p) => p !== null),
    effects: [level(psi?.debiased ?? 0, PSI_LEVELS), level(shares?.l_infinity ?? 0, SHARE_LEVELS)],
    contributions: contributionsOf(merged, psi, (members) => categoryName(cells.names, members)),
  };
}

/** One and the same category on both sides: nothing moved. */
function constant(cells: { readonly x: readonly number[]; readonly y: readonly number[] }): boolean {
  const used = cells.x.flatMap((count, cell) => (count + (cells.y[cell] ?? 0) > 0 ? [cell] : []));
  const [only] = used;
  return used.length === 1 && only !== undefined && (cells.x[only] ?? 0) > 0 && (cells.y[only] ?? 0) > 0;
}

function sharedStatistics(
  psi: PopulationStability | null,
  cells: { readonly x: ArrayLike<number>; readonly y: ArrayLike<number> },
): Readonly<Record<string, Statistic>> {
  const shares = shareDistances(cells.x, cells.y);
  return {
    psi: { value: psi?.value ?? null, debiased: psi?.debiased ?? null, p_value: psi?.p_value ?? null },
    jensen_shannon: { value: shares?.jensen_shannon ?? null },
    hellinger: { value: shares?.hellinger ?? null },
    l_infinity: { value: shares?.l_infinity ?? null },
  };
}

/** Counts at the pooled distinct values, ascending. */
function tallied(x: readonly number[], y: readonly number[]): { x: number[]; y: number[] } {
  const left = Float64Array.from(x).sort();
  const right = Float64Array.from(y).sort();
  const counts: { x: number[]; y: number[] } = { x: [], y: [] };
  let i = 0;
  let j = 0;
  while (i < left.length || j < right.length) {
    const value = Math.min(left[i] ?? Infinity, right[j] ?? Infinity);
    const from = [i, j] as const;
    while (i < left.length && left[i] === value) i += 1;
    while (j < right.length && right[j] === value) j += 1;
    counts.x.push(i - from[0]);
    counts.y.push(j - from[1]);
  }
  return counts;
}

function sorted(values: readonly number[] | null): Weighted {
  const ascending = Float64Array.from(values ?? []).sort();
  return { values: ascending, weights: new Float64Array(ascending.length).fill(1) };
}

/** Each bin as one atom at its mean. */
function atomsOf(counts: ColumnCounts): Weighted {
  const values: number[] = [];
  const weights: number[] = [];
  counts.counts.forEach((count, bin) => {
    if (count === 0) return;
    values.push((counts.sums[bin] ?? 0) / count);
    weights.push(count);
  });
  return { values, weights };
}

/** Wasserstein distance in the column's unit, and divided by the reference's robust standard deviation (IQR / 1.349). */
function distanceOf(samples: readonly [Weighted, Weighted], x: ColumnCounts, y: ColumnCounts): Statistic {
  if (x.infinite + y.infinite > 0) return { value: null, scaled: null };
  const value = wasserstein(...samples);
  const spread = (quantile(samples[0], 0.75) - quantile(samples[0], 0.25)) / 1.349;
  return { value, scaled: value === null || !(spread > 0) ? null : value / spread };
}

function quantile(sample: Weighted, share: number): number {
  let total = 0;
  for (let index = 0; index < sample.weights.length; index++) total += sample.weights[index] ?? 0;
  let passed = 0;
  for (let index = 0; index < sample.values.length; index++) {
    passed += sample.weights[index] ?? 0;
    if (passed >= share * total) return sample.values[index] ?? 0;
  }
  return 0;
}

/** Every category of either side as a cell, the ones that are not told apart last. */
function categoryCells(
  plan: ColumnPlan,
  x: ColumnCounts,
  y: ColumnCounts,
): { x: number[]; y: number[]; names: string[] } {
  const left = new Map(x.unseen_categories);
  const right = new Map(y.unseen_categories);
  const extra = [...new Set([...left.keys(), ...right.keys()])].sort();
  const known = plan.categories.length;
  const side = (counts: ColumnCounts, unseen: ReadonlyMap<string, number>): number[] => {
    const told = extra.map((name) => unseen.get(name) ?? 0);
    const rest = (counts.counts[known] ?? 0) - told.reduce((sum, count) => sum + count, 0);
    return [...counts.counts.slice(0, known), ...told, rest];
  };
  return { x: side(x, left), y: side(y, right), names: [...plan.categories, ...extra, '(other)'] };
}

function missingOf(x: ColumnCounts, y: ColumnCounts): ColumnComparison['missing'] {
  const tested = x.n > 0 && y.n > 0 && x.missing + y.missing > 0;
  return {
    reference: x.n === 0 ? null : x.missing / x.n,
    current: y.n === 0 ? null : y.missing / y.n,
    p_value: tested ? fisherTwoSided({ hits_x: x.missing, n_x: x.n, hits_y: y.missing, n_y: y.n }) : null,
  };
}

function contributionsOf(
  merged: MergedCells,
  psi: PopulationStability | null,
  name: (members: readonly number[]) => string,
): Contribution[] {
  if (psi === null) return [];
  const n = merged.x.reduce((sum, count) => sum + count, 0);
  const m = merged.y.reduce((sum, count) => sum + count, 0);
  return merged.members.map((members, cell) => ({
    bin: name(members),
    reference_ratio: (merged.x[cell] ?? 0) / n,
    current_ratio: (merged.y[cell] ?? 0) / m,
    psi_term: psi.terms[cell] ?? 0,
  }));
}

/** "[a, b)" of neighbouring bins; bin i begins at edge i − 1. */
function intervalOf(edges: readonly number[], members: readonly number[]): string {
  const low = edges[(members[0] ?? 0) - 1];
  const high = edges[members.at(-1) ?? 0];
  return `${low === undefined ? '(-inf' : `[${low}`}, ${high === undefined ? 'inf' : high})`;
}

function categoryName(names: readonly string[], members: readonly number[]): string {
  const [only] = members;
  if (members.length === 1 && only !== undefined) return names[only] ?? '(other)';
  return `(${members.length} rare categories)`;
}

type Levels = readonly [floor: number, medium: number, large: number];

/** Industry's customary 0.1 and 0.25; below 0.005 (a shift of 0.07 deviations) nothing is called drift. */
const PSI_LEVELS: Levels = [0.005, 0.1, 0.25];
/** Same shifts of a bell curve as the PSI's: D = 2Φ(δ/2) − 1 with δ² = PSI is 0.126 and 0.197. */
const SHARE_LEVELS: Levels = [0.02, 0.126, 0.197];
const MISSING_LEVELS: Levels = [0.01, 0.126, 0.197];
const ORDER: readonly Severity[] = ['none', 'small', 'medium', 'large'];

function level(effect: number, levels: Levels): Severity {
  return ORDER[levels.filter((bound) => effect >= bound).length] ?? 'none';
}

function largest(severities: readonly Severity[]): Severity {
  return severities.reduce((a, b) => (ORDER.indexOf(b) > ORDER.indexOf(a) ? b : a), 'none');
}
