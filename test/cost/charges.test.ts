import { expect, test } from 'vitest';
import { hourlyCommitment } from '../../src/cost/commitment.ts';
import { explainAmount } from '../../src/cost/explain.ts';
import { parseCostRecord } from '../../src/cost/parse.ts';
import type { CommitmentRecord } from '../../src/cost/record.ts';
import { amounts, asset, claim, EXAMPLE_2, invoice, ledgerOf, price, type RawRecord } from './cases.ts';

const HOUR = 3_600_000;

test('The tail of a minimum and a granularity is billed as idle, at the prices of its own time', () => {
  // life 90 s, at least 3600 s, in steps of 2400 s: billed 4800 s. $1/h until 3600 s, then $3/h: 1 + 3 × 1200/3600 = 2
  const ledger = ledgerOf([
    asset({ gpus: 1, to_ms: 90_000, min_billable_s: 3600, granularity_s: 2400 }),
    price('1'),
    price('3', { from_ms: HOUR }),
    claim('A', { to_ms: 10 * HOUR }),
  ]);
  expect(amounts(ledger)).toEqual({ 'node-1 tenant A': 25_000_000n, 'node-1 idle': 1_975_000_000n });
  expect(ledger.allocations.map((row) => row.gpu_seconds)).toEqual([4710, 90]);
});

test('An open asset ends at the end of the window, else at the last end of assets, claims and busy records', () => {
  const records = [asset({ to_ms: null, gpus: 1 }), price('1'), claim('A', { to_ms: 2 * HOUR })];
  expect(ledgerOf(records).totals.billed).toBe(2_000_000_000n);
  expect(ledgerOf(records, { to_ms: 5 * HOUR }).totals).toMatchObject({ billed: 5_000_000_000n, idle: 3_000_000_000n });
  const served = { type: 'served', model: 'm', tenant: {}, asset: 'node-1', from_ms: 0, to_ms: 9 * HOUR, requests: 1 };
  expect(ledgerOf([...records, served]).totals.billed).toBe(2_000_000_000n);
  // a claim that another check refuses is still well formed
  expect(ledgerOf([...records, claim('B', { asset: 'nobody', to_ms: 3 * HOUR })]).totals.billed).toBe(3_000_000_000n);
});

test('The price of the asset itself wins from its first time on; before it the price of its kind holds', () => {
  const ofKind = {
    ...price('2'),
    asset: undefined,
    instance_type: 'p5.48xlarge',
    region: 'us-east-1',
    pricing: 'on_demand',
  };
  const ledger = ledgerOf([asset({ gpus: 1 }), JSON.parse(JSON.stringify(ofKind)), price('6', { from_ms: HOUR / 2 })]);
  expect(ledger.totals.billed).toBe(4_000_000_000n); // half an hour at 2, half at 6
});

test('Time without a price costs nothing and says so once, and only where it is reported', () => {
  const records = [asset({ to_ms: 2 * HOUR }), price('8', { from_ms: HOUR }), claim('A')];
  const ledger = ledgerOf(records);
  expect(ledger.warnings.map(({ code, asset: id }) => [code, id])).toEqual([['LW-COST-UNPRICED', 'node-1']]);
  expect(ledger.totals.billed).toBe(8_000_000_000n);
  expect(ledgerOf(records, { from_ms: HOUR }).warnings).toEqual([]);
  expect(ledgerOf([asset(), price('0')]).warnings).toEqual([]);
});

test('A window off the hours or backwards is refused', () => {
  for (const options of [{ from_ms: 1 }, { to_ms: HOUR + 1 }, { from_ms: -HOUR }, { from_ms: HOUR, to_ms: 0 }])
    expect(() => ledgerOf([], options), JSON.stringify(options)).toThrow(expect.objectContaining({ code: 'LW-USAGE' }));
});

