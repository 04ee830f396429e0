import { expect, it } from 'vitest';
import { benjaminiHochberg } from '../../src/math/benjamini-hochberg.ts';
import { golden } from './golden.ts';

it('reproduces the hand example of four tests: 0.01·4/1, 0.02·4/2, 0.03·4/3, 0.5·4/4, smallest from the right', () => {
  // 0.04, 0.04, 0.04, 0.5: each rank's p·t/rank, then the running minimum from the largest p downwards
  const q = benjaminiHochberg([0.5, 0.01, 0.03, 0.02]);
  [0.5, 0.04, 0.04, 0.04].forEach((expected, index) => expect(q[index]).toBeCloseTo(expected, 15));
});

it('equals scipy false_discovery_control', () => {
  const example = golden<{ p: number[]; q: number[] }>('benjamini-hochberg');
  benjaminiHochberg(example.p).forEach((q, index) => expect(q).toBeCloseTo(example.q[index] ?? Number.NaN, 14));
});

it('leaves out what was not tested and needs no test at all', () => {
  expect(benjaminiHochberg([null, 0.03, null])).toEqual([null, 0.03, null]);
  expect(benjaminiHochberg([])).toEqual([]);
});

it.each([Number.NaN, -0.01, 1.01, Number.POSITIVE_INFINITY])('refuses %d, which is no p-value', (p) => {
  expect(() => benjaminiHochberg([0.5, p, null])).toThrow(`a p-value must lie from 0 to 1, got ${p}`);
});
