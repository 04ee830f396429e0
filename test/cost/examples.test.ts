import { expect, test } from 'vitest';
import { amounts, asset, claim, EXAMPLE_2, invoice, ledgerOf, price, usd } from './cases.ts';

// Every figure below is printed in contracts/cost.md "Examples".

test('Three equal tenants of a machine without GPUs pay a third each, the first by key one nano-dollar more', () => {
  const ledger = ledgerOf([
    asset({ gpus: 0 }),
    price('10'),
    ...['A', 'B', 'C'].map((team) => claim(team, { gpus: 0 })),
  ]);
  expect(amounts(ledger)).toEqual({
    'node-1 tenant A': 3_333_333_334n,
    'node-1 tenant B': 3_333_333_333n,
    'node-1 tenant C': 3_333_333_333n,
  });
  expect(invoice(ledger)).toEqual({ A: 334n, B: 333n, C: 333n });
});

test('A price change in the hour affects only the time after it, and cents add up to the rounded bill', () => {
  const ledger = ledgerOf(EXAMPLE_2);
  expect(amounts(ledger)).toEqual({
    'node-1 tenant A': 22_188_000_000n,
    'node-1 tenant B': 9_861_333_333n,
    'node-1 tenant C': 3_956_000_000n,
    'node-1 idle': 23_162_666_667n,
  });
  expect(invoice(ledger)).toEqual({ A: 2219n, B: 986n, C: 396n, idle: 2316n });
  expect(usd(ledger)).toBe('59.168000000');
  expect(ledger.invoice.reduce((sum, line) => sum + line.cents, 0n)).toBe(5917n);
  // GPU-seconds: A 3 × 3600, B 2 × 2400, C 1 × 1800, idle 8 × 3600 − the rest
  expect(ledger.allocations.map((row) => row.gpu_seconds)).toEqual([11_400, 10_800, 4_800, 1_800]);
});

test('MIG instances whose dominant shares exceed the GPU are scaled down; what one leaves is stranded', () => {
  const gpu = [asset({ gpus: 1 }), price('10')];
  const a = claim('A', { gpu_indexes: [0], mode: 'mig', mig_profile: '4g.40gb' });
  const b = claim('B', { gpu_indexes: [0], mode: 'mig', mig_profile: '3g.40gb' });
  expect(amounts(ledgerOf([...gpu, a, b]))).toEqual({
    'node-1 tenant A': 5_333_333_333n,
    'node-1 tenant B': 4_666_666_667n,
  });
  expect(amounts(ledgerOf([...gpu, a]))).toEqual({
    'node-1 tenant A': 5_714_285_714n,
    'node-1 stranded': 4_285_714_286n,
  });
});

test('Measured time without a busy record is unobserved, not idle', () => {
  const ledger = ledgerOf([
    asset({ gpus: 1 }),
    price('3.60'),
    claim('A', { gpu_indexes: [0], mode: 'measured' }),
    {
      type: 'busy',
      asset: 'node-1',
      gpu_index: 0,
      tenant: { team: 'A' },
      from_ms: 0,
      to_ms: 1_800_000,
      sm_active: 0.25,
    },
  ]);
  expect(amounts(ledger)).toEqual({
    'node-1 tenant A': 450_000_000n,
    'node-1 idle': 1_350_000_000n,
    'node-1 unobserved': 1_800_000_000n,
  });
});

test('A proportional overhead follows what the tenants spent in the hour', () => {
  const overhead = {
    type: 'overhead',
    id: 'ops',
    from_ms: 0,
    to_ms: 3_600_000,
    usd_per_hour: '0.1',
    split: 'proportional',
  };
  expect(amounts(ledgerOf([...EXAMPLE_2, overhead]))).toMatchObject({
    'ops overhead A': 61_624_204n,
    'ops overhead B': 27_388_535n,
    'ops overhead C': 10_987_261n,
  });
});

test('A negative correction is split over the rows that it corrects', () => {
  const correction = {
    type: 'correction',
    asset: 'node-1',
    from_ms: 0,
    to_ms: 3_600_000,
    usd: '-1.25',
    reason: 'credit',
  };
  const ledger = ledgerOf([...EXAMPLE_2, correction]);
  expect(amounts(ledger)).toMatchObject({
    'node-1 tenant A correction': -468_750_000n,
    'node-1 tenant B correction': -208_333_333n,
    'node-1 tenant C correction': -83_575_582n,
    'node-1 idle correction': -489_341_085n,
    'node-1 tenant A': 22_188_000_000n,
  });
  expect(ledger.totals.billed).toBe(57_918_000_000n);
});
