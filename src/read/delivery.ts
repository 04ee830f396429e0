import type { Clock } from '../core/clock.ts';
import type { Backlog, Bus, InFlight, SequenceRanges, Store, StoredAccount } from '../core/ports.ts';
import { RangeSet } from '../core/range-set.ts';
import type { DeliveryItem } from '../server/shapes/telemetry.ts';
import { type AcknowledgedReader, unstored } from './acknowledged.ts';
import { explainGaps } from './delivery-gaps.ts';

/** What a sender of this process says it lost, by its declared policy. */
export type DeclaredLoss = {
  readonly source: string;
  readonly epoch: number;
  readonly reasons: Readonly<Record<string, number>>;
};

type Doors = {
  readonly store: Store;
  readonly bus: Bus;
  readonly clock: Clock;
  /** Where the bus does not know what waits in it: who does. */
  readonly acknowledged?: AcknowledgedReader | null;
};

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
  const { before, stored, after, whole } = await look(doors, signal);
  const items = new Map(stored.map((row) => [nameOf(row), storedItem(row)]));
  const waiting = new Map(after.in_flight.map((row) => [nameOf(row), row]));
  for (const { source, epoch } of before.in_flight) {
    const row = waiting.get(nameOf({ source, epoch }));
    if (row === undefined) continue; // stored between the two looks
    const item = itemOf(items, row);
    item.emitted += row.records;
    item.in_flight += row.records;
    item.oldest_in_flight_ms = row.oldest_ms ?? null;
  }
  const { quarantined, dropped = [], quarantined_batches = [], dropped_batches = [] } = after;
  const refused = [...quarantined.map((row) => ({ ...row, reason: 'quarantined' })), ...dropped];
  const declared = refused.map(({ source, epoch, reason, records }) => ({
    source,
    epoch,
    reasons: { [reason]: records },
  }));
  for (const loss of [...losses, ...declared]) declare(items, loss);
  const ranges = rangesOf([...dropped_batches, ...quarantined_batches]);
  // what was in the bus at either look may have been missing in the store between them
  const froms = sequenceMins([...before.in_flight, ...after.in_flight]);
  for (const row of stored) {
    const item = items.get(nameOf(row));
    if (item !== undefined && row.gaps.length > 0)
      explain(item, {
        gaps: row.gaps,
        declared: (ranges.get(nameOf(row))?.ranges ?? []).map(({ from, to }) => [from, to] as const),
        in_flight_from: froms.get(nameOf(row)) ?? null,
      });
  }
  if (!whole) for (const item of items.values()) item.in_flight_known = false;
  return [...items].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, item]) => item);
}

type Look = {
  readonly before: Backlog;
  readonly stored: readonly StoredAccount[];
  readonly after: Backlog;
  /** False: more may be in flight. */
  readonly whole: boolean;
};

/** Every batch that was acknowledged before the store was looked at is stored then or is in flight. */
async function lookAtLog({ store, bus, clock }: Doors, log: AcknowledgedReader, signal: AbortSignal): Promise<Look> {
  const acknowledged = await log.read();
  const stored = await store.account(signal);
  const { settled, ...waiting } = unstored(acknowledged, stored, clock.now_ms());
  await log.forget(settled);
  const backlog = { ...bus.backlog(), ...waiting };
  return { before: backlog, stored, after: backlog, whole: acknowledged.whole };
}

/**
 * Store and bus at one moment: what is on its way between them would be in neither or in both. Where deliveries follow each
 * other without a rest the last look is taken, wrong by at most the deliveries under way.
 */
async function look(doors: Doors, signal: AbortSignal): Promise<Look> {
  const { store, bus, clock, acknowledged = null } = doors;
  if (acknowledged !== null) return lookAtLog(doors, acknowledged, signal);
  const until_ms = clock.elapsed_ms() + LOOK_MS_MAX;
  for (;;) {
    const before = bus.backlog();
    const isMoving = (before.handovers ?? 0) % 2 === 1;
    const isLast = clock.elapsed_ms() >= until_ms;
    if (!isMoving || isLast) {
      const stored = await store.account(signal);
      const after = bus.backlog();
      if (isLast || after.handovers === before.handovers) return { before, stored, after, whole: true };
    }
    await clock.sleep(LOOK_AGAIN_MS, signal);
  }
}

type SourceEpoch = { readonly source: string; readonly epoch: number };

function nameOf({ source, epoch }: SourceEpoch): string {
  return `${source}\n${epoch}`;
}

function declare(items: Map<string, DeliveryItem>, loss: DeclaredLoss): void {
  const lost = Object.values(loss.reasons).reduce((sum, count) => sum + count, 0);
  if (lost === 0) return;
  const item = itemOf(items, loss);
  item.emitted += lost;
  for (const [reason, count] of Object.entries(loss.reasons))
    if (count > 0) item.declared_loss = { ...item.declared_loss, [reason]: (item.declared_loss[reason] ?? 0) + count };
}

/** Sequences that were declared lost, by source and epoch. */
function rangesOf(batches: readonly SequenceRanges[]): Map<string, RangeSet> {
  const ranges = new Map<string, RangeSet>();
  for (const { source, epoch, ranges: own } of batches) {
    const name = nameOf({ source, epoch });
    const known = ranges.get(name) ?? new RangeSet();
    for (const [from, to] of own) known.add(from, to);
    ranges.set(name, known);
  }
  return ranges;
}

/** The smallest sequence that waits, by source and epoch. */
function sequenceMins(in_flight: readonly InFlight[]): Map<string, number> {
  const mins = new Map<string, number>();
  for (const { source, epoch, sequence_min = Infinity } of in_flight) {
    const name = nameOf({ source, epoch });
    mins.set(name, Math.min(mins.get(name) ?? Infinity, sequence_min));
  }
  return mins;
}

/** What the store's gaps are: declared (batches dropped whole or set aside), perhaps on their way, or lost. */
function explain(item: DeliveryItem, facts: Parameters<typeof explainGaps>[0]): void {
  const { listed, omitted, declared, lost } = explainGaps(facts);
  item.sequences_missing = Math.max(0, item.sequences_missing - declared);
  item.sequences_lost = lost;
  item.gaps = [...listed];
  item.gaps_omitted = omitted;
}

function storedItem(row: StoredAccount): DeliveryItem {
  const { stored, duplicates_absorbed, sequence_min, sequence_max, late } = row;
  return {
    ...emptyItem(row),
    emitted: row.frame_rows - duplicates_absorbed,
    stored,
    duplicates_absorbed,
    sequence_min,
    sequence_max,
    sequences_missing: Math.max(0, sequence_max - sequence_min + 1 - row.sequences),
    late,
  };
}

function itemOf(items: Map<string, DeliveryItem>, key: SourceEpoch): DeliveryItem {
  const known = items.get(nameOf(key));
  if (known !== undefined) return known;
  const fresh = emptyItem(key);
  items.set(nameOf(key), fresh);
  return fresh;
}

function emptyItem({ source, epoch }: SourceEpoch): DeliveryItem {
  return {
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
    gaps: [],
    gaps_omitted: 0,
    sequences_lost: 0,
    late: 0,
    oldest_in_flight_ms: null,
    in_flight_known: true,
  };
}
