import { existsSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseUsd } from '../../src/core/money.ts';
import { focusColumns, focusLines, type FocusVersion } from '../../src/cost/focus.ts';
import { asset, claim, EXAMPLE_2, ledgerOf, price, type RawRecord } from './cases.ts';
import { randomRecords } from './random-records.ts';

const HOUR = 3_600_000;
const JANUARY = 1_769_904_000_000 - 2 * HOUR; // two hours before 2026-02-01T00:00:00Z
const SPECIFICATION = new URL('../../../shared/data/cost/focus_columns_1_2.csv', import.meta.url);
const SKIPPED = existsSync(SPECIFICATION) ? '' : ' (SKIPPED: ../shared/data/cost is not beside the repository)';

/** RFC 4180 by the letter, for reading back what was written. */
function readCsv(text: string): Record<string, string>[] {
  const rows = [...text.matchAll(/((?:(?:"(?:[^"]|"")*"|[^",\r\n]*)(?:,|(?=\r\n)))+)\r\n/g)].map((match) =>
    [...(match[1] ?? '').matchAll(/("(?:[^"]|"")*"|[^",]*)(?:,|$)/g)].map(([, value = '']) =>
      value.startsWith('"') ? value.slice(1, -1).replaceAll('""', '"') : value,
    ),
  );
  const [header = [], ...body] = rows;
  return body.map((row) => Object.fromEntries(header.map((name, index) => [name, row[index] ?? ''])));
}

function exported(records: readonly RawRecord[], version: FocusVersion = '1.2'): Record<string, string>[] {
  return readCsv([...focusLines(ledgerOf(records), version)].join(''));
}

function nano(usd: string | undefined): bigint {
  return parseUsd(usd ?? '', true) ?? -1n;
}

test('The example becomes one row a tenant and one of idle, whose costs add up to the bill', () => {
  const rows = exported(EXAMPLE_2);
  expect(rows.map((row) => [row['x_Category'], row['x_TeamId'], row['BilledCost'], row['Tags']])).toEqual([
    ['idle', '', '23.162666667', '{}'],
    ['tenant', 'A', '22.188000000', '{"team":"A"}'],
    ['tenant', 'B', '9.861333333', '{"team":"B"}'],
    ['tenant', 'C', '3.956000000', '{"team":"C"}'],
  ]);
  for (const row of rows) {
    expect([row['EffectiveCost'], row['ListCost'], row['ContractedCost']]).toEqual(Array(3).fill(row['BilledCost']));
    expect(row).toMatchObject({
      BillingCurrency: 'USD',
      ChargeCategory: 'Usage',
      ChargeClass: '',
      ChargePeriodStart: '1970-01-01T00:00:00Z',
      ChargePeriodEnd: '1970-01-01T01:00:00Z',
      BillingPeriodStart: '1970-01-01T00:00:00Z',
      BillingPeriodEnd: '1970-02-01T00:00:00Z',
      ResourceId: 'node-1',
      SubAccountId: 'acct-1',
      ProviderName: 'aws',
      InvoiceIssuerName: 'aws',
      PricingCategory: 'Standard',
      InvoiceId: '',
      CommitmentDiscountStatus: '',
    });
  }
  // A: 3 GPUs for an hour
  expect(rows[1]).toMatchObject({
    ConsumedQuantity: '3.000000000',
    ConsumedUnit: 'GPU-Hours',
    PricingUnit: 'GPU-Hours',
  });
});

test('A billing period is the UTC month of the hour, also across its end', () => {
  const rows = exported([asset({ gpus: 1, from_ms: JANUARY, to_ms: JANUARY + 3 * HOUR }), price('1')]);
  expect(rows.map((row) => [row['ChargePeriodStart'], row['BillingPeriodStart'], row['BillingPeriodEnd']])).toEqual([
    ['2026-01-31T22:00:00Z', '2026-01-01T00:00:00Z', '2026-02-01T00:00:00Z'],
    ['2026-01-31T23:00:00Z', '2026-01-01T00:00:00Z', '2026-02-01T00:00:00Z'],
    ['2026-02-01T00:00:00Z', '2026-02-01T00:00:00Z', '2026-03-01T00:00:00Z'],
  ]);
});

test('Spot is Dynamic, reserved is Committed, an unused commitment says so, a correction consumes nothing', () => {
  const rows = exported([
    asset({ id: 'spot', pricing: 'spot', gpus: 1 }),
    asset({ id: 'kept', pricing: 'reserved', gpus: 1 }),
    price('1', { asset: 'spot' }),
    price('1', { asset: 'kept' }),
    {
      type: 'commitment',
      id: 'plan',
      from_ms: 0,
      to_ms: HOUR,
      usd_per_hour: '5',
      covers: { instance_type: 'p5.48xlarge', region: 'us-east-1' },
    },
    { type: 'correction', asset: 'spot', from_ms: 0, to_ms: HOUR, usd: '-0.25', reason: 'r' },
  ]);
  const of = (id: string, cls = ''): Record<string, string> | undefined =>
    rows.find((row) => row['ResourceId'] === id && row['ChargeClass'] === cls);
  expect(of('spot')?.['PricingCategory']).toBe('Dynamic');
  expect(of('kept')?.['PricingCategory']).toBe('Committed');
  expect(of('plan')).toMatchObject({
    CommitmentDiscountStatus: 'Unused',
    CommitmentDiscountId: 'plan',
    BilledCost: '4.000000000',
    ConsumedQuantity: '',
    SubAccountId: 'acct-1',
  });
  expect(of('spot', 'Correction')).toMatchObject({
    ChargeCategory: 'Usage',
    BilledCost: '-0.250000000',
    x_CostBasis: 'correction',
  });
  expect(Number(of('spot', 'Correction')?.['ConsumedQuantity'])).toBe(0);
});

