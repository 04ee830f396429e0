import type { TableName } from '../../src/core/tables.ts';
import { bodyOf, frameAt } from '../../src/transport/frame.ts';
import { lineageAt } from '../../src/transport/kafka-frames.ts';
import { DEAD_LETTERS, FRAMES, type SimulatedKafka } from './kafka.ts';
import { keysOf } from './rows.ts';
import type { Sent } from './sender.ts';
import type { SimulatedStore } from './store.ts';

const LISTED_MAX = 3;

/** The first of `items`, for a sentence. */
function some(items: readonly string[]): string {
  const listed = items.slice(0, LISTED_MAX).join(', ');
  return items.length > LISTED_MAX ? `${listed} and ${items.length - LISTED_MAX} more` : listed;
}

/** What was declared as lost: rows that are kept aside, by key, and how many of each source policy dropped. */
export type Declared = { readonly aside: ReadonlySet<string>; readonly dropped: ReadonlyMap<string, number> };

/**
 * Emitted against stored: every acknowledged row is there or declared as lost, nothing is there that nobody sent, every row
 * leads to the ledger, and by source and epoch rows of frames = stored + duplicates.
 */
export function checkStore(store: SimulatedStore, sent: readonly Sent[], { aside, dropped }: Declared): string[] {
  const wrong: string[] = [];
  const emitted = new Set(sent.flatMap(({ keys }) => keys.flat()));
  const promised = sent.filter(({ acknowledged }) => acknowledged);
  for (const [source, batches] of Map.groupBy(promised, (one) => one.source)) {
    const lost = batches.flatMap(({ keys }) => keys.flat()).filter((key) => !store.rows.has(key) && !aside.has(key));
    const declared = dropped.get(source) ?? 0;
    if (lost.length > declared)
      wrong.push(
        `${lost.length} acknowledged rows of ${source} are not stored, ${declared} are declared: ${some(lost)}`,
      );
  }
  const unknown = [...store.rows.keys()].filter((key) => !emitted.has(key));
  if (unknown.length > 0) wrong.push(`rows are stored that nobody sent: ${some(unknown)}`);
  const unaccounted = [...store.rows]
    .filter(([key, lineage]) => !store.ledger.has(lineage) && !aside.has(key))
    .map(([key]) => key);
  // a segment that was inserted and not noted before a crash may then be dropped: declared as lost, and there all the same
  if (unaccounted.length > dropped.values().reduce((sum, records) => sum + records, 0))
    wrong.push(`rows are stored that the ledger does not know: ${some(unaccounted)}`);
  for (const { source, epoch, frame_rows, stored, duplicates_absorbed } of store.account())
    if (frame_rows !== stored + duplicates_absorbed)
      wrong.push(`${epoch} ${source}: ${frame_rows} rows in frames are not ${stored} + ${duplicates_absorbed}`);
  return wrong;
}

/** Of sources that number their batches: what is stored has no gap in its sequences. */
export function checkSequences(store: SimulatedStore, sent: readonly Sent[]): string[] {
  const named = new Set(sent.map(({ batch }) => (batch === null ? '' : `${batch.epoch} ${batch.source}`)));
  return store
    .account()
    .filter(({ source, epoch }) => named.has(`${epoch} ${source}`))
    .filter(({ sequence_min, sequence_max, sequences }) => sequence_max - sequence_min + 1 !== sequences)
    .map(({ source, epoch, gaps }) => `${epoch} ${source}: sequences are missing: ${gaps.join(' and ')}`);
}

/** Keys of the frames that lie in the dead-letter topic. */
export function deadKeys(kafka: SimulatedKafka): Set<string> {
  const keys = new Set<string>();
  for (const { log } of kafka.log.partitions(DEAD_LETTERS))
    for (const { message } of log)
      for (const key of keysOfMessage(message.headers['table'] ?? '', message.value) ?? []) keys.add(key);
  return keys;
}

/** What the topic holds is in the store, each row under its first lineage, or set aside; the group has committed all of it and was never put back. */
export function checkLog(kafka: SimulatedKafka, store: SimulatedStore, aside: ReadonlySet<string>): string[] {
  const wrong: string[] = [...kafka.group.put_back];
  for (const partition of kafka.log.partitions(FRAMES)) {
    if (!kafka.group.hasCommitted(partition))
      wrong.push(
        `partition ${partition.number} is committed up to ${kafka.group.committed.get(partition.number)} of ${partition.high}`,
      );
    const first = new Map<string, bigint>();
    for (const [offset, { message }] of partition.log.slice(0, partition.high).entries()) {
      const lineage = lineageAt({ partition: partition.number, offset: BigInt(offset) }, 0);
      for (const key of keysOfMessage(message.headers['table'] ?? '', message.value) ?? [])
        if (!first.has(key) && !aside.has(key)) first.set(key, lineage);
    }
    const missing = [...first].filter(([key]) => !store.rows.has(key)).map(([key]) => key);
    if (missing.length > 0) wrong.push(`rows of partition ${partition.number} are not stored: ${some(missing)}`);
    const later = [...first].filter(([key, lineage]) => (store.rows.get(key) ?? lineage) !== lineage);
    if (later.length > 0) wrong.push(`rows are not kept as first accepted: ${some(later.map(([key]) => key))}`);
  }
  return wrong;
}

/** Keys of a message's frame; null when it holds none. */
function keysOfMessage(table: string, value: Buffer): string[] | null {
  try {
    const found = frameAt(value, 0, table as TableName); // of another name no frame is found
    return found === null ? null : keysOf(table, bodyOf(value, found), found.header.rows);
  } catch {
    return null; // garbage
  }
}
