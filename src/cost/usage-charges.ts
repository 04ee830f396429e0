import { divideHalfEven, largestRemainder } from '../core/money.ts';
import { type Fraction, sumFractions } from '../core/rational.ts';
import type { HourRange } from './asset-bill.ts';
import { byBytes, type ChargeSource, type HourRow, tieKey } from './hour-row.ts';
import { HOUR_US_BIG, hourAfter, hourOf, type StorageRecord, type Tenant, type TransferRecord } from './record.ts';

const BYTES_PER_GIB = 1n << 30n;
/** Hours in a month of a storage price: 365 × 24 / 12. */
const HOURS_PER_MONTH = 730n;

type Sums = Map<string, { tenant: Tenant | null; terms: Fraction[] }>;
type Charge = { readonly asset: string; readonly source: ChargeSource; readonly tenant: Tenant | null };

/** Exact charges by asset and hour, rounded once each. */
class UsageCharges {
  readonly #hours = new Map<string, { asset: string; hour: number; source: ChargeSource; sums: Sums }>();

  add({ asset, source, tenant }: Charge, hour: number, term: Fraction): void {
    const key = `${hour} ${asset}`;
    let held = this.#hours.get(key);
    if (held === undefined) this.#hours.set(key, (held = { asset, hour, source, sums: new Map() }));
    const row = held.sums.get(tenant?.key ?? 'idle');
    if (row === undefined) held.sums.set(tenant?.key ?? 'idle', { tenant, terms: [term] });
    else row.terms.push(term);
  }

  rows(): HourRow[] {
    return [...this.#hours.values()].flatMap(({ asset, hour, source, sums }) => {
      const shares = [...sums.values()].map(({ tenant, terms }) => {
        const category = tenant === null ? ('idle' as const) : ('tenant' as const);
        return { category, tenant, key: tieKey({ category, tenant }), ...sumFractions(terms) };
      });
      const exact = sumFractions(shares);
      const amounts = largestRemainder(divideHalfEven(exact.numerator, exact.denominator), shares, byBytes);
      return shares
        .map(({ category, tenant }, index): HourRow => {
          const nano_usd = amounts[index] ?? 0n;
          return { asset, hour, source, category, tenant, correction: false, nano_usd, gpu_time_fs: 0n, basis: source };
        })
        .filter((row) => row.nano_usd !== 0n);
    });
  }
}

/** Transfers, whole in the hour of `from_ms`, on asset `transfer:<kind>`. */
export function transferRows(transfers: readonly TransferRecord[], window: HourRange): HourRow[] {
  const charges = new UsageCharges();
  for (const { kind, tenant, from_us, bytes, nano_usd_per_gib } of transfers) {
    const hour = hourOf(from_us);
    if (hour < window.from || hour >= window.to) continue;
    const exact = { numerator: bytes * nano_usd_per_gib, denominator: BYTES_PER_GIB };
    charges.add({ asset: `transfer:${kind}`, source: 'transfer', tenant }, hour, exact);
  }
  return charges.rows();
}

/** Storage by the hour at a 730th of its monthly price; without a tenant it is idle. */
export function storageRows(storages: readonly StorageRecord[], window: HourRange): HourRow[] {
  const charges = new UsageCharges();
  const denominator = BYTES_PER_GIB * HOURS_PER_MONTH * HOUR_US_BIG;
  for (const { id, tenant, bytes, nano_usd_per_gib_month, ...interval } of storages)
    for (const { hour, lasted_us } of hoursOf(interval, window)) {
      const exact = { numerator: bytes * nano_usd_per_gib_month * lasted_us, denominator };
      charges.add({ asset: id, source: 'storage', tenant }, hour, exact);
    }
  return charges.rows();
}

/** The hours of an interval inside a window, with the µs that it has of each. */
export function* hoursOf(
  interval: { readonly from_us: bigint; readonly to_us: bigint },
  window: HourRange,
): Generator<{ hour: number; lasted_us: bigint }> {
  if (interval.to_us <= interval.from_us) return;
  const end = Math.min(window.to, hourAfter(interval.to_us));
  for (let hour = Math.max(window.from, hourOf(interval.from_us)); hour < end; hour++) {
    const begin_us = BigInt(hour) * HOUR_US_BIG;
    const from_us = begin_us > interval.from_us ? begin_us : interval.from_us;
    const end_us = begin_us + HOUR_US_BIG;
    yield { hour, lasted_us: (end_us < interval.to_us ? end_us : interval.to_us) - from_us };
  }
}
