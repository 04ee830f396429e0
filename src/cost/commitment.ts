import { divideHalfEven } from '../core/money.ts';
import type { AssetBook } from './book.ts';
import type { HourBill, HourRange } from './asset-bill.ts';
import { byBytes, type HourRow } from './hour-row.ts';
import { type CommitmentRecord, HOUR_US_BIG, hourAfter, hourOf } from './record.ts';

/** The bills of covered assets by hour, by `coverKey`. */
export type CoveredBills = Map<string, Map<number, bigint>>;

/** What a commitment covers: an instance type in a region. */
function coverKey(of: { readonly instance_type: string; readonly region: string }): string {
  return JSON.stringify([of.instance_type, of.region]);
}

/** Adds an asset's bills to those that commitments can cover. */
export function addCovered(covered: CoveredBills, book: AssetBook, bills: readonly HourBill[]): void {
  if (book.asset.pricing !== 'committed' && book.asset.pricing !== 'reserved') return;
  const key = coverKey(book.asset);
  let hours = covered.get(key);
  if (hours === undefined) covered.set(key, (hours = new Map()));
  for (const { hour, nano_usd } of bills) hours.set(hour, (hours.get(hour) ?? 0n) + nano_usd);
}

/**
 * The unused part of each commitment, hour by hour, as idle on the commitment. Commitments of one type and region
 * draw on the same bills in order of id. Source: contracts/cost.md "commitment".
 */
export function commitmentRows(
  commitments: readonly CommitmentRecord[],
  covered: CoveredBills,
  window: HourRange,
): HourRow[] {
  const ordered = [...commitments].sort((a, b) => byBytes(a.id, b.id) || byBytes(a.canonical, b.canonical));
  const left = new Map([...covered].map(([key, hours]) => [key, new Map(hours)]));
  return ordered.flatMap((commitment) => {
    const bills = left.get(coverKey(commitment));
    const rows: HourRow[] = [];
    for (const { hour, nano_usd } of hourlyCommitment(commitment, window)) {
      const remaining = bills?.get(hour) ?? 0n;
      const used = nano_usd < remaining ? nano_usd : remaining;
      bills?.set(hour, remaining - used);
      if (nano_usd !== used) rows.push(unused(commitment.id, hour, nano_usd - used));
    }
    return rows;
  });
}

function unused(asset: string, hour: number, nano_usd: bigint): HourRow {
  return {
    asset,
    hour,
    source: 'commitment',
    category: 'idle',
    tenant: null,
    correction: false,
    nano_usd,
    gpu_time_fs: 0n,
    basis: 'commitment',
  };
}

/**
 * Rate × term + upfront, rounded once and spread over the term's hours by length with largest remainder, ties to the
 * earlier hour. All whole hours have the same remainder, so the rank of an hour is arithmetic: O(hours in the window),
 * however long the term.
 */
export function* hourlyCommitment(
  commitment: CommitmentRecord,
  window: HourRange,
): Generator<{ hour: number; nano_usd: bigint }> {
  const { from_us, to_us } = commitment;
  const term_us = to_us - from_us;
  if (term_us <= 0n) return;
  const total = divideHalfEven(
    commitment.nano_usd_per_hour * term_us + commitment.upfront_nano_usd * HOUR_US_BIG,
    HOUR_US_BIG,
  );
  const first = hourOf(from_us);
  const last = hourAfter(to_us) - 1;
  const exact = (hour: number): { floor: bigint; remainder: bigint } => {
    const begin_us = BigInt(hour) * HOUR_US_BIG;
    const begins = from_us > begin_us ? from_us : begin_us;
    const ends = to_us < begin_us + HOUR_US_BIG ? to_us : begin_us + HOUR_US_BIG;
    const share = total * (ends - begins);
    return { floor: share / term_us, remainder: share % term_us };
  };
  const inner = Math.max(0, last - first - 1); // hours strictly between the first and the last
  const head = exact(first);
  const tail = exact(last);
  const middle = inner > 0 ? exact(first + 1) : { floor: 0n, remainder: 0n };
  const floors = head.floor + (last > first ? tail.floor : 0n) + BigInt(inner) * middle.floor;
  const extra = total - floors;
  const before = (hour: number): bigint => {
    const own = hour === first ? head : hour === last ? tail : middle;
    let rank = 0n;
    if (hour !== first && head.remainder >= own.remainder) rank += 1n;
    if (hour !== last && last > first && tail.remainder > own.remainder) rank += 1n;
    if (hour === first && middle.remainder > own.remainder) rank += BigInt(inner);
    else if (hour !== first && hour === last && middle.remainder >= own.remainder) rank += BigInt(inner);
    else if (hour !== first && hour !== last) rank += BigInt(hour - first - 1);
    return rank;
  };
  for (let hour = Math.max(first, window.from); hour <= Math.min(last, window.to - 1); hour++) {
    const own = hour === first ? head : hour === last ? tail : middle;
    yield { hour, nano_usd: own.floor + (before(hour) < extra ? 1n : 0n) };
  }
}
