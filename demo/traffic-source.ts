import { assert } from '../src/core/assert.ts';
import { type Random, seededRandom } from '../src/core/random.ts';
import { cutRows, type Cut, type Digits, image, labelOf } from './digits.ts';
import { type DriftKind, drifted, MIX_RATIO } from './drifts.ts';
import type { LabelledRow } from './model-files.ts';

/** Endless walk over a list of rows. */
class Walk {
  readonly #rows: readonly number[];
  #next = 0;

  constructor(rows: readonly number[]) {
    this.#rows = rows;
  }

  get empty(): boolean {
    return this.#rows.length === 0;
  }

  next(): number {
    const row = this.#rows[this.#next++ % this.#rows.length];
    assert(row !== undefined, 'a walk needs at least one row');
    return row;
  }
}

/** Rows by whether training knows their class. */
type Pool = { readonly known: Walk; readonly left_out: Walk };

/** Which cut of the test file the traffic comes from. */
export type PoolName = 'traffic' | 'reference';

/**
 * Live inputs: held-out digits of a shuffled cut, walked in order and repeated when used up, under the current drift.
 * Deterministic by seed and sequence of calls. Left-out classes appear only under `class-mix`.
 */
export class TrafficSource {
  readonly #digits: Digits;
  readonly #cut: Cut;
  readonly #seed: number;
  readonly #left_out_classes: readonly number[];
  readonly #pools: Readonly<Record<PoolName, Pool>>;
  readonly #random: Random;
  drift: DriftKind | null = null;
  pool: PoolName = 'traffic';

  constructor(digits: Digits, options: { readonly seed: number; readonly left_out_classes: readonly number[] }) {
    this.#digits = digits;
    this.#seed = options.seed;
    this.#left_out_classes = options.left_out_classes;
    this.#cut = cutRows(digits.count, options.seed);
    this.#pools = { traffic: this.#poolOf(this.#cut.traffic), reference: this.#poolOf(this.#cut.reference) };
    this.#random = seededRandom(options.seed + 1);
  }

  /** The next request's image and true class. */
  next(): LabelledRow {
    return this.#draw(this.#pools[this.pool], this.#random);
  }

  /**
   * `rows` hold-out images under the current drift: the same ones, with the same noise, at every call with the same drift,
   * so that two versions meet the same test. None of them is ever live traffic.
   */
  holdout(rows: number): LabelledRow[] {
    const pool = this.#poolOf(this.#cut.holdout);
    const random = seededRandom(this.#seed + 2);
    return Array.from({ length: rows }, () => this.#draw(pool, random));
  }

  #draw(pool: Pool, random: Random): LabelledRow {
    const mix = this.drift === 'class-mix' && random.next() < MIX_RATIO;
    assert(!mix || !pool.left_out.empty, 'class-mix needs classes that training left out');
    const row = (mix ? pool.left_out : pool.known).next();
    const pixels = image(this.#digits, row);
    return {
      pixels: this.drift === null ? pixels : drifted(pixels, this.drift, random),
      label: labelOf(this.#digits, row),
    };
  }

  #poolOf(rows: readonly number[]): Pool {
    const isLeftOut = (row: number): boolean => this.#left_out_classes.includes(labelOf(this.#digits, row));
    return { known: new Walk(rows.filter((row) => !isLeftOut(row))), left_out: new Walk(rows.filter(isLeftOut)) };
  }
}
