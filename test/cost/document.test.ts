import { expect, test } from 'vitest';
import { groupAllocations } from '../../src/cost/allocations.ts';
import { allocationDocument, explanationDocument } from '../../src/cost/document.ts';
import { explainAmount } from '../../src/cost/explain.ts';
import { asset, claim, EXAMPLE_2, ledgerOf, price } from './cases.ts';

const HOUR = 3_600_000;

test('An explained amount is plain JSON with money as strings', () => {
  const explained = explainAmount(ledgerOf(EXAMPLE_2), { asset: 'node-1', hour_ms: 1, tenant: '{"team":"C"}' });
  expect(explained === null ? null : JSON.parse(JSON.stringify(explanationDocument(explained)))).toEqual({
    asset: 'node-1',
    hour_ms: 0,
    bill_nano_usd: '59168000000',
    rows: [
      {
        category: 'tenant',
        tenant: { team: 'C' },
        correction: false,
        nano_usd: '3956000000',
        gpu_seconds: 1800,
        basis: 'whole',
      },
    ],
    // 1 of 8 GPUs for half an hour at 63.296: 63.296 / 16 = 3.956
    segments: [
      {
        from_ms: 1_800_000,
        to_ms: 3_600_000,
        mode: 'whole',
        usd_per_hour: '63.296000000',
        share_numerator: '1',
        share_denominator: '8',
        usd: '3.956000000',
      },
    ],
  });
});

test('A later hour of a longer life is explained in its own times', () => {
  const ledger = ledgerOf([
    asset({ gpus: 1, to_ms: 5 * HOUR }),
    price('1'),
    claim('A', { from_ms: 3.5 * HOUR, to_ms: 5 * HOUR }),
  ]);
  const explained = explainAmount(ledger, { asset: 'node-1', hour_ms: 3 * HOUR, tenant: '{"team":"A"}' });
  expect(explained?.segments.map(({ from_ms, to_ms, usd }) => [from_ms, to_ms, usd])).toEqual([
    [3.5 * HOUR, 4 * HOUR, '0.500000000'],
  ]);
  expect(explainAmount(ledger, { asset: 'node-1', hour_ms: 3 * HOUR, tenant: 'idle' })?.rows[0]?.nano_usd).toBe(
    500_000_000n,
  );
});

test('Costs are added up by UTC hour, day and month, each telling where it begins', () => {
  // 48 hours from 2026-01-31T00:00Z: a day in January, a day in February
  const from_ms = Date.UTC(2026, 0, 31);
  const ledger = ledgerOf([asset({ gpus: 1, from_ms, to_ms: from_ms + 48 * HOUR }), price('1')]);
  const by = (period: 'hour' | 'day' | 'month'): [unknown, unknown][] =>
    groupAllocations(ledger, { period })
      .map(allocationDocument)
      .map((row) => [row['from_ms'], row['nano_usd']]);
  expect(by('hour')).toHaveLength(48);
  expect(by('day')).toEqual([
    [from_ms, '24000000000'],
    [Date.UTC(2026, 1, 1), '24000000000'],
  ]);
  expect(by('month')).toEqual([
    [Date.UTC(2026, 0, 1), '24000000000'],
    [Date.UTC(2026, 1, 1), '24000000000'],
  ]);
});
