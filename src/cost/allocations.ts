import { canonicalText } from './canonical-text.ts';
import { byBytes, type HourRow, joinBases, tieKey } from './hour-row.ts';
import { type Category, HOUR_MS, type Tenant } from './record.ts';

/** Rows added up over hours. `from_ms` begins the period, or is null where everything is one period. */
export type Allocation = {
  readonly from_ms: number | null;
  readonly asset: string;
  readonly category: Category;
  readonly tenant: Tenant | null;
  readonly correction: boolean;
  readonly nano_usd: bigint;
  readonly gpu_seconds: number;
  readonly basis: string;
};

export type Period = 'hour' | 'day' | 'month';

export type Grouping = {
  /** Tenant keys to keep; absent keeps whole tenants. */
  readonly group_by?: readonly string[];
  /** Adds up by UTC hour, day or month; absent adds up everything. */
  readonly period?: Period;
};

type Sum = Omit<Allocation, 'gpu_seconds' | 'nano_usd' | 'basis'> & {
  nano_usd: bigint;
  gpu_time_fs: bigint;
  basis: string;
};

/**
 * Adds rows up by (period, asset, category, tenant, correction), in ascending order of these. Integers only, so days
 * and months are the sums of their hours. Sums without money and time are left out.
 */
export function groupAllocations(ledger: { readonly rows: readonly HourRow[] }, grouping: Grouping = {}): Allocation[] {
  const keep = tenantGrouper(grouping.group_by);
  const sums = new Map<string, Sum>();
  for (const row of ledger.rows) {
    const tenant = keep(row.tenant);
    const from_ms = grouping.period === undefined ? null : periodOf(row.hour, grouping.period);
    const of = { from_ms, asset: row.asset, category: row.category, tenant, correction: row.correction };
    const key = `${from_ms}\n${row.asset}\n${row.category}\n${tieKey(of)}\n${row.correction}`;
    const held = sums.get(key);
    if (held === undefined)
      sums.set(key, { ...of, nano_usd: row.nano_usd, gpu_time_fs: row.gpu_time_fs, basis: row.basis });
    else {
      held.nano_usd += row.nano_usd;
      held.gpu_time_fs += row.gpu_time_fs;
      held.basis = joinBases(held.basis, row.basis);
    }
  }
  return [...sums.values()]
    .filter((sum) => sum.nano_usd !== 0n || sum.gpu_time_fs !== 0n)
    .sort(inOrder)
    .map(({ gpu_time_fs, ...sum }) => ({ ...sum, gpu_seconds: Number(gpu_time_fs) / 1e15 }));
}

function inOrder(a: Sum, b: Sum): number {
  return (
    (a.from_ms ?? 0) - (b.from_ms ?? 0) ||
    byBytes(a.asset, b.asset) ||
    byBytes(a.category, b.category) ||
    byBytes(tieKey(a), tieKey(b)) ||
    Number(a.correction) - Number(b.correction)
  );
}

/** Reduces tenants to the given keys (absent ones are left out); without keys, the identity. */
export function tenantGrouper(group_by: readonly string[] | undefined): (tenant: Tenant | null) => Tenant | null {
  if (group_by === undefined) return (tenant) => tenant;
  const known = new Map<string, Tenant>();
  return (tenant) => {
    if (tenant === null) return null;
    let grouped = known.get(tenant.key);
    if (grouped === undefined) {
      const fields = Object.fromEntries(Object.entries(tenant.fields).filter(([name]) => group_by.includes(name)));
      grouped = { key: canonicalText(fields) ?? '{}', fields };
      known.set(tenant.key, grouped);
    }
    return grouped;
  };
}

/** Unix ms at which the UTC period that holds an hour begins. */
export function periodOf(hour: number, period: Period): number {
  const at_ms = hour * HOUR_MS;
  if (period === 'hour') return at_ms;
  if (period === 'day') return at_ms - (at_ms % (24 * HOUR_MS));
  const date = new Date(at_ms);
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), 1);
}