test('Assets of thousands of years are refused without a window and billed with one', () => {
  const eternal = [asset({ gpus: 1, to_ms: 253_402_300_799_999 }), price('1')];
  expect(() => ledgerOf(eternal)).toThrow(expect.objectContaining({ code: 'LW-INPUT' }));
  expect(ledgerOf(eternal, { from_ms: 0, to_ms: 2 * HOUR }).totals.billed).toBe(2_000_000_000n);
  // the very last hour lacks one millisecond: 1 − 1/3600000 USD
  const last_ms = 253_402_297_200_000;
  expect(ledgerOf(eternal, { from_ms: last_ms }).totals.billed).toBe(999_999_722n);
});

test('Of overlapping busy records of one tenant the largest counts, and without a measured claim none does', () => {
  const busy = (sm_active: number, team = 'A'): RawRecord => ({
    type: 'busy',
    asset: 'node-1',
    gpu_index: 0,
    tenant: { team },
    from_ms: 0,
    to_ms: HOUR,
    sm_active,
  });
  const gpu = [asset({ gpus: 1 }), price('1'), claim('A', { gpu_indexes: [0], mode: 'measured' })];
  expect(amounts(ledgerOf([...gpu, busy(0.25), busy(0.5), busy(0.9, 'B')]))).toEqual({
    'node-1 tenant A': 500_000_000n,
    'node-1 idle': 500_000_000n,
  });
});

test('Measured tenants that together exceed the GPU are scaled down', () => {
  const ledger = ledgerOf([
    asset({ gpus: 1 }),
    price('1'),
    ...['A', 'B'].map((team) => claim(team, { gpu_indexes: [0], mode: 'measured' })),
    ...[
      ['A', 0.9],
      ['B', 0.6],
    ].map(([team, sm_active]) => ({
      type: 'busy',
      asset: 'node-1',
      gpu_index: 0,
      tenant: { team },
      from_ms: 0,
      to_ms: HOUR,
      sm_active,
    })),
  ]);
  expect(amounts(ledger)).toEqual({ 'node-1 tenant A': 600_000_000n, 'node-1 tenant B': 400_000_000n }); // 0.9/1.5, 0.6/1.5
});

test('Transfers count in the hour of their begin, storage by the hour, each rounded once an hour', () => {
  const ledger = ledgerOf([
    {
      type: 'transfer',
      tenant: { team: 'A' },
      from_ms: HOUR,
      to_ms: HOUR,
      bytes: 2 ** 31,
      usd_per_gib: '0.02',
      kind: 'zone',
    },
    {
      type: 'storage',
      id: 'disk',
      from_ms: 0,
      to_ms: HOUR,
      bytes: 2 ** 30 * 730,
      usd_per_gib_month: '0.5',
      class: 'c',
    },
  ]);
  expect(amounts(ledger)).toEqual({ 'transfer:zone tenant A': 40_000_000n, 'disk idle': 500_000_000n });
  expect(ledger.rows.find((row) => row.source === 'transfer')?.hour).toBe(1);
});

test('An overhead that nobody can carry is nobody’s', () => {
  const overhead = { type: 'overhead', id: 'ops', from_ms: 0, to_ms: 2 * HOUR, usd_per_hour: '0.1', split: 'even' };
  const ledger = ledgerOf([asset({ gpus: 1 }), price('1'), claim('A'), overhead]);
  expect(amounts(ledger)).toMatchObject({ 'ops overhead A': 100_000_000n, 'ops overhead': 100_000_000n });
});

test('What a commitment leaves unused is idle on it; the lower id draws on the bills first', () => {
  const plan = (id: string, usd_per_hour: string): RawRecord => ({
    type: 'commitment',
    id,
    from_ms: 0,
    to_ms: HOUR,
    usd_per_hour,
    covers: { instance_type: 'p5.48xlarge', region: 'us-east-1' },
  });
  const ledger = ledgerOf([asset({ pricing: 'reserved' }), price('10'), plan('b', '6'), plan('a', '7')]);
  // a uses 7 of 10, b the remaining 3 of its 6
  expect(amounts(ledger)).toEqual({ 'node-1 idle': 10_000_000_000n, 'b idle': 3_000_000_000n });
});

