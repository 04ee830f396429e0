import { integerBelow, seededRandom } from '../src/core/random.ts';
import { assert } from '../src/core/assert.ts';
import { CLASSES, type Digits, image, labelOf, TRAINING_ROWS } from './digits.ts';
import { type LabelledRows, rowOf } from './model-files.ts';
import { type Batch, fillRow } from './network.ts';

/** What one rank draws its batches from. */
export type TrainingData = {
  readonly digits: Digits;
  /** Recent labelled traffic and the share of each batch that comes from it, or null: training files alone. */
  readonly recent: { readonly rows: LabelledRows; readonly ratio: number } | null;
  /** Classes that are never drawn from the training file. */
  readonly left_out_classes: readonly number[];
};

/**
 * Returns a function that fills the first `count` places of a batch with rows drawn with replacement, the same sequence for
 * the same seed. Draws below row 55,000 of the training file.
 */
export function openLoader(data: TrainingData, seed: number): (batch: Batch, count: number) => void {
  assert(data.left_out_classes.length < CLASSES, 'at least one class must be left to draw');
  const random = seededRandom(seed);
  const { digits, recent, left_out_classes } = data;
  const oldRow = (): number => {
    for (;;) {
      const row = integerBelow(random, Math.min(TRAINING_ROWS, digits.count)); // ends: some class is always left
      if (!left_out_classes.includes(labelOf(digits, row))) return row;
    }
  };
  return (batch, count) => {
    for (let at = 0; at < count; at++) {
      if (recent !== null && random.next() < recent.ratio) {
        const { pixels, label } = rowOf(recent.rows, integerBelow(random, recent.rows.count));
        fillRow(batch, at, pixels, label);
      } else {
        const row = oldRow();
        fillRow(batch, at, image(digits, row), labelOf(digits, row));
      }
    }
  };
}
