import { divideHalfEven, splitByWeight } from '../core/money.ts';
import type { HourRange } from './asset-bill.ts';
import { byBytes, type HourRow } from './hour-row.ts';
import { HOUR_US_BIG, type OverheadRecord, type Tenant } from './record.ts';
import { hoursOf } from './usage-charges.ts';

type Spending = Map<string, { tenant: Tenant; nano_usd: bigint }>;

/**
 * Overheads, each rounded half-even by the hour and split among the tenants that spent in that hour: evenly, in
 * proportion to what they spent on everything, or to nobody. `rows` are the rows rounded before.
 */
export function overheadRows(
  overheads: readonly OverheadRecord[],
  rows: readonly HourRow[],
  window: HourRange,
): HourRow[] {
  if (overheads.length === 0) return [];
  const spending = spendingByHour(rows);
  return overheads.flatMap((overhead) =>
    [...hoursOf(overhead, window)].flatMap(({ hour, lasted_us }) => {
      const bill = divideHalfEven(overhead.nano_usd_per_hour * lasted_us, HOUR_US_BIG);
      return splitBill(overhead, bill, spending.get(hour)).map(
        ({ tenant, nano_usd }): HourRow => ({
          asset: overhead.id,
          hour,
          source: 'overhead',
          category: 'overhead',
          tenant,
          correction: false,
          nano_usd,
          gpu_time_fs: 0n,
          basis: 'overhead',
        }),
      );
    }),
  );
}

function spendingByHour(rows: readonly HourRow[]): Map<number, Spending> {
  const hours = new Map<number, Spending>();
  for (const { hour, tenant, category, nano_usd } of rows) {
    if (category !== 'tenant' || tenant === null || nano_usd <= 0n) continue;
    let spending = hours.get(hour);
    if (spending === undefined) hours.set(hour, (spending = new Map()));
    const held = spending.get(tenant.key);
    if (held === undefined) spending.set(tenant.key, { tenant, nano_usd });
    else held.nano_usd += nano_usd;
  }
  return hours;
}

function splitBill(
  overhead: OverheadRecord,
  bill: bigint,
  spending: Spending | undefined,
): { tenant: Tenant | null; nano_usd: bigint }[] {
  if (bill === 0n) return [];
  if (overhead.split === 'none' || spending === undefined) return [{ tenant: null, nano_usd: bill }];
  const tenants = [...spending.values()];
  const parts = tenants.map(({ tenant, nano_usd }) => ({
    key: tenant.key,
    weight: overhead.split === 'even' ? 1n : nano_usd,
  }));
  const amounts = splitByWeight(bill, parts, byBytes);
  return tenants
    .map(({ tenant }, index) => ({ tenant, nano_usd: amounts[index] ?? 0n }))
    .filter(({ nano_usd }) => nano_usd !== 0n);
}