test('A commitment is spread over its hours to the nano-dollar, the earlier hour first', () => {
  // 2.5 hours at 1 nano-USD an hour + 7 upfront = 9.5 → 10 (half-even); 10 × 0.2, 0.4, 0.4 = 2, 4, 4 from 0:30
  const spread = (usd_per_hour: string, upfront_usd: string, to_ms: number): bigint[] => {
    const raw = {
      type: 'commitment',
      id: 'c',
      from_ms: HOUR / 2,
      to_ms,
      usd_per_hour,
      upfront_usd,
      covers: { instance_type: 't', region: 'r' },
    };
    const parsed = parseCostRecord(raw, { path: '', line: 1 });
    const record = parsed.kind === 'record' ? (parsed.record as CommitmentRecord) : null;
    return record === null ? [] : [...hourlyCommitment(record, { from: 0, to: Infinity })].map((hour) => hour.nano_usd);
  };
  expect(spread('0.000000001', '0.000000007', 3 * HOUR)).toEqual([2n, 4n, 4n]);
  // 11 over the same: 2.2, 4.4, 4.4: the missing one goes to the earlier of the two .4
  expect(spread('0', '0.000000011', 3 * HOUR)).toEqual([2n, 5n, 4n]);
  // 3 over 0.5 + 1 + 0.5 hours: 0.75, 1.5, 0.75: missing 2 go to the two .75
  expect(spread('0', '0.000000003', 2.5 * HOUR)).toEqual([1n, 1n, 1n]);
});

test('A correction of an asset that cost nothing then is idle, and one of no length corrects its own hour', () => {
  const correction = {
    type: 'correction',
    asset: 'node-1',
    from_ms: 5 * HOUR,
    to_ms: 6 * HOUR,
    usd: '2',
    reason: 'late',
  };
  expect(amounts(ledgerOf([...EXAMPLE_2, correction]))).toMatchObject({ 'node-1 idle correction': 2_000_000_000n });
  const instant = { ...correction, from_ms: 60_000, to_ms: 60_000 };
  expect(amounts(ledgerOf([asset({ gpus: 1 }), price('1'), claim('A'), instant]))).toMatchObject({
    'node-1 tenant A correction': 2_000_000_000n,
  });
});

test('A correction booked in the window is split over rows outside it as well', () => {
  const records = [
    asset({ gpus: 1, to_ms: 2 * HOUR }),
    price('1'),
    claim('A', { from_ms: HOUR, to_ms: 2 * HOUR }),
    { type: 'correction', asset: 'node-1', from_ms: 0, to_ms: 2 * HOUR, usd: '1', reason: 'r' },
  ];
  expect(amounts(ledgerOf(records, { from_ms: 0, to_ms: HOUR }))).toEqual({
    'node-1 idle': 1_000_000_000n,
    'node-1 idle correction': 500_000_000n,
    'node-1 tenant A correction': 500_000_000n,
  });
});

test('Grouping keeps the named keys of tenants, in allocations and on the invoice', () => {
  const tenants = [{ team: 'A', run: '1' }, { team: 'A', run: '2' }, { team: 'B' }];
  const records = [asset({ gpus: 3 }), price('3'), ...tenants.map((tenant) => claim('', { tenant }))];
  const ledger = ledgerOf(records, { group_by: ['team'] });
  expect(amounts(ledger)).toEqual({ 'node-1 tenant A': 2_000_000_000n, 'node-1 tenant B': 1_000_000_000n });
  expect(invoice(ledger)).toEqual({ A: 200n, B: 100n });
});

test('The basis names every mode that a tenant used, in alphabetical order', () => {
  const ledger = ledgerOf([
    asset(),
    price('8'),
    claim('A'),
    claim('A', { gpu_indexes: [7], mode: 'time_slice', replicas: 2 }),
    claim('A', { gpu_indexes: [6], mode: 'mig', mig_profile: '7g.80gb' }),
  ]);
  expect(ledger.allocations.map((row) => [row.category, row.basis])).toEqual([
    ['idle', 'asset'],
    ['tenant', 'mig+time_slice+whole'],
  ]);
});

