import type { DeliveryGap } from '../server/shapes/telemetry.ts';

/** A closed range of sequences. */
export type SequenceRange = readonly [from: number, to: number];

/** Gaps of one item that are listed; a sender of one loss an hour has as many in four days. */
const GAPS_LISTED_MAX = 100;

/** What one source and epoch lacks, and what is known of that. */
export type GapFacts = {
  /** Sequences that the store has no part of, between those that it has; rising. */
  readonly gaps: readonly SequenceRange[];
  /** Batches of which every part was given up, and that was declared; rising. */
  readonly declared: readonly SequenceRange[];
  /** The smallest sequence that waits in the bus: from there on a gap may still be filled. Null: none waits. */
  readonly in_flight_from: number | null;
};

export type Gaps = {
  readonly listed: readonly DeliveryGap[];
  /** Ranges that are not listed. */
  readonly omitted: number;
  /** Sequences that were declared. */
  readonly declared: number;
  /** Sequences that nobody declared and nobody waits for. */
  readonly lost: number;
};

/**
 * Cuts the gaps where their explanation changes: declared, perhaps in flight, or missing. Beyond 100 ranges those that are
 * missing are listed before those that are declared. O(gaps + declared).
 */
export function explainGaps({ gaps, declared, in_flight_from }: GapFacts): Gaps {
  const all: DeliveryGap[] = [];
  let next = 0;
  for (const [from, to] of gaps) {
    let at = from;
    for (let range = declared[next]; range !== undefined && range[0] <= to; range = declared[next]) {
      const low = Math.max(at, range[0]);
      const high = Math.min(to, range[1]);
      if (low <= high) {
        pushOpen(all, [at, low - 1], in_flight_from);
        all.push({ from_sequence: low, to_sequence: high, state: 'declared' });
        at = high + 1;
      }
      if (range[1] > to) break; // it may reach into the next gap
      next++;
    }
    pushOpen(all, [at, to], in_flight_from);
  }
  const missing = all.filter(({ state }) => state === 'missing');
  const counts = { declared: countOf(all.filter(({ state }) => state === 'declared')), lost: countOf(missing) };
  if (all.length <= GAPS_LISTED_MAX) return { listed: all, omitted: 0, ...counts };
  const listed = [...missing, ...all.filter(({ state }) => state !== 'missing')]
    .slice(0, GAPS_LISTED_MAX)
    .sort((a, b) => a.from_sequence - b.from_sequence);
  return { listed, omitted: all.length - listed.length, ...counts };
}

function countOf(gaps: readonly DeliveryGap[]): number {
  return gaps.reduce((sum, { from_sequence, to_sequence }) => sum + to_sequence - from_sequence + 1, 0);
}

/** A range that nobody declared, cut where it may be in flight. */
function pushOpen(all: DeliveryGap[], [from, to]: SequenceRange, in_flight_from: number | null): void {
  const border = in_flight_from === null ? to + 1 : Math.min(Math.max(in_flight_from, from), to + 1);
  if (border > from) all.push({ from_sequence: from, to_sequence: border - 1, state: 'missing' });
  if (border <= to) all.push({ from_sequence: border, to_sequence: to, state: 'in_flight' });
}
