import { benjaminiHochberg } from '../math/benjamini-hochberg.ts';
import { ColumnCounter } from './column-counter.ts';
import type { ColumnKind } from './column-kind.ts';
import { ColumnLearner, type ColumnPlan } from './column-learner.ts';
import { type ColumnComparison, compareColumn, type Severity, untested } from './compare-column.ts';
import { DistinctSample } from './distinct-sample.ts';
import { BINS_MAX } from './reference.ts';

export type PlainCell = string | number | boolean | null;
/** Rows as they are read: `rows[r][c]` belongs to `columns[c]`. */
export type Rows = { readonly columns: readonly string[]; readonly rows: readonly (readonly PlainCell[])[] };

export type SetOptions = {
  /** Keep raw values (memory grows with rows) and compute statistics from them. */
  readonly exact: boolean;
  readonly fdr: number;
  /** Compare also within each value of this column. */
  readonly segment: string | null;
  /** Columns to look at; null = all. A vector is named without its index. */
  readonly columns: ReadonlySet<string> | null;
  readonly exclude: ReadonlySet<string>;
  readonly types: ReadonlyMap<string, ColumnKind>;
};

export type FeatureReport = Omit<ColumnComparison, 'effect'> & {
  readonly drifted: boolean;
  readonly q_value: number | null;
  readonly severity: Severity;
};

export type SegmentReport = {
  readonly column: string;
  readonly value: string;
  readonly features_drifted: number;
  /** Current rows. */
  readonly rows: number;
  readonly reference_rows: number;
};

export type SetsReport = {
  readonly rows: { readonly reference: number; readonly current: number };
  readonly dataset: {
    readonly drifted: boolean;
    readonly features_drifted: number;
    readonly features_tested: number;
    readonly fdr: number;
  };
  readonly features: readonly FeatureReport[];
  readonly segments: readonly SegmentReport[];
};

/** Distinct values kept, over all columns: twice a million between prunings × about 100 bytes = 200 MB. */
const DISTINCT_BUDGET = 1_000_000;
const DISTINCT_MAX = 20_000;
const DISTINCT_MIN = 500;
/** Columns beyond this are not read: a table that wide is a misread file. */
const COLUMNS_MAX = 20_000;
/** Segment values compared on their own, commonest first. */
const SEGMENTS_MAX = 50;

/** The name that a column goes by in the report: that of its vector for `name[3]`, else its own. */
export function featureOf(column: string): string {
  return /^(.+)\[\d+\]$/.exec(column)?.[1] ?? column;
}

/** What the first pass over the reference found: how to count each column. */
export type SetPlan = {
  readonly columns: ReadonlyMap<string, ColumnPlan | null>;
  readonly segments: readonly string[];
  readonly distinct_max: number;
};

/** First pass over the reference, in bounded memory. */
export class SetLearner {
  readonly #options: SetOptions;
  readonly #learners = new Map<string, ColumnLearner>();
  readonly #segments = new DistinctSample<string>(DISTINCT_MIN);
  #distinct_max = DISTINCT_MAX;

  constructor(options: SetOptions) {
    this.#options = options;
  }