test('Lost time of a run is priced by bucket; overlaps go to the bucket that the contract lists first', () => {
  const bucket = (name: string, from_ms: number, to_ms: number): RawRecord => ({
    type: 'bucket',
    run: 'r',
    asset: 'node-1',
    from_ms,
    to_ms,
    bucket: name,
  });
  const ledger = ledgerOf([
    asset({ gpus: 1 }),
    price('1'),
    price('3', { from_ms: HOUR / 2 }),
    claim('', { tenant: { team: 'A', run: 'r' }, to_ms: (HOUR * 3) / 4 }),
    bucket('productive', 0, HOUR),
    bucket('hang', 0, HOUR / 2),
    bucket('compile', HOUR / 4, HOUR / 2),
    bucket('straggling', (HOUR * 5) / 8, HOUR),
  ]);
  // hang 900 s at $1, compile 900 s at $1, productive 450 s at $3, straggling 450 s at $3 (claim ends at 2700 s)
  expect(ledger.badput.map((row) => [row.bucket, row.nano_usd, row.seconds])).toEqual([
    ['compile', 250_000_000n, 900],
    ['hang', 250_000_000n, 900],
    ['productive', 375_000_000n, 450],
    ['straggling', 375_000_000n, 450],
  ]);
});

test('Unit costs divide what a model’s tenants paid by what it served, half-even to nine decimals', () => {
  const served = (more: RawRecord): RawRecord => ({
    type: 'served',
    model: 'm',
    tenant: {},
    asset: 'node-1',
    from_ms: 0,
    to_ms: 0,
    requests: 0,
    ...more,
  });
  const records = [asset({ gpus: 1 }), price('1'), claim('', { tenant: { team: 'A', model: 'm' } })];
  const ledger = ledgerOf([
    ...records,
    served({ requests: 3 }),
    served({ from_ms: 9 * HOUR, to_ms: 9 * HOUR, requests: 4, tokens: '7000000' }),
  ]);
  expect(ledger.unit_costs).toEqual([
    { model: 'm', unit: '1000_inferences', nano_usd: 142_857_142_857n }, // 1000/7
    { model: 'm', unit: '1000000_tokens', nano_usd: 142_857_143n }, // 1/7
  ]);
  const windowed = ledgerOf([...records, served({ from_ms: 9 * HOUR, to_ms: 9 * HOUR, requests: 4 })], { to_ms: HOUR });
  expect(windowed.unit_costs).toEqual([]);
});

test('An amount is explained by segments whose exact costs are the amount before rounding', () => {
  const explained = explainAmount(ledgerOf(EXAMPLE_2), { asset: 'node-1', hour_ms: 0, tenant: '{"team":"B"}' });
  expect(explained?.bill_nano_usd).toBe(59_168_000_000n);
  expect(explained?.rows.map((row) => row.nano_usd)).toEqual([9_861_333_333n]);
  // 2 of 8 GPUs, 1200 s at 55.04 and 1200 s at 63.296: 4.586666… + 5.274666…
  expect(explained?.segments).toEqual([
    {
      from_ms: 600_000,
      to_ms: 1_800_000,
      mode: 'whole',
      usd_per_hour: '55.040000000',
      share_numerator: '2',
      share_denominator: '8',
      usd: '4.586666666',
    },
    {
      from_ms: 1_800_000,
      to_ms: 3_000_000,
      mode: 'whole',
      usd_per_hour: '63.296000000',
      share_numerator: '2',
      share_denominator: '8',
      usd: '5.274666666',
    },
  ]);
  expect(explainAmount(ledgerOf(EXAMPLE_2), { asset: 'node-1', hour_ms: HOUR, tenant: '{"team":"B"}' })).toBeNull();
});

test('A machine that nobody used for a day is advised to go, at what it costs a month', () => {
  const ledger = ledgerOf([asset({ gpus: 1, to_ms: 24 * HOUR }), price('2')]);
  expect(ledger.recommendations).toMatchObject([
    { rule: 'idle_asset', subject: 'node-1', nano_usd_per_month: 1_460_000_000_000n },
  ]); // 2 × 730
  expect(ledgerOf([asset({ gpus: 1, to_ms: 23 * HOUR }), price('2')]).recommendations).toEqual([]);
});