test('An account is always named: the only one there is, or unknown among several', () => {
  const overhead = { type: 'overhead', id: 'ops', from_ms: 0, to_ms: HOUR, usd_per_hour: '1', split: 'none' };
  expect(exported([asset(), overhead])[0]?.['SubAccountId']).toBe('acct-1');
  expect(exported([asset(), asset({ id: 'n2', account: 'acct-2' }), overhead])[0]?.['SubAccountId']).toBe('unknown');
});

test('Names with commas, quotes and line ends survive the file', () => {
  const team = 'a,"b"\r\nc';
  const rows = exported([asset({ gpus: 1 }), price('1'), claim(team)]);
  expect(rows[0]?.['x_TeamId']).toBe(team);
  expect(JSON.parse(rows[0]?.['Tags'] ?? '')).toEqual({ team });
});

test('Every row of random ledgers is exported once, none is zero, and the file adds up to the bill', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 31 }), (seed) => {
      const records = randomRecords(seed);
      const rows = exported(records);
      expect(rows.reduce((sum, row) => sum + nano(row['BilledCost']), 0n)).toBe(ledgerOf(records).totals.billed);
      const keys = rows.map((row) =>
        ['ResourceId', 'ChargePeriodStart', 'ChargeClass', 'x_Category', 'Tags'].map((name) => row[name]).join('|'),
      );
      expect(new Set(keys).size).toBe(keys.length);
      for (const row of rows) {
        expect(nano(row['BilledCost'])).not.toBe(0n);
        expect(row['BilledCost']).toMatch(/^-?\d+\.\d{9}$/);
        expect(row['SubAccountId']).not.toBe('');
      }
    }),
    { numRuns: 60 },
  );
});

test('In FOCUS 1.3 the ratios of one origin charge have nine decimals and sum to exactly one', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 31 }), (seed) => {
      const sums = new Map<string, bigint>();
      for (const row of exported(randomRecords(seed), '1.3')) {
        const origin = ['ResourceId', 'ChargePeriodStart', 'ChargeClass'].map((name) => row[name]).join('|');
        const match = /^\{"Elements":\[\{"AllocatedRatio":(\d\.\d{9})\}\]\}$/.exec(row['AllocatedMethodDetails'] ?? '');
        sums.set(origin, (sums.get(origin) ?? 0n) + nano(match?.[1]));
        expect(row['AllocatedTags']).toBe(row['Tags']);
        expect(row['AllocatedMethodId']).not.toBe('');
        expect(row['AllocatedResourceId']).not.toBe('');
      }
      for (const [origin, sum] of sums) expect(sum, origin).toBe(1_000_000_000n);
    }),
    { numRuns: 60 },
  );
});

test('Our own columns come last, and 1.3 adds the five split-cost columns', () => {
  const ours = ['x_Category', 'x_CostBasis', 'x_TeamId', 'x_ModelId', 'x_JobId', 'x_RunId'];
  expect(focusColumns('1.2').slice(-6)).toEqual(ours);
  expect(focusColumns('1.3').filter((name) => !focusColumns('1.2').includes(name))).toEqual([
    'AllocatedMethodId',
    'AllocatedMethodDetails',
    'AllocatedResourceId',
    'AllocatedResourceName',
    'AllocatedTags',
  ]);
});

test.skipIf(SKIPPED !== '')(
  `Columns are those of FOCUS 1.2, every mandatory one is there and filled where null is not allowed${SKIPPED}`,
  () => {
    const lines = readFileSync(SPECIFICATION, 'utf8')
      .split(/\r?\n/)
      .filter((line) => line !== '' && !line.startsWith('#'))
      .slice(1);
    const specified = lines
      .map((line) => line.split(','))
      .map(([name = '', level = '', nulls = '', , , allowed = '']) => ({ name, level, nulls, allowed }));
    const own = focusColumns('1.2').filter((name) => !name.startsWith('x_'));
    const names = new Set(specified.map(({ name }) => name));
    expect(own.filter((name) => !names.has(name))).toEqual([]);
    const rows = exported([
      ...EXAMPLE_2,
      { type: 'overhead', id: 'ops', from_ms: 0, to_ms: HOUR, usd_per_hour: '1', split: 'even' },
    ]);
    for (const { name, level, nulls, allowed } of specified) {
      if (level === 'Mandatory') expect(own).toContain(name);
      if (!own.includes(name)) continue;
      for (const row of rows) {
        if (nulls === 'False') expect(row[name], name).not.toBe('');
        // the list gives subcategories the words of ServiceCategory; the validator's model knows the real ones
        if (allowed !== '' && row[name] !== '' && name !== 'ServiceSubcategory')
          expect(allowed.split('|'), name).toContain(row[name]);
      }
    }
  },
);