  add(batch: Rows): void {
    if (this.#learners.size === 0)
      this.#distinct_max = Math.min(DISTINCT_MAX, Math.max(DISTINCT_MIN, DISTINCT_BUDGET / batch.columns.length));
    const learners = batch.columns.map((name) => this.#learnerOf(name));
    const segment = this.#options.segment === null ? -1 : batch.columns.indexOf(this.#options.segment);
    for (const row of batch.rows) {
      for (let column = 0; column < learners.length; column++) learners[column]?.add(row[column] ?? null);
      if (segment >= 0) this.#segments.add(String(row[segment] ?? ''));
    }
  }

  #learnerOf(name: string): ColumnLearner | null {
    const { columns, exclude } = this.#options;
    const feature = featureOf(name);
    const wanted = columns === null || columns.has(name) || columns.has(feature);
    if (!wanted || exclude.has(name) || exclude.has(feature)) return null;
    const known = this.#learners.get(name);
    if (known !== undefined) return known;
    if (this.#learners.size >= COLUMNS_MAX) return null;
    const learner = new ColumnLearner(name, Math.floor(this.#distinct_max));
    this.#learners.set(name, learner);
    return learner;
  }

  plan(): SetPlan {
    const columns = new Map<string, ColumnPlan | null>();
    for (const [name, learner] of this.#learners) {
      const type = this.#options.types.get(name) ?? this.#options.types.get(featureOf(name)) ?? null;
      const forced = type === 'vector' || (type === null && featureOf(name) !== name) ? 'numeric' : type;
      columns.set(name, learner.plan(BINS_MAX, forced));
    }
    const segments = this.#segments.entries().sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
    return {
      columns,
      segments: segments.slice(0, SEGMENTS_MAX).map(([value]) => value),
      distinct_max: Math.floor(this.#distinct_max),
    };
  }
}

type Counters = ReadonlyMap<string, ColumnCounter>;

/** Counts one side against the plan: all rows, and each segment's. */
export class SideCounter {
  readonly #plan: SetPlan;
  readonly #options: SetOptions;
  readonly #all: Counters;
  readonly #segments: ReadonlyMap<string, { counters: Counters; rows: number }>;
  readonly #extra = new Set<string>();
  readonly #seen = new Set<string>();
  #rows = 0;

  constructor(plan: SetPlan, options: SetOptions) {
    this.#plan = plan;
    this.#options = options;
    this.#all = this.#counters();
    this.#segments = new Map(plan.segments.map((value) => [value, { counters: this.#counters(), rows: 0 }]));
  }

  #counters(): Counters {
    const options = { exact: this.#options.exact, distinct_max: this.#plan.distinct_max };
    const counters = new Map<string, ColumnCounter>();
    for (const [name, plan] of this.#plan.columns)
      if (plan !== null && plan.kind !== 'timestamp') counters.set(name, new ColumnCounter(plan, options));
    return counters;
  }

  add(batch: Rows): void {
    this.#rows += batch.rows.length;
    for (const name of batch.columns) {
      this.#seen.add(name);
      if (!this.#plan.columns.has(name) && this.#extra.size < COLUMNS_MAX) this.#extra.add(name);
    }
    const at = new Map(batch.columns.map((name, column) => [name, column]));
    const segment = this.#options.segment === null ? -1 : (at.get(this.#options.segment) ?? -1);
    const groups = [{ counters: this.#all, rows: batch.rows }];
    const bySegment = Map.groupBy(segment < 0 ? [] : batch.rows, (row) => String(row[segment] ?? ''));
    for (const [value, rows] of bySegment) {
      const group = this.#segments.get(value);
      if (group === undefined) continue;
      group.rows += rows.length;
      groups.push({ counters: group.counters, rows });
    }
    for (const { counters, rows } of groups)
      for (const [name, counter] of counters) {
        const column = at.get(name) ?? -1;
        for (const row of rows) counter.add(column < 0 ? null : (row[column] ?? null));
      }
  }

  get rows(): number {
    return this.#rows;
  }
  /** Columns that the reference lacks. */
  get extra(): ReadonlySet<string> {
    return this.#extra;
  }
  /** True when any batch had the column. */
  has(column: string): boolean {
    return this.#seen.has(column);
  }
  get all(): Counters {
    return this.#all;
  }
  segment(value: string): { readonly counters: Counters; readonly rows: number } {
    return this.#segments.get(value) ?? { counters: new Map(), rows: 0 };
  }
}

/** Compares two counted sides: every column, Benjamini–Hochberg over features, the same within each segment. */
export function compareSets(
  plan: SetPlan,
  sides: { reference: SideCounter; current: SideCounter },
  options: SetOptions,
): SetsReport {
  const { reference, current } = sides;
  const compared = [...plan.columns].map(([name, column]) => {
    if (column !== null && !current.has(name)) return untested(name, column.kind, 'column_missing');
    return compareOne(name, column, reference.all, current.all);
  });
  const wanted = (name: string): boolean =>
    (options.columns === null || options.columns.has(featureOf(name))) && !options.exclude.has(featureOf(name));
  const extra = [...current.extra].filter((name) => wanted(name) && name !== options.segment);
  const grouped = groupVectors([...compared, ...extra.map((name) => untested(name, null, 'not_in_reference'))]);
  const features = corrected(grouped, options.fdr);
  const features_drifted = features.filter((feature) => feature.drifted).length;
  return {
    rows: { reference: reference.rows, current: current.rows },
    dataset: {
      drifted: features_drifted > 0,
      features_drifted,
      features_tested: features.filter((feature) => feature.p_value !== null).length,
      fdr: options.fdr,
    },
    features,
    segments: options.segment === null ? [] : segmentReports(plan, sides, { ...options, segment: options.segment }),
  };
}

function compareOne(name: string, plan: ColumnPlan | null, x: Counters, y: Counters): ColumnComparison {
  if (plan === null) return untested(name, null, 'no_values_in_reference');
  if (plan.kind === 'timestamp') return untested(name, 'timestamp', 'timestamp');
  const left = x.get(name)?.result();
  const right = y.get(name)?.result();
  if (left === undefined || right === undefined) return untested(name, plan.kind, 'not_counted');
  return compareColumn(plan, left, right);
}

/** Columns of one vector become one feature: its strongest column speaks, its p-value times the columns (Bonferroni). */
function groupVectors(comparisons: readonly ColumnComparison[]): ColumnComparison[] {
  const groups = new Map<string, ColumnComparison[]>();
  for (const comparison of comparisons) {
    const feature = featureOf(comparison.name);
    groups.set(feature, [...(groups.get(feature) ?? []), comparison]);
  }
  return Array.from(groups, ([name, members]) => {
    const [first] = members;
    if (members.length === 1 && first !== undefined && first.name === name) return first;
    const strongest = members.reduce((a, b) => ((b.p_value ?? 2) < (a.p_value ?? 2) ? b : a));
    const tested = members.filter((member) => member.p_value !== null).length;
    const p_value = strongest.p_value === null ? null : Math.min(1, strongest.p_value * tested);
    return { ...strongest, name, kind: 'vector', p_value };
  });
}

function corrected(comparisons: readonly ColumnComparison[], fdr: number): FeatureReport[] {
  const q_values = benjaminiHochberg(comparisons.map((comparison) => comparison.p_value));
  return comparisons.map(({ effect, ...comparison }, index) => {
    const q_value = q_values[index] ?? null;
    const drifted = q_value !== null && q_value <= fdr && effect !== 'none';
    return { ...comparison, drifted, q_value, severity: drifted ? effect : 'none' };
  });
}

function segmentReports(
  plan: SetPlan,
  { reference, current }: { reference: SideCounter; current: SideCounter },
  options: SetOptions & { readonly segment: string },
): SegmentReport[] {
  const reports = plan.segments.map((value): SegmentReport => {
    const [x, y] = [reference.segment(value), current.segment(value)];
    const columns = [...plan.columns].filter(([name]) => name !== options.segment && current.has(name));
    const compared = columns.map(([name, column]) => compareOne(name, column, x.counters, y.counters));
    const features = corrected(groupVectors(compared), options.fdr);
    return {
      column: options.segment,
      value,
      features_drifted: features.filter((feature) => feature.drifted).length,
      rows: y.rows,
      reference_rows: x.rows,
    };
  });
  return reports.sort(
    (a, b) => b.features_drifted - a.features_drifted || b.rows - a.rows || (a.value < b.value ? -1 : 1),
  );
}
