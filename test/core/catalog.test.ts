import { expect, test } from 'vitest';
import { CATALOG, metricOf, type MetricName } from '../../src/core/catalog.ts';

const ENTRIES = Object.entries(CATALOG);

test('names are dotted lower-case words, most general first', () => {
  for (const [name] of ENTRIES) expect(name).toMatch(/^(hw|process|system|nccl|inference)(\.[a-z0-9_]+)+$/);
});

test('units are base units after UCUM: no percent, no mebibytes, no milliseconds', () => {
  const units = new Set(ENTRIES.map(([, { unit }]) => unit).filter((unit) => !/^\{[a-z]+\}(\/s)?$/.test(unit)));
  expect([...units].toSorted((a, b) => (a < b ? -1 : 1))).toEqual(['1', 'By', 'By/s', 'Cel', 'Hz', 'J', 'V', 'W', 's']);
});

test('a name that says what is measured has the unit of it', () => {
  for (const [name, { unit }] of ENTRIES) {
    if (/(utilization|occupancy|_ratio|enabled|active|pending)$/.test(name) && name !== 'inference.pending')
      expect(unit, name).toBe('1');
    if (/temperature/.test(name)) expect(unit, name).toBe('Cel');
    if (/\.duration$|throttle\.time$/.test(name)) expect(unit, name).toBe('s');
  }
});

test('counters never go below 0 and every range is a range', () => {
  for (const [name, { kind, range }] of ENTRIES) {
    expect(range[0], name).toBeLessThan(range[1]);
    if (kind === 'counter') expect(range[0], name).toBe(0);
  }
});

test('metricOf gives the entry of a name', () => {
  const name: MetricName = 'hw.energy';
  expect(metricOf(name)).toMatchObject({ unit: 'J', kind: 'counter' });
});
