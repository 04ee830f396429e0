// The account of the delivery, summed for people. Pure.

/**
 * @typedef {{ from_sequence: number, to_sequence: number, state: 'declared' | 'in_flight' | 'missing' }} Gap
 * @typedef {{ source: string, epoch: string | number, emitted: number, stored: number, in_flight: number, declared_loss: Record<string, number>, duplicates_absorbed: number, sequence_min: number | null, sequence_max: number | null, sequences_missing: number, sequences_lost: number, gaps: ReadonlyArray<Gap>, gaps_omitted: number, late: number, oldest_in_flight_ms: number | null, in_flight_known: boolean }} Item
 * @typedef {{ source: string, epochs: number, emitted: number, stored: number, in_flight: number, declared_loss: Record<string, number>, lost: number, unaccounted: number, duplicates_absorbed: number, late: number, sequences_missing: number, sequences_lost: number, oldest_in_flight_ms: number | null, in_flight_known: boolean }} Account
 */

/** Records declared lost. @param {Pick<Item, 'declared_loss'>} item */
export function lossOf({ declared_loss }) {
  return Object.values(declared_loss).reduce((sum, each) => sum + Number(each), 0);
}

/** Records whose whereabouts nobody knows: emitted less stored, in flight and declared lost. @param {Item} item */
export function unaccountedOf(item) {
  return item.emitted - item.stored - item.in_flight - lossOf(item);
}

/**
 * One account of several items. `unaccounted` is summed by item without its sign, so that too many here do not hide too
 * few there.
 * @param {string} source @param {ReadonlyArray<Item>} items @returns {Account}
 */
export function accountOf(source, items) {
  const sum = (/** @type {(item: Item) => number} */ of) => items.reduce((total, item) => total + of(item), 0);
  /** @type {Record<string, number>} */
  const declared_loss = {};
  for (const item of items)
    for (const [reason, amount] of Object.entries(item.declared_loss))
      declared_loss[reason] = (declared_loss[reason] ?? 0) + Number(amount);
  const ages = items.flatMap(({ oldest_in_flight_ms }) => oldest_in_flight_ms ?? []);
  return {
    source,
    epochs: items.length,
    emitted: sum(({ emitted }) => emitted),
    stored: sum(({ stored }) => stored),
    in_flight: sum(({ in_flight }) => in_flight),
    declared_loss,
    lost: sum(lossOf),
    unaccounted: sum((item) => Math.abs(unaccountedOf(item))),
    duplicates_absorbed: sum(({ duplicates_absorbed }) => duplicates_absorbed),
    late: sum(({ late }) => late),
    sequences_missing: sum(({ sequences_missing }) => sequences_missing),
    sequences_lost: sum(({ sequences_lost }) => sequences_lost),
    oldest_in_flight_ms: ages.length === 0 ? null : Math.max(...ages),
    in_flight_known: items.every(({ in_flight_known }) => in_flight_known),
  };
}

/** The accounts of the sources, in the order of the items. @param {ReadonlyArray<Item>} items @returns {Account[]} */
export function accountsOf(items) {
  return [...Map.groupBy(items, ({ source }) => source)].map(([source, epochs]) => accountOf(source, epochs));
}
