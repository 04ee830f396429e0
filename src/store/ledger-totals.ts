import { RangeSet } from '../core/range-set.ts';

/** Frames of one source, epoch, stream and table, whose sequences are `first` to `last`. */
export type SumRow = {
  readonly source: string;
  readonly epoch: string;
  readonly stream: string;
  readonly table: string;
  readonly frame_rows: string;
  readonly duplicates_absorbed: string;
  readonly first: string;
  readonly last: string;
  /** 1 where a sequence follows a higher one. */
  readonly disorder: number;
};
/** Rows that a group of frames stored behind a higher sequence. */
export type LateRow = { readonly name: string; readonly late: string };
export type SequenceRow = { source: string; epoch: string; from: string; to: string };

/** One source and epoch by the word of the ledger. */
export type LedgerTotal = {
  readonly source: string;
  readonly epoch: number;
  frame_rows: number;
  duplicates_absorbed: number;
  late: number;
  readonly sequences: RangeSet;
  /** By stream and table, the largest sequence. */
  readonly newest: Map<string, number>;
};

/** What stretches of the ledger hold; `late` has the groups that are not in order. */
export type LedgerRows = {
  readonly sums: readonly SumRow[];
  readonly late: readonly LateRow[];
  readonly sequences: readonly SequenceRow[];
};

/** A group of the ledger and the largest sequence that was read of it before. */
export type Behind = { readonly name: string; readonly newest: number };

/** A source and epoch in one text. */
export function nameOf(row: { source: string; epoch: string }): string {
  return `${row.epoch} ${row.source}`;
}

/** A source, epoch, stream and table in one text, as GROUP_NAME of ledger-sql.ts makes it. */
function groupNameOf(row: SumRow): string {
  return `${placeOf(row)} ${nameOf(row)}`;
}

function placeOf({ stream, table }: SumRow): string {
  return `${stream} ${table}`;
}

/** What the ledger says of every source and epoch, summed over the stretches that were added. */
export class LedgerTotals {
  readonly #totals = new Map<string, LedgerTotal>();

  get entries(): Iterable<[name: string, total: LedgerTotal]> {
    return this.#totals;
  }

  add({ sums, late, sequences }: LedgerRows): void {
    for (const row of sums) {
      const total = this.#of(row);
      total.frame_rows += Number(row.frame_rows);
      total.duplicates_absorbed += Number(row.duplicates_absorbed);
      total.newest.set(placeOf(row), Math.max(total.newest.get(placeOf(row)) ?? 0, Number(row.last)));
    }
    for (const row of late) {
      const [, , epoch = '', ...source] = row.name.split(' ');
      this.#of({ epoch, source: source.join(' ') }).late += Number(row.late);
    }
    for (const row of sequences) this.#of(row).sequences.add(Number(row.from), Number(row.to));
  }

  /** These totals and those rows; this stays as it is. O(sources), and O(ranges) for those of the rows. */
  with(rows: LedgerRows): LedgerTotals {
    const sum = new LedgerTotals();
    const touched = new Set([...rows.sums, ...rows.sequences].map(nameOf));
    for (const [name, total] of this.#totals) sum.#totals.set(name, touched.has(name) ? copyOf(total) : total);
    sum.add(rows);
    return sum;
  }

  /** Groups that are not in order, or begin below what these totals have of them. */
  behind(sums: readonly SumRow[]): Behind[] {
    return sums.flatMap((row) => {
      const newest = this.#totals.get(nameOf(row))?.newest.get(placeOf(row)) ?? 0;
      return row.disorder === 1 || Number(row.first) < newest ? [{ name: groupNameOf(row), newest }] : [];
    });
  }

  #of(row: { source: string; epoch: string }): LedgerTotal {
    const known = this.#totals.get(nameOf(row));
    if (known !== undefined) return known;
    const { source } = row;
    const counts = { frame_rows: 0, duplicates_absorbed: 0, late: 0 };
    const total = { source, epoch: Number(row.epoch), ...counts, sequences: new RangeSet(), newest: new Map() };
    this.#totals.set(nameOf(row), total);
    return total;
  }
}

function copyOf(total: LedgerTotal): LedgerTotal {
  return { ...total, sequences: total.sequences.copy(), newest: new Map(total.newest) };
}
