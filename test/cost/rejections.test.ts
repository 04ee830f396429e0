import { expect, test } from 'vitest';
import { CostIntake } from '../../src/cost/intake.ts';
import { costLedger } from '../../src/cost/ledger.ts';
import { amounts, asset, claim, codes, ledgerOf, price, type RawRecord } from './cases.ts';

function codesOfLines(...lines: string[]): string[] {
  const intake = new CostIntake();
  for (const [index, line] of lines.entries()) intake.addLine(line, { path: 'in', line: index + 1 });
  return codes(costLedger(intake));
}

/** Codes that one record gets beside a machine of eight GPUs. */
function codesOf(record: RawRecord, ...others: RawRecord[]): string[] {
  return codes(ledgerOf([asset(), record, ...others]));
}

const without = (record: RawRecord, name: string): RawRecord =>
  Object.fromEntries(Object.entries(record).filter(([key]) => key !== name));

test('What is not a JSON object is LW-COST-JSON; blank lines are nothing', () => {
  expect(codesOfLines('{', 'nope', '[1]', '"x"', 'null', '', '  ')).toEqual(['JSON', 'JSON', 'JSON', 'JSON', 'JSON']);
});

test('A record nested deeper than 64 levels is refused instead of overflowing the stack', () => {
  expect(codesOfLines(`{"type":"claim","x":${'['.repeat(100_000)}${']'.repeat(100_000)}}`)).toEqual(['JSON']);
});

test('Unknown types are ignored, a missing or odd type is LW-COST-FIELD', () => {
  expect(codesOfLines('{"type":"step"}', '{"type":"martian"}', '{}', '{"type":7}')).toEqual(['FIELD', 'FIELD']);
});

const COMPLETE: readonly RawRecord[] = [
  asset({ id: 'other' }),
  price('1'),
  claim('A'),
  { type: 'busy', asset: 'node-1', gpu_index: 0, tenant: {}, from_ms: 0, to_ms: 1, sm_active: 0.5 },
  { type: 'bucket', run: 'r', asset: 'node-1', from_ms: 0, to_ms: 1, bucket: 'hang' },
  { type: 'served', model: 'm', tenant: {}, asset: 'node-1', from_ms: 0, to_ms: 1, requests: 1 },
  { type: 'overhead', id: 'o', from_ms: 0, to_ms: 1, usd_per_hour: '1', split: 'even' },
  { type: 'transfer', tenant: {}, from_ms: 0, to_ms: 1, bytes: 1, usd_per_gib: '1', kind: 'zone' },
  { type: 'storage', id: 's', from_ms: 0, to_ms: 1, bytes: 1, usd_per_gib_month: '1', class: 'c' },
  { type: 'commitment', id: 'c', from_ms: 0, to_ms: 1, usd_per_hour: '1', covers: { instance_type: 't', region: 'r' } },
  { type: 'correction', asset: 'node-1', from_ms: 0, to_ms: 1, usd: '1', reason: 'r' },
  { type: 'budget', scope: {}, period: 'month', usd: '1', thresholds: [0.5] },
];

test('Every record is accepted whole and refused when any one required field is missing', () => {
  for (const record of COMPLETE) {
    expect(codesOf(record), JSON.stringify(record)).toEqual([]);
    const optional = new Set(['type', 'gpu_model', ...(record['type'] === 'storage' ? ['tenant'] : [])]);
    for (const name of Object.keys(record))
      if (!optional.has(name))
        expect(codesOf(without(record, name)), `${String(record['type'])} without ${name}`).toEqual(['FIELD']);
  }
});

test('Wrong JSON types and unknown words are LW-COST-FIELD', () => {
  for (const more of [
    { from_ms: '0' },
    { from_ms: null },
    { gpus: true },
    { tenant: 'A' },
    { tenant: { team: 1 } },
    { mode: 'half' },
    { gpu_indexes: 3 },
    { gpu_indexes: [true] },
    { mode: 'time_slice', gpu_indexes: [0] },
    { mode: 'mps', gpu_indexes: [0] },
  ])
    expect(codesOf(claim('A', more)), JSON.stringify(more)).toEqual(['FIELD']);
  expect(codesOf(without(price('1'), 'asset'))).toEqual(['FIELD']);
});

