import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { hash64 } from '../../src/incident/identity.ts';
import { parseRules } from '../../src/incident/rules.ts';

const ROOT = join(import.meta.dirname, '../..');
const folder = join(ROOT, 'alerts/rules');
const files = readdirSync(folder)
  .filter((file) => file.endsWith('.json'))
  .map((file) => ({ name: file.replace('.json', ''), text: readFileSync(join(folder, file), 'utf8') }));

const good = { id: 'a.b', finding: 'a.b', fire: { above: 1 }, clear: { below: 1 }, severity: 'warn', runbook: 'x.md' };
const errorsOf = (value: unknown, name = 'a.b') =>
  parseRules([{ name, text: typeof value === 'string' ? value : JSON.stringify(value) }]).errors;

test('every rule of the house is valid and its runbook is there, short and with a next step', () => {
  const { rules, errors } = parseRules(files);
  expect(errors).toEqual([]);
  expect(rules.length).toBeGreaterThanOrEqual(9);
  for (const rule of rules) {
    const text = readFileSync(join(ROOT, rule.runbook), 'utf8');
    expect(text.split('\n').length, rule.runbook).toBeLessThanOrEqual(41);
    expect(text, rule.runbook).toContain('## Do');
  }
});

test('defaults fill what a rule leaves out', () => {
  expect(parseRules([{ name: 'a.b', text: JSON.stringify(good) }]).rules[0]).toMatchObject({
    for_ms: 0,
    keep_firing_ms: 0,
    data_min: 1,
    coverage_min_ratio: 0,
    reopen_ms: 3_600_000,
  });
});

test('all errors of a file are listed at once, each with path, expectation and what is there', () => {
  const errors = errorsOf({
    ...good,
    severity: 'loud',
    for_ms: -1,
    coverage_min_ratio: 2,
    surprise: true,
    runbook: undefined,
  });
  expect(errors.map(({ path }) => path).sort()).toEqual([
    'a.b.json: coverage_min_ratio',
    'a.b.json: for_ms',
    'a.b.json: runbook',
    'a.b.json: severity',
    'a.b.json: surprise',
  ]);
  const severity = errors.find(({ path }) => path.endsWith('severity'));
  expect(severity).toEqual({ path: 'a.b.json: severity', expected: '"page" or "warn"', got: '"loud"' });
  expect(errors.find(({ path }) => path.endsWith('runbook'))?.got).toBe('nothing');
  expect(errors.find(({ path }) => path.endsWith('surprise'))?.expected).toBe('no such field');
});

test.each([
  ['a threshold with both directions', { fire: { above: 1, below: 0 } }, 'fire'],
  ['a threshold that is no number', { fire: { above: '1' } }, 'fire'],
  ['clear in the same direction as fire', { clear: { above: 1 } }, 'clear'],
  ['clear beyond fire', { clear: { below: 1.5 } }, 'clear'],
  ['page below fire', { page: { above: 0.5 } }, 'page'],
  ['page in the other direction', { page: { below: 0.5 } }, 'page'],
  ['an id that is not the name of the file', { id: 'c.d' }, 'id'],
])('%s is an error of that field alone', (_title, changes, path) => {
  expect(errorsOf({ ...good, ...changes }).map((error) => error.path)).toEqual([`a.b.json: ${path}`]);
});

test.each([
  ['not JSON at all', '{'],
  ['a list', '[]'],
  ['a number', '7'],
  ['null', 'null'],
])('%s is one error and no rule', (_title, text) => {
  const { rules, errors } = parseRules([{ name: 'a.b', text }]);
  expect(rules).toEqual([]);
  expect(errors.map(({ path }) => path)).toEqual(['a.b.json: /']);
});

test('errors of several files are all there, and good files are still read', () => {
  const { rules, errors } = parseRules([
    { name: 'z', text: '{' },
    { name: 'a.b', text: JSON.stringify(good) },
    { name: 'y', text: '{}' },
  ]);
  expect(rules.map(({ id }) => id)).toEqual(['a.b']);
  expect(new Set(errors.map(({ path }) => path.split(':')[0]))).toEqual(new Set(['y.json', 'z.json']));
});

test('the hash is FNV-1a with 64 bits (test vectors of the draft, section 5)', () => {
  expect([hash64(''), hash64('a'), hash64('foobar')]).toEqual([
    'cbf29ce484222325',
    'af63dc4c8601ec8c',
    '85944171f73967e8',
  ]);
});
