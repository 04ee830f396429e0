import { divideHalfEven, largestRemainder, NANO_PER_CENT } from '../core/money.ts';
import { tenantGrouper } from './allocations.ts';
import { byBytes, type HourRow, tieKey } from './hour-row.ts';
import type { Category, Tenant } from './record.ts';

/** A line of the invoice: a tenant over all categories, or a category that no tenant pays. */
export type InvoiceLine = { readonly tenant: Tenant | Category; readonly cents: bigint };

/** Cents rounded once: the lines add up to the total in cents, half-even. Ascending by key; tenants after categories. */
export function invoiceOf(rows: readonly HourRow[], group_by?: readonly string[]): InvoiceLine[] {
  const keep = tenantGrouper(group_by);
  const sums = new Map<string, { tenant: Tenant | Category; nano_usd: bigint }>();
  let total = 0n;
  for (const row of rows) {
    const tenant = keep(row.tenant);
    const key = tieKey({ category: row.category, tenant });
    const held = sums.get(key);
    if (held === undefined) sums.set(key, { tenant: tenant ?? row.category, nano_usd: row.nano_usd });
    else held.nano_usd += row.nano_usd;
    total += row.nano_usd;
  }
  const lines = [...sums].sort(([a], [b]) => byBytes(a, b));
  const cents = largestRemainder(
    divideHalfEven(total, NANO_PER_CENT),
    lines.map(([key, { nano_usd }]) => ({ key, numerator: nano_usd, denominator: NANO_PER_CENT })),
    byBytes,
  );
  return lines.map(([, { tenant }], index) => ({ tenant, cents: cents[index] ?? 0n }));
}