test('A currency other than USD is refused before its numbers are looked at', () => {
  expect(codesOf(price('x', { currency: 'EUR', from_ms: -1 }))).toEqual(['CURRENCY']);
  expect(codesOf(claim('A', { currency: null }))).toEqual(['CURRENCY']);
  expect(codesOf(price('1', { currency: 'USD' }))).toEqual([]);
});

test('Numbers outside their limits are LW-COST-NUMBER', () => {
  for (const more of [
    { from_ms: -1 },
    { to_ms: 253_402_300_800_000 },
    { gpus: 1.5 },
    { gpus: -1 },
    { gpus: '1.0' },
    { gpus: '9223372036854775808' },
    { gpus: 1, gpu_indexes: [0.5] },
    { mode: 'time_slice', gpu_indexes: [0], replicas: 0 },
    { mode: 'mps', gpu_indexes: [0], sm_ratio: 1.01 },
  ])
    expect(codesOf(claim('A', more)), JSON.stringify(more)).toEqual(['NUMBER']);
});

test('Counts may be strings, and integers beyond 2^53 keep their last digit', () => {
  expect(codesOf(claim('A', { gpus: '1', gpu_indexes: ['7'] }))).toEqual([]);
  const transfer = (bytes: string, from_ms: number): string =>
    `{"type":"transfer","tenant":{"team":"A"},"from_ms":${from_ms},"to_ms":${from_ms},"bytes":${bytes},"usd_per_gib":"1","kind":"zone"}`;
  const intake = new CostIntake();
  // 2^63 − 1 bytes at $1: 8589934592 GiB less one byte; 2^63 − 1 as a double would be 2^63 and out of range
  intake.addLine(transfer('9223372036854775807', 0), { path: 'in', line: 1 });
  intake.addLine(transfer('9223372036854775806', 0), { path: 'in', line: 2 });
  intake.addLine(transfer('9223372036854775808', 1), { path: 'in', line: 3 });
  const ledger = costLedger(intake);
  expect(codes(ledger)).toEqual(['NUMBER']);
  // two charges of 8589934592 GiB less 3 bytes (2.8 nano-USD) in all
  expect(ledger.totals.billed).toBe(17_179_869_183_999_999_997n);
});

test('Money that is not a decimal string is LW-COST-MONEY, after fields and numbers', () => {
  for (const usd of [1, null, '1e3', '-1', '1.0000000001', ''])
    expect(codesOf({ ...price('1'), usd_per_hour: usd }), String(usd)).toEqual(['MONEY']);
  expect(codesOf({ ...price('-1'), from_ms: -1 })).toEqual(['NUMBER']);
});

test('An interval that ends before it begins is LW-COST-RANGE', () => {
  expect(codesOf(claim('A', { from_ms: 2, to_ms: 1 }))).toEqual(['RANGE']);
  expect(codesOf(claim('A', { from_ms: 2, to_ms: 2 }))).toEqual([]);
});

test('Two different assets of one id are both refused, and with them what names the id', () => {
  expect(codes(ledgerOf([asset(), asset({ region: 'eu' }), claim('A')]))).toEqual([
    'ASSET-CONFLICT',
    'ASSET-CONFLICT',
    'UNKNOWN-ASSET',
  ]);
  const reordered = Object.fromEntries(Object.entries(asset()).toReversed());
  expect(codes(ledgerOf([asset(), reordered, claim('A')]))).toEqual([]);
});

test('Every record type that names an asset needs it to exist', () => {
  for (const record of COMPLETE)
    if ('asset' in record)
      expect(codesOf({ ...record, asset: 'nobody' }), String(record['type'])).toEqual(['UNKNOWN-ASSET']);
});

test('Two amounts for one key and time are both refused; equal amounts are not', () => {
  expect(codesOf(price('1'), price('2'))).toEqual(['PRICE-CONFLICT', 'PRICE-CONFLICT']);
  expect(codesOf(price('1'), price('1.0', { source: 'other' }))).toEqual([]);
  expect(codesOf(price('1'), price('2', { from_ms: 1 }))).toEqual([]);
});

