import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { binOf, quantileEdges } from '../../src/drift/edges.ts';
import { freezeReference, freezeReferenceFromCounts } from '../../src/drift/reference.ts';
import { binRow, closeWindow, mergeWindows, openWindow, windowOfRows } from '../../src/drift/window.ts';

const seen = (values: readonly number[]): { value: number; count: number }[] =>
  [...new Set(values)]
    .sort((a, b) => a - b)
    .map((value) => ({ value, count: values.filter((other) => other === value).length }));

describe('quantileEdges', () => {
  const above = (value: number): number => value + value * Number.EPSILON;

  it('cuts eight different values into four bins of two, half-way between neighbours, and two outer bins', () => {
    expect(quantileEdges(seen([1, 2, 3, 4, 5, 6, 7, 8]), 6)).toEqual([1, 2.5, 4.5, 6.5, above(8)]);
  });

  it('gives a value that holds a bin of rows a bin of its own', () => {
    // 0 holds 6 of 10 rows: it stands alone, the rest shares the bins that are left
    expect(quantileEdges(seen([-2, -1, 0, 0, 0, 0, 0, 0, 1, 2]), 6)).toEqual([-2, -0.5, 0.5, 1.5, above(2)]);
  });

  it('puts a constant alone between what is smaller and what is larger, and has no edge for nothing', () => {
    const edges = quantileEdges(seen([3, 3, 3]), 4);
    expect([2.999, 3, 3.001].map((value) => binOf(edges, value))).toEqual([0, 1, 2]);
    expect(quantileEdges([], 4)).toEqual([]);
  });

  it('returns ascending edges, fewer than the bins asked for, with every value in the bin its edges say', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ noNaN: true, noDefaultInfinity: true }), { minLength: 1 }), (values) => {
        const edges = quantileEdges(seen(values), 8);
        expect(edges.length).toBeLessThan(8);
        for (let index = 1; index < edges.length; index++) expect(edges[index]).toBeGreaterThan(edges[index - 1] ?? 0);
        for (const value of values) expect(binOf(edges, value)).toBe(edges.filter((edge) => edge <= value).length);
      }),
      { examples: [[[-Number.MAX_VALUE / 8, Number.MAX_VALUE]]] }, // their distance is above the largest double
    );
  });
});

describe('freezeReference', () => {
  const four = [
    { size: 1, color: 'red', ok: true },
    { size: 2, color: 'red', ok: false },
    { size: null, color: 'blue', ok: true },
    { size: Number.NaN, ok: true },
  ];
  const rows = [...Array.from({ length: 10 }, () => four).flat(), { color: 'rare' }];
  const reference = freezeReference(rows);

  it('counts values, missing and rows by hand', () => {
    expect(reference.n).toBe(41);
    expect(reference.features['size']).toEqual({
      binning: { kind: 'numeric', edges: [1, 1.5, 2 + 2 * Number.EPSILON] },
      counts: [0, 10, 10, 0],
      missing: 21,
      n: 41,
    });
    expect(reference.features['color']).toMatchObject({
      binning: { kind: 'categorical', categories: ['red', 'blue'] },
      counts: [20, 10, 1],
      missing: 10,
    });
    expect(reference.features['ok']).toMatchObject({ counts: [30, 10, 0], missing: 1 });
  });

  it('survives JSON, and names equal edges equally', () => {
    expect(JSON.parse(JSON.stringify(reference))).toEqual(reference);
    expect(freezeReference(rows.toReversed()).edges_id).toBe(reference.edges_id);
    expect(freezeReference([{ size: 5 }, { size: 9 }]).edges_id).not.toBe(reference.edges_id);
    expect(freezeReference(rows, { edges_id: 'mine' }).edges_id).toBe('mine');
  });

  it('counts unseen categories apart and text in a numeric feature as missing', () => {
    const rows = [{ size: 'tall', color: 'green', ok: true }, { size: Infinity }];
    const counts = windowOfRows(reference, rows, { from_ms: 0, to_ms: 1 }).features;
    expect(counts['size']).toEqual({ counts: [0, 0, 0, 1], missing: 1, n: 2 });
    expect(counts['color']).toEqual({ counts: [0, 0, 1], missing: 1, n: 2 });
  });

  it('can be frozen from counts made elsewhere; counts that do not fit their edges are left out', () => {
    const frozen = freezeReferenceFromCounts(
      { size: { kind: 'numeric', edges: [0] }, odd: { kind: 'numeric', edges: [0] } },
      { size: { counts: [30, 70], missing: 5, n: 105 }, odd: { counts: [1, 2, 3], missing: 0, n: 6 } },
      { accuracy: { correct: 90, labelled: 100 } },
    );
    expect(Object.keys(frozen.features)).toEqual(['size']);
    expect(frozen.n).toBe(105);
    expect(frozen.accuracy).toEqual({ correct: 90, labelled: 100 });
  });
});

describe('window counts', () => {
  const value = fc.option(fc.oneof(fc.integer({ min: -5, max: 5 }), fc.constantFrom('a', 'b', 'z')), { nil: null });
  const row = fc.record({ x: value, c: fc.constantFrom('a', 'b', null) });
  const three = [
    { x: -1, c: 'a' },
    { x: 0, c: 'b' },
    { x: 2, c: 'a' },
  ];
  const reference = freezeReference(Array.from({ length: 10 }, () => three).flat());
  const span = { from_ms: 0, to_ms: 10 };

  it('are the same however rows are split, ordered and merged', () => {
    fc.assert(
      fc.property(fc.array(row, { maxLength: 40 }), fc.nat(), (rows, cut) => {
        const at = rows.length === 0 ? 0 : cut % rows.length;
        const count = (part: typeof rows) => {
          const window = openWindow(reference);
          for (const one of part) binRow(window, one);
          return closeWindow(window, span);
        };
        const whole = count(rows);
        const [left, right] = [count(rows.slice(0, at)), count(rows.slice(at))];
        expect(mergeWindows([right, left])).toEqual(whole);
        expect(mergeWindows([left, right])).toEqual(whole);
        expect(windowOfRows(reference, rows.toReversed(), span)).toEqual(whole);
      }),
    );
  });

  it('made against other edges are not added', () => {
    const known = { ...span, features: { x: { counts: [1, 2], missing: 0, n: 3 } } };
    const foreign = { from_ms: 10, to_ms: 20, features: { x: { counts: [1], missing: 0, n: 1 } } };
    expect(mergeWindows([known, foreign])).toEqual({ from_ms: 0, to_ms: 20, features: known.features });
  });
});
