import { streamOf } from '../core/lineage.ts';
import type { TableName } from '../core/tables.ts';
import { ledgerChunk, lineageSpans, type Stretch, storedRows } from './ledger-sql.ts';

/** A partition of one table: a day of samples, a month of records. */
export type Place = { readonly table: TableName; readonly partition: string };

/** Rows that a partition holds of one source and epoch; `known` is 0 for rows whose frame the ledger lacks. */
export type StoredRows = {
  readonly table: string;
  readonly partition: string;
  readonly source: string;
  readonly epoch: string;
  readonly known: number;
  readonly stored: number;
};

type Select = <Row>(sql: string) => Promise<Row[]>;
type SpanRow = { readonly table: string; readonly partition: string; readonly first: string; readonly last: string };
type CountRow = Omit<StoredRows, 'stored'> & { readonly stored: string };

/** Frames of the ledger that one statement joins: 0.6 GB of the 2 GiB that a query may take. */
const FRAMES_A_STATEMENT = 4_000_000;
/** Partitions counted by one statement: each one is a branch of its plan. */
const PARTITIONS_A_STATEMENT_MAX = 40;
/** Streams named by one statement, 60 characters of its text each; of more the ledger is read from first to last. */
const STREAMS_A_STATEMENT_MAX = 500;

export type CountOptions = {
  /** Frames above the watermark of their stream are not known yet; null: all frames of the ledger are known. */
  readonly watermarks: readonly bigint[] | null;
  /** Default 4,000,000. */
  readonly frames_a_statement?: number | undefined;
};

/**
 * Counts the rows of `places` by source and epoch, from the rows themselves. The ledger is never trimmed, so it is read
 * only where rows of the places have their frames, and by stretches of lineages that bound a statement's memory. Reads
 * each place once for every 4 million frames that its rows are of.
 */
export async function countStored(
  select: Select,
  places: readonly Place[],
  { watermarks, frames_a_statement = FRAMES_A_STATEMENT }: CountOptions,
): Promise<StoredRows[]> {
  const counted = new Map<string, StoredRows>();
  for (let from = 0; from < places.length; from += PARTITIONS_A_STATEMENT_MAX) {
    const some = places.slice(from, from + PARTITIONS_A_STATEMENT_MAX);
    const spans = await select<SpanRow>(lineageSpans(some));
    const stretches = stretchesOf(spans);
    let after: bigint | null = null;
    for (const upto of await cuts(select, stretches, frames_a_statement)) {
      const within = clip(stretches, after, upto);
      const held = some.filter((place) => clip(stretchesOf(spans.filter(isOf(place))), after, upto).length > 0);
      if (held.length > 0)
        for (const row of await select<CountRow>(storedRows(held, { watermarks, within, after, upto })))
          add(counted, row);
      after = upto;
    }
  }
  return [...counted.values()];
}

function isOf({ table, partition }: Place): (row: SpanRow) => boolean {
  return (row) => row.table === table && row.partition === partition;
}

/** By stream, the stretch that holds all of `spans`. */
function stretchesOf(spans: readonly SpanRow[]): Stretch[] {
  const stretches = new Map<number, Stretch>();
  for (const { first, last } of spans) {
    const [after, upto] = [BigInt(first) - 1n, BigInt(last)];
    const known = stretches.get(streamOf(upto)) ?? { after, upto };
    stretches.set(streamOf(upto), joined(known, { after, upto }));
  }
  const all = [...stretches.values()];
  return all.length <= STREAMS_A_STATEMENT_MAX ? all : [all.reduce(joined)];
}

function joined(one: Stretch, other: Stretch): Stretch {
  return {
    after: one.after < other.after ? one.after : other.after,
    upto: one.upto > other.upto ? one.upto : other.upto,
  };
}

/** What of `stretches` lies above `after` and up to `upto` (null: without bound). */
function clip(stretches: readonly Stretch[], after: bigint | null, upto: bigint | null): Stretch[] {
  return stretches
    .map((stretch) => ({
      after: after === null || after < stretch.after ? stretch.after : after,
      upto: upto === null || upto > stretch.upto ? stretch.upto : upto,
    }))
    .filter((stretch) => stretch.after < stretch.upto);
}

/** Lineages to cut `stretches` at, so that a piece has at most `frames` frames; the last piece is open: null. */
async function cuts(select: Select, stretches: readonly Stretch[], frames: number): Promise<(bigint | null)[]> {
  const found: bigint[] = [];
  let rest = [...stretches];
  // a stretch has no more frames than lineages
  while (rest.reduce((sum, { after, upto }) => sum + (upto - after), 0n) > BigInt(frames)) {
    const ends = await select<{ readonly lineage: string }>(ledgerChunk(rest, frames));
    if (ends.length === 0) break;
    const cut = ends.map(({ lineage }) => BigInt(lineage)).reduce((most, end) => (end > most ? end : most));
    found.push(cut);
    rest = clip(rest, cut, null);
  }
  return rest.length === 0 ? [...found.slice(0, -1), null] : [...found, null];
}

function add(counted: Map<string, StoredRows>, row: CountRow): void {
  const name = [row.table, row.partition, row.known, row.epoch, row.source].join(' ');
  counted.set(name, { ...row, stored: (counted.get(name)?.stored ?? 0) + Number(row.stored) });
}
