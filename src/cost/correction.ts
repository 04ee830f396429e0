import { splitByWeight } from '../core/money.ts';
import type { HourRange } from './asset-bill.ts';
import { byBytes, type HourRow, tieKey } from './hour-row.ts';
import { type Category, type CorrectionRecord, hourAfter, hourOf, type Tenant } from './record.ts';

/** The hours that a correction's interval touches; an instant touches the hour that it lies in. */
export function hoursTouched(correction: CorrectionRecord): HourRange {
  const from = hourOf(correction.from_us);
  return { from, to: Math.max(from + 1, hourAfter(correction.to_us)) };
}

/** The hour in which a correction is booked. */
export function hourBooked(correction: CorrectionRecord): number {
  return hourOf(correction.from_us);
}

/**
 * Splits each correction over the asset's rows in the hours that it touches, in proportion to their amounts, and books
 * all of it in the hour of `from_ms`. Without such rows it is idle. `rowsOf` gives an asset's uncorrected rows by hour.
 */
export function correctionRows(
  corrections: readonly CorrectionRecord[],
  rowsOf: (asset: string) => ReadonlyMap<number, readonly HourRow[]>,
): HourRow[] {
  return corrections.flatMap((correction) => {
    const parts = partsOf(rowsOf(correction.asset), hoursTouched(correction));
    if (parts.length === 0) parts.push({ category: 'idle', tenant: null, key: 'idle', weight: 1n });
    const negative = correction.nano_usd < 0n;
    const amounts = splitByWeight(negative ? -correction.nano_usd : correction.nano_usd, parts, byBytes);
    return parts
      .map(({ category, tenant }, index): HourRow => {
        const amount = amounts[index] ?? 0n;
        return {
          asset: correction.asset,
          hour: hourBooked(correction),
          source: 'asset',
          category,
          tenant,
          correction: true,
          nano_usd: negative ? -amount : amount,
          gpu_time_fs: 0n,
          basis: 'correction',
        };
      })
      .filter((row) => row.nano_usd !== 0n);
  });
}

type Part = { category: Category; tenant: Tenant | null; key: string; weight: bigint };

function partsOf(rows: ReadonlyMap<number, readonly HourRow[]>, hours: HourRange): Part[] {
  const parts = new Map<string, Part>();
  const add = (row: HourRow): void => {
    if (row.nano_usd <= 0n) return;
    const key = tieKey(row);
    const held = parts.get(key);
    if (held === undefined) parts.set(key, { category: row.category, tenant: row.tenant, key, weight: row.nano_usd });
    else held.weight += row.nano_usd;
  };
  if (hours.to - hours.from <= rows.size)
    for (let hour = hours.from; hour < hours.to; hour++) for (const row of rows.get(hour) ?? []) add(row);
  else for (const [hour, list] of rows) if (hour >= hours.from && hour < hours.to) for (const row of list) add(row);
  return [...parts.values()];
}
