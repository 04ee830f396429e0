import { type CellKind, cellKind, type ColumnKind, inferKind, isMissing, numberOf } from './column-kind.ts';
import { DistinctSample } from './distinct-sample.ts';
import { quantileEdges, type Seen } from './edges.ts';

/** How the cells of a column are counted. Categorical: one bin a category, one for all others. */
export type ColumnPlan = {
  readonly name: string;
  readonly kind: ColumnKind;
  /** Numeric: ascending edges. Otherwise empty. */
  readonly edges: readonly number[];
  /** Categorical, boolean: the categories of the reference. Otherwise empty. */
  readonly categories: readonly string[];
  /** false when the reference has more categories than are kept: values outside may have been seen. */
  readonly complete: boolean;
  /** Smallest and largest finite reference value; both 0 when there is none. */
  readonly min: number;
  readonly max: number;
};

/** Learns kind, bins and categories of one column from its reference cells, in bounded memory and any order. */
export class ColumnLearner {
  readonly #name: string;
  readonly #sample: DistinctSample<number | string>;
  readonly #counts: Record<CellKind, number> = { missing: 0, numeric: 0, boolean: 0, timestamp: 0, text: 0 };
  #min = Infinity;
  #max = -Infinity;

  constructor(name: string, distinct_max: number) {
    this.#name = name;
    this.#sample = new DistinctSample(distinct_max);
  }

  add(cell: string | number | boolean | null): void {
    const value = numberOf(cell);
    const kind = Number.isNaN(value) ? cellKind(cell) : 'numeric';
    this.#counts[kind] += 1;
    if (kind === 'missing') return;
    if (Number.isFinite(value)) {
      if (value < this.#min) this.#min = value;
      if (value > this.#max) this.#max = value;
    }
    this.#sample.add(typeof cell === 'boolean' || cell === null ? String(cell) : cell);
  }

  /** The plan; `kind` overrides what the cells look like. Null when no cell has a value and no kind is given. */
  plan(bins_max: number, kind: ColumnKind | null): ColumnPlan | null {
    const range = { min: this.#min, max: this.#max };
    const found = kind ?? inferKind(this.#name, this.#counts, range);
    if (found === null) return null;
    const finite = Number.isFinite(range.min);
    return {
      name: this.#name,
      kind: found,
      edges: found === 'numeric' ? quantileEdges(seenNumbers(this.#sample.entries()), bins_max) : [],
      categories: found === 'categorical' || found === 'boolean' ? this.#categories(found) : [],
      complete: this.#sample.complete,
      min: finite ? range.min : 0,
      max: finite ? range.max : 0,
    };
  }

  #categories(kind: 'categorical' | 'boolean'): string[] {
    const names = new Set<string>();
    for (const [value] of this.#sample.entries()) {
      const category = categoryOf(kind, value);
      if (category !== null) names.add(category);
    }
    return [...names].sort();
  }
}

function seenNumbers(entries: readonly [number | string, number][]): Seen[] {
  const counts = new Map<number, number>();
  for (const [cell, count] of entries) {
    const value = numberOf(cell);
    if (Number.isFinite(value)) counts.set(value, (counts.get(value) ?? 0) + count);
  }
  return Array.from(counts, ([value, count]) => ({ value, count })).sort((a, b) => a.value - b.value);
}

/** The category that a cell says; null = missing. Booleans are folded to lower case, anything else is missing there. */
export function categoryOf(kind: 'categorical' | 'boolean', cell: string | number | boolean | null): string | null {
  if (isMissing(cell)) return null;
  const text = String(cell);
  if (kind === 'categorical') return text;
  const folded = text.trim().toLowerCase();
  if (folded === 'true' || folded === '1') return 'true';
  return folded === 'false' || folded === '0' ? 'false' : null;
}
