import type { FrameHeader } from '../core/ports.ts';
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
