import { describe, expect, it } from 'vitest';
import { type CellKind, cellKind, inferKind, isMissing, numberOf } from '../../src/drift/column-kind.ts';

const counts = (of: Partial<Record<CellKind, number>>): Record<CellKind, number> => ({
  missing: 0,
  numeric: 0,
  boolean: 0,
  timestamp: 0,
  text: 0,
  ...of,
});
const RANGE = { min: 0, max: 100 };

describe('cellKind', () => {
  it.each<[unknown, CellKind]>([
    ['', 'missing'],
    [' NaN ', 'missing'],
    ['N/A', 'missing'],
    [Number.NaN, 'missing'],
    [null, 'missing'],
    ['1e5', 'numeric'],
    [' -2.5', 'numeric'],
    ['-inf', 'numeric'],
    [0, 'numeric'],
    ['True', 'boolean'],
    [false, 'boolean'],
    ['2026-11-21', 'timestamp'],
    ['2014-07-10 12:29:00', 'timestamp'],
    ['2026-11-21T10:00:00.5Z', 'timestamp'],
    ['2026-11', 'text'],
    ['A/5 21171', 'text'],
    ['nana', 'text'],
  ])('takes %j for %s', (cell, kind) => {
    expect(cellKind(cell)).toBe(kind);
    expect(isMissing(cell)).toBe(kind === 'missing');
  });

  it('reads infinities as numbers and blanks as none', () => {
    expect([numberOf('inf'), numberOf('-Infinity'), numberOf('  '), numberOf('0'), numberOf('x')]).toEqual([
      Infinity,
      -Infinity,
      Number.NaN,
      0,
      Number.NaN,
    ]);
  });
});

describe('inferKind', () => {
  it('allows one odd cell in ten', () => {
    expect(inferKind('x', counts({ numeric: 9, text: 1, missing: 50 }), RANGE)).toBe('numeric');
    expect(inferKind('x', counts({ numeric: 8, text: 2 }), RANGE)).toBe('categorical');
    expect(inferKind('x', counts({ boolean: 10 }), RANGE)).toBe('boolean');
    expect(inferKind('x', counts({ timestamp: 10 }), RANGE)).toBe('timestamp');
    expect(inferKind('x', counts({ missing: 10 }), RANGE)).toBeNull();
  });

  it('takes numbers for times only when name and range both say so', () => {
    const now = { min: 1.7e12, max: 1.8e12 };
    expect(inferKind('at_ms', counts({ numeric: 5 }), now)).toBe('timestamp');
    expect(inferKind('timestamp', counts({ numeric: 5 }), { min: 1.7e9, max: 1.8e9 })).toBe('timestamp');
    expect(inferKind('bytes', counts({ numeric: 5 }), now)).toBe('numeric');
    expect(inferKind('time', counts({ numeric: 5 }), RANGE)).toBe('numeric');
  });
});
