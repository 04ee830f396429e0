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

/** How long a delivery may keep the account waiting, before it is given as it is and says so. */
const DELIVERY_MS_MAX = 5_000;

/**
 * The account of every (source, epoch), in records: emitted = stored + in_flight + declared loss. `emitted` comes from
 * the frames' own headers, `stored` from counting rows, so a row that vanished shows as a difference.
 */
export async function deliveryAccount(
  doors: Doors,
  losses: readonly DeclaredLoss[],
  signal: AbortSignal,
): Promise<DeliveryItem[]> {
  const { backlog, stored, whole } = await look(doors, signal);
  const items = new Map(stored.map((row) => [nameOf(row), storedItem(row)]));
  for (const row of backlog.in_flight) {
    const item = itemOf(items, row);
    item.emitted += row.records;
    item.in_flight += row.records;
    item.oldest_in_flight_ms = row.oldest_ms ?? null;
  }
  const { quarantined, dropped = [], quarantined_batches = [], dropped_batches = [] } = backlog;
  const refused = [...quarantined.map((row) => ({ ...row, reason: 'quarantined' })), ...dropped];
  const declared = refused.map(({ source, epoch, reason, records }) => ({
    source,
    epoch,
    reasons: { [reason]: records },
  }));
  for (const loss of [...losses, ...declared]) declare(items, loss);
  const ranges = rangesOf([...dropped_batches, ...quarantined_batches]);
  const froms = sequenceMins(backlog.in_flight);
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
  readonly backlog: Backlog;
  readonly stored: readonly StoredAccount[];
  /** False: what is in flight is not known for sure. */
  readonly whole: boolean;
};

/** The delivery under way takes too long to wait for. */
class Late extends Error {}

/** Every batch that was acknowledged before the store was looked at is stored then or is in flight. */
async function lookAtLog({ store, bus, clock }: Doors, log: AcknowledgedReader, signal: AbortSignal): Promise<Look> {
  const acknowledged = await log.read();
  const stored = await store.account(signal);
  const { settled, ...waiting } = unstored(acknowledged, stored, clock.now_ms());
  await log.forget(settled);
  return { backlog: { ...bus.backlog(), ...waiting }, stored, whole: acknowledged.whole };
}

/**
 * Store and bus at one moment: what is on its way between them would be in neither or in both. A delivery that does not end
 * (a store that hangs) is in flight and may be stored all the same.
 */
async function look(doors: Doors, signal: AbortSignal): Promise<Look> {
  const { store, bus, clock, acknowledged = null } = doors;
  if (acknowledged !== null) return lookAtLog(doors, acknowledged, signal);
  const lookNow = async (whole: boolean): Promise<Look> => {
    const backlog = bus.backlog();
    return { backlog, stored: await store.account(signal), whole };
  };
  if (bus.betweenDeliveries === undefined) return lookNow(true);
  const patience = new AbortController();
  const looked = new AbortController();
  const turn = bus.betweenDeliveries(() => lookNow(true), AbortSignal.any([signal, patience.signal]));
  void clock.sleep(DELIVERY_MS_MAX, looked.signal).then(
    () => patience.abort(new Late()),
    () => undefined, // the look came first
  );
  try {
    return await turn;
  } catch (error) {
    if (error instanceof Late) return lookNow(false);
    throw error;
  } finally {
    looked.abort();
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
