import type { Store } from '../core/ports.ts';
import type { RecordOf, RecordType } from '../core/records.ts';
import { type Stored, storedRecords } from './stored-records.ts';
import { NOTHING_SEEN, seen, STREAM, type StreamMarks, unseen, withSeen } from './stream-marks.ts';

/** Types whose records say when they are from. */
type TimedType = { [Kind in RecordType]: RecordOf<Kind> extends { at_ms: number } ? Kind : never }[RecordType];

/** A record that says when it is from. */
export type TimedRecord = RecordOf<TimedType>;

/** More unread rows than one reading takes: those up to `upto`, from `from_ms` on. */
type Backlog = { readonly upto: StreamMarks; readonly from_ms: number };

/**
 * Records of one type that were stored since they were last read. Where there are more than `rows_max` of them they are read in
 * order of time over several readings, whichever stream they came by; some records are given twice then.
 */
export class UnreadRecords {
  readonly #store: Store;
  readonly #type: TimedType;
  readonly #rows_max: number;
  #seen: StreamMarks = NOTHING_SEEN;
  #backlog: Backlog | null = null;

  constructor(store: Store, type: TimedType, rows_max: number) {
    this.#store = store;
    this.#type = type;
    this.#rows_max = rows_max;
  }

  /** Everything before this time was read, as far as it was stored when the backlog began; Infinity without one. */
  get read_to_ms(): number {
    return this.#backlog?.from_ms ?? Infinity;
  }

  /** Unread records that are not older than `since_ms`; of a backlog its next ones. */
  async read(since_ms: number, signal: AbortSignal): Promise<TimedRecord[]> {
    if (this.#backlog === null) {
      const rows = await this.#rows(unseen(this.#seen), since_ms, signal);
      if (rows.length < this.#rows_max) {
        this.#seen = withSeen(
          this.#seen,
          rows.map(({ lineage }) => lineage),
        );
        return rows.map(({ record }) => record);
      }
      // what arrives from here on is read after the backlog, and these rows again: of them the marks know nothing
      this.#backlog = { upto: await this.#newest(signal), from_ms: since_ms };
    }
    return this.#readOn(this.#backlog, signal);
  }

  async #readOn({ upto, from_ms }: Backlog, signal: AbortSignal): Promise<TimedRecord[]> {
    const rows = await this.#rows(`${unseen(this.#seen)} AND ${seen(upto)}`, from_ms, signal);
    if (rows.length < this.#rows_max) {
      this.#seen = upto;
      this.#backlog = null;
    } else {
      const last_ms = Math.floor(rows.at(-1)?.record.at_ms ?? from_ms);
      // its other rows are read with the next ones; of more than rows_max rows in a millisecond the rest are left
      this.#backlog = { upto, from_ms: Math.max(last_ms, Math.floor(from_ms) + 1) };
    }
    return rows.map(({ record }) => record);
  }

  #rows(where: string, since_ms: number, signal: AbortSignal): Promise<Stored<TimedType>[]> {
    return storedRecords(
      this.#store,
      {
        type: this.#type,
        where: `${where} AND at >= fromUnixTimestamp64Milli({since:Int64})`,
        parameters: { since: BigInt(Math.floor(since_ms)) },
        order: 'at',
        limit: this.#rows_max,
      },
      signal,
    );
  }

  async #newest(signal: AbortSignal): Promise<StreamMarks> {
    const rows = await this.#store.query<{ readonly lineage: string }>(
      `SELECT bitNot(min(precedence)) AS lineage FROM leeway.${this.#type} WHERE ${unseen(this.#seen)} GROUP BY ${STREAM}`,
      {},
      signal,
    );
    return withSeen(
      this.#seen,
      rows.map(({ lineage }) => BigInt(lineage)),
    );
  }
}
