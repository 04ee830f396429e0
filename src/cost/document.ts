import { formatCents, formatUsd } from '../core/money.ts';
import type { Allocation } from './allocations.ts';
import type { Explanation } from './explain.ts';
import type { Ledger } from './ledger.ts';
import type { Category, Tenant } from './record.ts';

/** Most rejected records listed; their count is always complete. */
export const REJECTED_MAX = 100;

/** The ledger as the JSON document of `leeway cost` (contracts/cli.md), version 1: money as decimal strings. */
export function ledgerDocument(ledger: Ledger): Readonly<Record<string, unknown>> {
  const { totals } = ledger;
  return {
    version: 1,
    currency: 'USD',
    totals: {
      billed_nano_usd: totals.billed.toString(),
      tenant_nano_usd: totals.tenant.toString(),
      idle_nano_usd: totals.idle.toString(),
      stranded_nano_usd: totals.stranded.toString(),
      overhead_nano_usd: totals.overhead.toString(),
      unobserved_nano_usd: totals.unobserved.toString(),
    },
    allocations: ledger.allocations.map(allocationDocument),
    invoice: ledger.invoice.map(({ tenant, cents }) => ({ tenant: tenantDocument(tenant), usd: formatCents(cents) })),
    badput: ledger.badput.map((row) => ({ ...row, nano_usd: row.nano_usd.toString() })),
    unit_costs: ledger.unit_costs.map(({ model, unit, nano_usd }) => ({ model, unit, usd: formatUsd(nano_usd) })),
    recommendations: ledger.recommendations.map(({ nano_usd_per_month, ...advice }) => ({
      ...advice,
      usd_per_month: formatUsd(nano_usd_per_month),
    })),
    warnings: ledger.warnings,
    rejected: ledger.rejected.slice(0, REJECTED_MAX),
    rejected_count: ledger.rejected.length,
  };
}

/** One allocation with money as a string; `from_ms` only where there are periods. */
export function allocationDocument({
  from_ms,
  tenant,
  nano_usd,
  ...row
}: Allocation): Readonly<Record<string, unknown>> {
  return {
    ...(from_ms === null ? {} : { from_ms }),
    ...row,
    tenant: tenant?.fields ?? null,
    nano_usd: nano_usd.toString(),
  };
}

/** An explained amount for the API: money as strings, tenants as objects. */
export function explanationDocument(explanation: Explanation): Readonly<Record<string, unknown>> {
  return {
    ...explanation,
    bill_nano_usd: explanation.bill_nano_usd.toString(),
    rows: explanation.rows.map((row) => ({
      category: row.category,
      tenant: row.tenant?.fields ?? null,
      correction: row.correction,
      nano_usd: row.nano_usd.toString(),
      gpu_seconds: Number(row.gpu_time_fs) / 1e15,
      basis: row.basis,
    })),
  };
}

function tenantDocument(tenant: Tenant | Category): unknown {
  return typeof tenant === 'string' ? tenant : tenant.fields;
}
