import type { Clock } from '../core/clock.ts';
import type { Backlog, Bus, Store, StoredAccount } from '../core/ports.ts';
import type { DeliveryItem } from '../server/shapes/telemetry.ts';

/** What a sender of this process says it lost, by its declared policy. */
export type DeclaredLoss = {
  readonly source: string;
  readonly epoch: number;
  readonly reasons: Readonly<Record<string, number>>;
};

type Doors = { readonly store: Store; readonly bus: Bus; readonly clock: Clock };

/** A busy bus is looked at again after this long, and for this long before the account is given as it is. */
const LOOK_AGAIN_MS = 20;
const LOOK_MS_MAX = 500;

/**
 * The account of every (source, epoch), in records: emitted = stored + in_flight + declared loss. `emitted` comes from
 * the frames' own headers, `stored` from counting rows, so a row that vanished shows as a difference.
 */
export async function deliveryAccount(
  doors: Doors,
  losses: readonly DeclaredLoss[],
  signal: AbortSignal,
): Promise<DeliveryItem[]> {
  const { before, stored, after } = await look(doors, signal);
  const items = new Map<string, DeliveryItem>();
  for (const row of stored) {
    items.set(`${row.source}\n${row.epoch}`, {
      source: row.source,
      epoch: String(row.epoch),
      emitted: row.frame_rows - row.duplicates_absorbed,
      stored: row.stored,
      in_flight: 0,
      declared_loss: {},
      duplicates_absorbed: row.duplicates_absorbed,
      sequence_min: row.sequence_min,
      sequence_max: row.sequence_max,
      sequences_missing: Math.max(0, row.sequence_max - row.sequence_min + 1 - row.sequences),
    });
  }
  const waiting = new Map(after.in_flight.map((row) => [`${row.source}\n${row.epoch}`, row]));
  for (const { source, epoch } of before.in_flight) {
    const row = waiting.get(`${source}\n${epoch}`);
    if (row === undefined) continue; // stored between the two looks
    const item = itemOf(items, source, epoch);
    item.emitted += row.records;
    item.in_flight += row.records;
  }
  const { quarantined, dropped = [], dropped_batches = [] } = after;
  const refused = [...quarantined.map((row) => ({ ...row, reason: 'quarantined' })), ...dropped];
  const declared = refused.map(({ source, epoch, reason, records }) => ({
    source,
    epoch,
    reasons: { [reason]: records },
  }));
  for (const { source, epoch, reasons } of [...losses, ...declared]) {
    const lost = Object.values(reasons).reduce((sum, count) => sum + count, 0);
    if (lost === 0) continue;
    const item = itemOf(items, source, epoch);
    item.emitted += lost;
    for (const [reason, count] of Object.entries(reasons))
      if (count > 0)
        item.declared_loss = { ...item.declared_loss, [reason]: (item.declared_loss[reason] ?? 0) + count };
  }
  for (const batches of dropped_batches) declareBatches(itemOf(items, batches.source, batches.epoch), batches.ranges);
  return [...items].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, item]) => item);
}

type Look = { readonly before: Backlog; readonly stored: readonly StoredAccount[]; readonly after: Backlog };

/**
 * Store and bus at one moment: what is on its way between them would be in neither or in both. Where deliveries follow each
 * other without a rest the last look is taken, wrong by at most the deliveries under way.
 */
async function look({ store, bus, clock }: Doors, signal: AbortSignal): Promise<Look> {
  const until_ms = clock.elapsed_ms() + LOOK_MS_MAX;
  for (;;) {
    const before = bus.backlog();
    const isMoving = (before.handovers ?? 0) % 2 === 1;
    const isLast = clock.elapsed_ms() >= until_ms;
    if (!isMoving || isLast) {
      const stored = await store.account(signal);
      const after = bus.backlog();
      if (isLast || after.handovers === before.handovers) return { before, stored, after };
    }
    await clock.sleep(LOOK_AGAIN_MS, signal);
  }
}

/** Sequences of batches that were dropped whole, between those that the store holds: they are not missing. */
function declareBatches(item: DeliveryItem, ranges: readonly (readonly [from: number, to: number])[]): void {
  const { sequence_min: min, sequence_max: max } = item;
  if (min === null || max === null) return;
  let declared = 0;
  for (const [from, to] of ranges) declared += Math.max(0, Math.min(to, max) - Math.max(from, min) + 1);
  item.sequences_missing = Math.max(0, item.sequences_missing - declared);
}

function itemOf(items: Map<string, DeliveryItem>, source: string, epoch: number): DeliveryItem {
  const key = `${source}\n${epoch}`;
  const known = items.get(key);
  if (known !== undefined) return known;
  const fresh: DeliveryItem = {
    source,
    epoch: String(epoch),
    emitted: 0,
    stored: 0,
    in_flight: 0,
    declared_loss: {},
    duplicates_absorbed: 0,
    sequence_min: null,
    sequence_max: null,
    sequences_missing: 0,
  };
  items.set(key, fresh);
  return fresh;
}
