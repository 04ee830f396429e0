import { formatUsd } from '../../src/core/money.ts';
import { intakeOf } from '../../src/cost/intake.ts';
import { costLedger, type Ledger, type LedgerOptions } from '../../src/cost/ledger.ts';

/** A raw record as it stands in a file. */
export type RawRecord = Readonly<Record<string, unknown>>;

/** A machine of one hour, 1970-01-01T00:00Z to 01:00Z, unless overridden. */
export function asset(more: RawRecord = {}): RawRecord {
  return {
    type: 'asset',
    id: 'node-1',
    kind: 'gpu_node',
    gpus: 8,
    gpu_model: 'NVIDIA H100 80GB HBM3',
    from_ms: 0,
    to_ms: 3_600_000,
    provider: 'aws',
    region: 'us-east-1',
    instance_type: 'p5.48xlarge',
    pricing: 'on_demand',
    account: 'acct-1',
    ...more,
  };
}

export function price(usd_per_hour: string, more: RawRecord = {}): RawRecord {
  return {
    type: 'price',
    asset: 'node-1',
    from_ms: 0,
    usd_per_hour,
    source: 'list',
    retrieved_on: '2026-01-01',
    ...more,
  };
}

export function claim(team: string, more: RawRecord = {}): RawRecord {
  return {
    type: 'claim',
    asset: 'node-1',
    tenant: { team },
    from_ms: 0,
    to_ms: 3_600_000,
    gpus: 1,
    mode: 'whole',
    ...more,
  };
}

/** Example 2 of contracts/cost.md. */
export const EXAMPLE_2: readonly RawRecord[] = [
  asset(),
  price('55.04'),
  price('63.296', { from_ms: 1_800_000 }),
  claim('A', { gpus: 3 }),
  claim('B', { gpus: 2, from_ms: 600_000, to_ms: 3_000_000 }),
  claim('C', { gpus: 1, from_ms: 1_800_000 }),
];

export function ledgerOf(records: readonly unknown[], options: LedgerOptions = {}): Ledger {
  return costLedger(intakeOf(records), options);
}

/** Allocations as `asset category tenant[ correction]` → nano-USD, for comparison with literal figures. */
export function amounts(ledger: Ledger): Record<string, bigint> {
  return Object.fromEntries(
    ledger.allocations.map((row) => [
      [
        row.asset,
        row.category,
        ...Object.values(row.tenant?.fields ?? {}),
        ...(row.correction ? ['correction'] : []),
      ].join(' '),
      row.nano_usd,
    ]),
  );
}

/** Invoice as team or category → cents. */
export function invoice(ledger: Ledger): Record<string, bigint> {
  return Object.fromEntries(
    ledger.invoice.map(({ tenant, cents }) => [
      typeof tenant === 'string' ? tenant : (tenant.fields['team'] ?? '{}'),
      cents,
    ]),
  );
}

export function codes(ledger: Ledger): string[] {
  return ledger.rejected.map((rejection) => rejection.code.replace('LW-COST-', '')).sort();
}

export function usd(ledger: Ledger): string {
  return formatUsd(ledger.totals.billed);
}
