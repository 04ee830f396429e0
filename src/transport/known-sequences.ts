import type { FrameHeader, InFlight, SequenceRanges } from '../core/ports.ts';
import { RangeSet } from '../core/range-set.ts';

type SourceEpoch = { readonly source: string; readonly epoch: number };

/** Which batches are durable, by source and epoch: what a repeat is recognised by. */
export class KnownSequences {
  readonly #sets = new Map<string, RangeSet>();

  has(key: SourceEpoch, sequence: number): boolean {
    return this.#sets.get(nameOf(key))?.has(sequence) ?? false;
  }

  add(key: SourceEpoch, from: number, to = from): void {
    const name = nameOf(key);
    let set = this.#sets.get(name);
    if (set === undefined) {
      set = new RangeSet();
      this.#sets.set(name, set);
    }
    set.add(from, to);
  }

  /** All of them, as ranges. */
  list(): SequenceRanges[] {
    return [...this.#sets].map(([name, set]) => {
      const border = name.indexOf(' ');
      const ranges = set.ranges.map(({ from, to }) => [from, to] as const);
      return { source: name.slice(border + 1), epoch: Number(name.slice(0, border)), ranges };
    });
  }

  /** Adds the batches of which all parts are among `headers`; a batch cut short by a crash stays unknown. */
  addComplete(headers: Iterable<FrameHeader>): void {
    const seen = new Map<string, Set<string>>();
    for (const header of headers) {
      const name = `${nameOf(header)} ${header.sequence}`;
      const tables = seen.get(name) ?? new Set();
      seen.set(name, tables.add(header.table));
      if (tables.size >= header.parts) this.add(header, header.sequence);
    }
  }
}

/** Records of one source and epoch in one segment: since when (Unix ms) and from which sequence on. */
export type SegmentRecords = SourceRecords & { readonly since_ms: number; readonly sequence_min: number };

/** What a segment holds, by source and epoch. */
export class SegmentTally {
  readonly #counts = new Map<string, { -readonly [Key in keyof SegmentRecords]: SegmentRecords[Key] }>();

  add({ source, epoch, sequence, rows }: FrameHeader, now_ms: number): void {
    const name = nameOf({ source, epoch });
    const known = this.#counts.get(name);
    if (known === undefined) {
      this.#counts.set(name, { source, epoch, records: rows, since_ms: now_ms, sequence_min: sequence });
      return;
    }
    known.records += rows;
    known.sequence_min = Math.min(known.sequence_min, sequence);
  }

  list(): SegmentRecords[] {
    return [...this.#counts.values()].map((count) => ({ ...count }));
  }
}

/** `records` with the age of the oldest and the smallest sequence, from the segments that hold them. O(tallies). */
export function inFlightOf(
  records: readonly SourceRecords[],
  tallies: Iterable<readonly SegmentRecords[]>,
  now_ms: number,
): InFlight[] {
  const oldest = new Map<string, { since_ms: number; sequence_min: number }>();
  for (const tally of tallies)
    for (const { source, epoch, since_ms, sequence_min } of tally) {
      const name = nameOf({ source, epoch });
      const known = oldest.get(name);
      if (known === undefined) oldest.set(name, { since_ms, sequence_min });
      else {
        known.since_ms = Math.min(known.since_ms, since_ms);
        known.sequence_min = Math.min(known.sequence_min, sequence_min);
      }
    }
  return records.map((count) => {
    const known = oldest.get(nameOf(count));
    if (known === undefined) return count;
    return { ...count, oldest_ms: Math.max(0, now_ms - known.since_ms), sequence_min: known.sequence_min };
  });
}

export type SourceRecords = { readonly source: string; readonly epoch: number; readonly records: number };

/** Records counted by source and epoch, forgotten when they reach zero. */
export class SourceTally {
  readonly #counts = new Map<string, { source: string; epoch: number; records: number }>();

  add(key: SourceEpoch, records: number): void {
    const name = nameOf(key);
    const count = this.#counts.get(name) ?? { source: key.source, epoch: key.epoch, records: 0 };
    count.records += records;
    if (count.records === 0) this.#counts.delete(name);
    else this.#counts.set(name, count);
  }

  list(): SourceRecords[] {
    return [...this.#counts.values()].map((count) => ({ ...count }));
  }
}

function nameOf(key: SourceEpoch): string {
  return `${key.epoch} ${key.source}`;
}
