import type { AssetRecord, PriceRecord } from './record.ts';

/** From `from_us` on (until the next step) the whole asset costs this much an hour. */
export type PriceStep = { readonly from_us: bigint; readonly nano_usd_per_hour: bigint };

/** Identity of what a price is for: one asset, or an instance type in a region under a pricing model. */
export function priceKey(price: PriceRecord): string {
  return price.asset === null ? kindKey(price) : JSON.stringify([price.asset]);
}

function kindKey(of: { instance_type: string; region: string; pricing: string }): string {
  return JSON.stringify([of.instance_type, of.region, of.pricing]);
}

/**
 * The price of an asset over time, ascending: its own prices from the first of them on, before that the prices of its
 * kind. No step at or before a time means no price then. Source: contracts/cost.md "Bill of an asset".
 */
export function priceSteps(asset: AssetRecord, prices: ReadonlyMap<string, readonly PriceRecord[]>): PriceStep[] {
  const own = ascending(prices.get(JSON.stringify([asset.id])) ?? []);
  const first = own[0];
  const ofKind = ascending(prices.get(kindKey(asset)) ?? []);
  return first === undefined ? ofKind : [...ofKind.filter((step) => step.from_us < first.from_us), ...own];
}

function ascending(prices: readonly PriceRecord[]): PriceStep[] {
  return prices
    .map(({ from_us, nano_usd_per_hour }) => ({ from_us, nano_usd_per_hour }))
    .sort((a, b) => (a.from_us < b.from_us ? -1 : 1));
}
