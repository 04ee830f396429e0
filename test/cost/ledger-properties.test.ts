import fc from 'fast-check';
import { expect, test } from 'vitest';
import { seededRandom, shuffled } from '../../src/core/random.ts';
import { groupAllocations } from '../../src/cost/allocations.ts';
import { tieKey } from '../../src/cost/hour-row.ts';
import { ledgerDocument } from '../../src/cost/document.ts';
import type { Ledger } from '../../src/cost/ledger.ts';
import { ledgerOf } from './cases.ts';
import { oracleRows } from './oracle.ts';
import { randomRecords } from './random-records.ts';

// fast-check prints its seed and the shrunk record seed on failure.
const SEEDS = fc.integer({ min: 0, max: 2 ** 31 });
const RUNS = { numRuns: 150 };

function rowsByKey(ledger: Ledger): Map<string, bigint> {
  const rows = new Map<string, bigint>();
  for (const row of ledger.rows) {
    const id = [row.asset, row.hour, row.category, tieKey(row), row.correction ? 'correction' : ''].join(' | ');
    rows.set(id, (rows.get(id) ?? 0n) + row.nano_usd);
  }
  return new Map([...rows].filter(([, amount]) => amount !== 0n));
}

test('Every row of random ledgers equals a slow second reading of the contract, to the nano-dollar', () => {
  fc.assert(
    fc.property(SEEDS, (seed) => {
      const records = randomRecords(seed);
      expect(rowsByKey(ledgerOf(records))).toEqual(oracleRows(records));
    }),
    RUNS,
  );
});

test('Allocations, totals and days add up to the bill exactly, and only corrections are negative', () => {
  fc.assert(
    fc.property(SEEDS, (seed) => {
      const ledger = ledgerOf(randomRecords(seed));
      const { billed, ...categories } = ledger.totals;
      const sum = (amounts: readonly bigint[]): bigint => amounts.reduce((a, b) => a + b, 0n);
      expect(sum(ledger.allocations.map((row) => row.nano_usd))).toBe(billed);
      expect(sum(Object.values(categories))).toBe(billed);
      expect(sum(groupAllocations(ledger, { period: 'day', group_by: ['team'] }).map((row) => row.nano_usd))).toBe(
        billed,
      );
      for (const row of ledger.rows) expect(row.nano_usd >= 0n || row.correction).toBe(true);
    }),
    RUNS,
  );
});

test('Order and repetition of the records change nothing that is printed', () => {
  fc.assert(
    fc.property(SEEDS, (seed) => {
      const records = randomRecords(seed);
      const random = seededRandom(seed);
      const withoutLines = (ledger: Ledger): unknown => ({
        ...ledgerDocument(ledger),
        rejected: ledger.rejected.map(({ code, reason }) => `${code} ${reason}`).sort(),
      });
      const again = ledgerOf(shuffled(random, [...records, ...shuffled(random, records).slice(0, 5)]));
      expect(withoutLines(again)).toEqual(withoutLines(ledgerOf(records)));
    }),
    RUNS,
  );
});

test('A window reports exactly the rows of its hours, as the whole ledger has them', () => {
  fc.assert(
    fc.property(SEEDS, fc.integer({ min: 0, max: 3 }), (seed, hour) => {
      const records = randomRecords(seed);
      const whole = rowsByKey(ledgerOf(records));
      const part = rowsByKey(ledgerOf(records, { from_ms: hour * 3_600_000, to_ms: (hour + 1) * 3_600_000 }));
      expect(part).toEqual(new Map([...whole].filter(([key]) => key.split(' | ')[1] === String(hour))));
    }),
    RUNS,
  );
});

test('The buckets of a run add up to what its assets billed it', () => {
  fc.assert(
    fc.property(SEEDS, (seed) => {
      const buckets = ['hang', 'straggling', 'compile'].map((bucket, index) => ({
        type: 'bucket',
        run: 'r1',
        asset: 'node-0',
        from_ms: 600_000 * index,
        to_ms: 3_000_000 + 1_700_000 * index,
        bucket,
      }));
      const ledger = ledgerOf([...randomRecords(seed), ...buckets]);
      const billed = ledger.rows
        .filter(
          (row) =>
            row.tenant?.fields['run'] === 'r1' &&
            row.source === 'asset' &&
            row.category === 'tenant' &&
            !row.correction,
        )
        .reduce((sum, row) => sum + row.nano_usd, 0n);
      expect(ledger.badput.reduce((sum, row) => sum + row.nano_usd, 0n)).toBe(billed);
    }),
    RUNS,
  );
});
