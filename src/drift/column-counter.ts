import { numberOf } from './column-kind.ts';
import { categoryOf, type ColumnPlan } from './column-learner.ts';
import { DistinctSample } from './distinct-sample.ts';
import { binOf } from './edges.ts';

/** Counts of one column on one side (reference or current), against the column's plan. */
export type ColumnCounts = {
  readonly n: number;
  readonly missing: number;
  /** Numeric: edges + 1 bins. Categorical: categories + 1 (the last = all others). */
  readonly counts: Float64Array;
  /** Numeric: sum of the finite values of each bin. */
  readonly sums: Float64Array;
  readonly infinite: number;
  /** Numeric: values outside the reference's range. Categorical: values of categories that the reference lacks. */
  readonly unseen: number;
  /** Categorical: the commonest unseen categories with their counts; the rest of `unseen` is not told apart. */
  readonly unseen_categories: readonly (readonly [string, number])[];
  /** Exact mode: all values, in the order they came. */
  readonly values: readonly number[] | null;
};

/** Counts one column. Memory does not grow with rows unless `exact`. */
export class ColumnCounter {
  readonly #plan: ColumnPlan;
  readonly #counts: Float64Array;
  readonly #sums: Float64Array;
  /** Second half of a compensated sum: makes the total independent of row order to the last digit but one. */
  readonly #lost: Float64Array;
  readonly #bins: ReadonlyMap<string, number>;
  readonly #unseen: DistinctSample<string>;
  readonly #values: number[] | null;
  #n = 0;
  #missing = 0;
  #infinite = 0;
  #outside = 0;

  constructor(plan: ColumnPlan, options: { readonly exact: boolean; readonly distinct_max: number }) {
    this.#plan = plan;
    const bins = plan.kind === 'numeric' ? plan.edges.length + 1 : plan.categories.length + 1;
    this.#counts = new Float64Array(bins);
    this.#sums = new Float64Array(plan.kind === 'numeric' ? bins : 0);
    this.#lost = new Float64Array(this.#sums.length);
    this.#bins = new Map(plan.categories.map((category, bin) => [category, bin]));
    this.#unseen = new DistinctSample(options.distinct_max);
    this.#values = options.exact && plan.kind === 'numeric' ? [] : null;
  }

  add(cell: string | number | boolean | null): void {
    this.#n += 1;
    if (this.#plan.kind === 'numeric') this.#number(numberOf(cell));
    else if (this.#plan.kind === 'categorical' || this.#plan.kind === 'boolean')
      this.#category(categoryOf(this.#plan.kind, cell));
  }

  #number(value: number): void {
    if (Number.isNaN(value)) {
      this.#missing += 1;
      return;
    }
    const bin = binOf(this.#plan.edges, value);
    this.#counts[bin] = (this.#counts[bin] ?? 0) + 1;
    this.#values?.push(value);
    if (value < this.#plan.min || value > this.#plan.max) this.#outside += 1;
    if (Number.isFinite(value)) this.#sum(bin, value);
    else this.#infinite += 1;
  }

  #sum(bin: number, value: number): void {
    const held = this.#sums[bin] ?? 0;
    const total = held + value;
    const error = Math.abs(held) >= Math.abs(value) ? held - total + value : value - total + held;
    this.#sums[bin] = total;
    this.#lost[bin] = (this.#lost[bin] ?? 0) + error;
  }

  #category(category: string | null): void {
    if (category === null) {
      this.#missing += 1;
      return;
    }
    const bin = this.#bins.get(category);
    if (bin === undefined) {
      this.#outside += 1;
      this.#unseen.add(category);
    }
    const at = bin ?? this.#counts.length - 1;
    this.#counts[at] = (this.#counts[at] ?? 0) + 1;
  }

  result(): ColumnCounts {
    return {
      n: this.#n,
      missing: this.#missing,
      counts: this.#counts,
      sums: this.#sums.map((sum, bin) => sum + (this.#lost[bin] ?? 0)),
      infinite: this.#infinite,
      unseen: this.#outside,
      unseen_categories: this.#unseen.entries(),
      values: this.#values,
    };
  }
}
