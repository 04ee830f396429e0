import type { DeliveryTotal } from '../core/delivery-total.ts';
import type { DeliveryItem } from '../server/shapes/telemetry.ts';

/** Sums the items of each source, in their order. O(items). */
export function deliveryTotals(items: readonly DeliveryItem[]): DeliveryTotal[] {
  return [...Map.groupBy(items, ({ source }) => source)].map(([source, epochs]) => {
    const sum = (of: (item: DeliveryItem) => number): number => epochs.reduce((total, item) => total + of(item), 0);
    const ages = epochs.flatMap(({ oldest_in_flight_ms }) => oldest_in_flight_ms ?? []);
    return {
      source,
      emitted: sum(({ emitted }) => emitted),
      stored: sum(({ stored }) => stored),
      in_flight: sum(({ in_flight }) => in_flight),
      declared_loss: lossOf(epochs),
      duplicates_absorbed: sum(({ duplicates_absorbed }) => duplicates_absorbed),
      late: sum(({ late }) => late),
      unaccounted: sum(unaccountedOf),
      batches_lost: sum(({ sequences_lost }) => sequences_lost),
      oldest_in_flight_ms: ages.length === 0 ? null : ages.reduce((oldest, age) => Math.max(oldest, age)),
    };
  });
}

function lossOf(epochs: readonly DeliveryItem[]): Record<string, number> {
  const lost: Record<string, number> = {};
  for (const { declared_loss } of epochs)
    for (const [reason, count] of Object.entries(declared_loss)) lost[reason] = (lost[reason] ?? 0) + count;
  return lost;
}

function unaccountedOf({ emitted, stored, in_flight, declared_loss }: DeliveryItem): number {
  const lost = Object.values(declared_loss).reduce((sum, count) => sum + count, 0);
  return Math.max(0, emitted - stored - in_flight - lost);
}
