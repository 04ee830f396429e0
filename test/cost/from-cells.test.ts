import { expect, test } from 'vitest';
import { recordOfCells } from '../../src/cost/from-cells.ts';
import { amounts, EXAMPLE_2, ledgerOf } from './cases.ts';

test('A row of text becomes the record that it spells', () => {
  const columns = [
    'type',
    'asset',
    'tenant.team',
    'tenant.run',
    'from_ms',
    'to_ms',
    'gpus',
    'gpu_indexes[0]',
    'gpu_indexes[1]',
    'mode',
    'sm_ratio',
    'replicas',
  ];
  const cells = ['claim', '007', 'A', '', '0', '3.6e6', '2', '0', '1', 'mps', '.5', ''];
  expect(recordOfCells(columns, cells)).toEqual({
    type: 'claim',
    asset: '007',
    tenant: { team: 'A' },
    from_ms: 0,
    to_ms: 3_600_000,
    gpus: '2',
    gpu_indexes: ['0', '1'],
    mode: 'mps',
    sm_ratio: 0.5,
  });
});

test('An asset without an end is open, other empty cells are absent', () => {
  expect(recordOfCells(['type', 'id', 'to_ms', 'zone'], ['asset', 'n', '', ''])).toEqual({
    type: 'asset',
    id: 'n',
    to_ms: null,
  });
  expect(recordOfCells(['type', 'to_ms'], ['claim', ''])).toEqual({ type: 'claim' });
});

test('JSON in a cell is read as such where the field is an object or a list', () => {
  const cells = ['claim', '{"team":"A"}', '[0,1]', '[not'];
  expect(recordOfCells(['type', 'tenant', 'gpu_indexes', 'asset'], cells)).toEqual({
    type: 'claim',
    tenant: { team: 'A' },
    gpu_indexes: [0, 1],
    asset: '[not',
  });
  expect(recordOfCells(['type', 'tenant'], ['claim', '{broken'])).toEqual({ type: 'claim', tenant: '{broken' });
});

test('A table of all columns gives the same ledger as the records', () => {
  const columns = [...new Set(EXAMPLE_2.flatMap((record) => Object.keys(record)))].map((name) =>
    name === 'tenant' ? 'tenant.team' : name,
  );
  const text = (value: unknown): string => (typeof value === 'string' ? value : (JSON.stringify(value) ?? ''));
  const rows = EXAMPLE_2.map((record) =>
    columns.map((name) => (name === 'tenant.team' ? text(Object(record['tenant'])['team']) : text(record[name]))),
  );
  const ledger = ledgerOf(rows.map((cells) => recordOfCells(columns, cells)));
  expect(ledger.rejected).toEqual([]);
  expect(amounts(ledger)).toEqual(amounts(ledgerOf(EXAMPLE_2)));
});