test('A MIG profile must exist on the GPU model', () => {
  const mig = (gpu_model: string, mig_profile: string): string[] =>
    codes(ledgerOf([asset({ gpu_model }), claim('A', { mode: 'mig', gpu_indexes: [0], mig_profile })]));
  for (const [model, profile] of [
    ['NVIDIA A100-SXM4-40GB', '3g.20gb'],
    ['NVIDIA A100-SXM4-80GB', '1g.10gb+me'],
    ['NVIDIA H100 NVL', '1g.12gb'],
    ['NVIDIA H100 96GB', '7g.96gb'],
    ['NVIDIA H200', '1g.18gb'],
    ['NVIDIA H200', '3g.71gb'],
  ] as const)
    expect(mig(model, profile), `${profile} on ${model}`).toEqual([]);
  for (const [model, profile] of [
    ['NVIDIA A100-SXM4-80GB', '7g.40gb'],
    ['NVIDIA H100 80GB HBM3', '5g.40gb'],
    ['NVIDIA H100 80GB HBM3', 'half'],
    ['NVIDIA L4', '1g.10gb'],
  ] as const)
    expect(mig(model, profile), `${profile} on ${model}`).toEqual(['MIG']);
});

test('Shared modes need the right GPU indexes, and MIG is judged before them', () => {
  const slice = { mode: 'time_slice', replicas: 2 };
  expect(codesOf(claim('A', slice))).toEqual(['GPU-INDEX']);
  expect(codesOf(claim('A', { ...slice, gpu_indexes: [8] }))).toEqual(['GPU-INDEX']);
  expect(codesOf(claim('A', { ...slice, gpus: 2, gpu_indexes: [0, 0] }))).toEqual(['GPU-INDEX']);
  expect(codesOf(claim('A', { ...slice, gpus: 2, gpu_indexes: [0] }))).toEqual(['GPU-INDEX']);
  expect(codesOf(claim('A', { gpu_indexes: [9] }))).toEqual(['GPU-INDEX']);
  expect(codesOf(claim('A', { mode: 'mig', mig_profile: 'x' }))).toEqual(['MIG']);
  expect(codes(ledgerOf([asset({ gpus: 0 }), claim('A')]))).toEqual(['GPU-INDEX']);
});

test('A claim beyond the capacity is refused whole; a later start gives way to an earlier one', () => {
  const late = claim('B', { gpus: 6, from_ms: 1 });
  const ledger = ledgerOf([asset(), price('8'), late, claim('A', { gpus: 3, to_ms: 2 })]);
  expect(codes(ledger)).toEqual(['CAPACITY']);
  expect(amounts(ledger)['node-1 tenant B']).toBeUndefined();
});

test('Capacity is free again at the very instant a claim ends', () => {
  expect(codesOf(claim('A', { gpus: 8, to_ms: 10 }), claim('B', { gpus: 8, from_ms: 10 }))).toEqual([]);
});

test('One GPU holds one mode, one whole claim, seven compute and eight memory slices, one turn of time slices', () => {
  const on = (more: RawRecord): RawRecord => ({ gpu_indexes: [0], ...more });
  const slice = (team: string, replicas: number): RawRecord => claim(team, on({ mode: 'time_slice', replicas }));
  const mig = (team: string, mig_profile: string): RawRecord => claim(team, on({ mode: 'mig', mig_profile }));
  expect(codesOf(slice('A', 2), claim('B', on({ mode: 'measured' })))).toEqual(['CAPACITY']);
  expect(codesOf(claim('A', on({})), claim('B', on({})))).toEqual(['CAPACITY']);
  expect(codesOf(slice('A', 2), slice('B', 3), slice('C', 6))).toEqual([]); // 1/2 + 1/3 + 1/6 = 1
  expect(codesOf(slice('A', 2), slice('B', 3), slice('C', 5))).toEqual(['CAPACITY']);
  expect(codesOf(mig('A', '4g.40gb'), mig('B', '3g.40gb'))).toEqual([]); // 7 and 8
  expect(codesOf(mig('A', '4g.40gb'), mig('B', '4g.40gb'))).toEqual(['CAPACITY']); // 8 of 7
  expect(codesOf(mig('A', '3g.40gb'), mig('B', '3g.40gb'), mig('C', '1g.10gb'))).toEqual(['CAPACITY']); // 9 of 8
});

test('A record that is refused twice is listed once', () => {
  expect(codes(ledgerOf([asset(), claim('A', { gpus: 1.5 }), claim('A', { gpus: 1.5 })]))).toEqual(['NUMBER']);
});
