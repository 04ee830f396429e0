import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { mergedCells } from '../../src/drift/merged-cells.ts';

const OPTIONS = { ordered: true, expected_min: 5, cells_max: 64 };
const sum = (counts: readonly number[]): number => counts.reduce((total, count) => total + count, 0);

describe('mergedCells', () => {
  it('joins neighbours until each holds five expected rows in the smaller sample', () => {
    // 40 against 20 rows: 5 expected of 20 are 15 pooled. 3+12 | 9+9 | 27 pooled
    expect(mergedCells([2, 8, 6, 6, 18], [1, 4, 3, 3, 9], OPTIONS)).toEqual({
      x: [10, 12, 18],
      y: [5, 6, 9],
      members: [[0, 1], [2, 3], [4]],
    });
  });

  it('joins what is left at the end to the last cell', () => {
    expect(mergedCells([20, 1], [20, 1], OPTIONS).members).toEqual([[0, 1]]);
  });

  it('pools the rare categories only, and gives them to the smallest cell when too few together', () => {
    const options = { ...OPTIONS, ordered: false, cells_max: Infinity };
    expect(mergedCells([50, 4, 30, 3, 0], [50, 4, 30, 3, 0], options).members).toEqual([[0], [2], [1, 3]]);
    expect(mergedCells([50, 1, 30], [50, 1, 30], options).members).toEqual([[0], [2, 1]]);
  });

  it('keeps every row, and looks at pooled counts only: swapping the sides changes no cell', () => {
    const row = fc.array(fc.nat(50), { minLength: 8, maxLength: 8 });
    fc.assert(
      fc.property(row, row, fc.boolean(), (x, y, ordered) => {
        const merged = mergedCells(x, y, { ...OPTIONS, ordered });
        expect([sum(merged.x), sum(merged.y)]).toEqual([sum(x), sum(y)]);
        expect(mergedCells(y, x, { ...OPTIONS, ordered }).members).toEqual(merged.members);
      }),
    );
  });
});
