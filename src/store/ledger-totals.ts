import { RangeSet } from '../core/range-set.ts';

export type SumRow = { source: string; epoch: string; frame_rows: string; duplicates_absorbed: string };
export type SequenceRow = { source: string; epoch: string; from: string; to: string };

/** One source and epoch by the word of the ledger. */
export type LedgerTotal = {
  readonly source: string;
  readonly epoch: number;
  frame_rows: number;
  duplicates_absorbed: number;
  readonly sequences: RangeSet;
};

/** A source and epoch in one text. */
export function nameOf(row: { source: string; epoch: string }): string {
  return `${row.epoch} ${row.source}`;
}

/** What the ledger says of every source and epoch, summed over the stretches that were added. */
export class LedgerTotals {
  readonly #totals = new Map<string, LedgerTotal>();

  get entries(): Iterable<[name: string, total: LedgerTotal]> {
    return this.#totals;
  }

  add(sums: readonly SumRow[], sequences: readonly SequenceRow[]): void {
    for (const row of sums) {
      const total = this.#of(row);
      total.frame_rows += Number(row.frame_rows);
      total.duplicates_absorbed += Number(row.duplicates_absorbed);
    }
    for (const row of sequences) this.#of(row).sequences.add(Number(row.from), Number(row.to));
  }

  /** These totals and those rows; this stays as it is. O(sources), and O(ranges) for those of the rows. */
  with(sums: readonly SumRow[], sequences: readonly SequenceRow[]): LedgerTotals {
    const sum = new LedgerTotals();
    const touched = new Set([...sums, ...sequences].map(nameOf));
    for (const [name, total] of this.#totals) sum.#totals.set(name, touched.has(name) ? copyOf(total) : total);
    sum.add(sums, sequences);
    return sum;
  }

  #of(row: { source: string; epoch: string }): LedgerTotal {
    const known = this.#totals.get(nameOf(row));
    if (known !== undefined) return known;
    const { source } = row;
    const counts = { frame_rows: 0, duplicates_absorbed: 0 };
    const total = { source, epoch: Number(row.epoch), ...counts, sequences: new RangeSet() };
    this.#totals.set(nameOf(row), total);
    return total;
  }
}

function copyOf(total: LedgerTotal): LedgerTotal {
  return { ...total, sequences: total.sequences.copy() };
}
