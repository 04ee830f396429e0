import type { QueryParameters, Store } from '../core/ports.ts';
import type { LeewayRecord, RecordOf, RecordType } from '../core/records.ts';
import { recordOf } from '../formats/record-rows.ts';

/** A record read back, with the lineage that ordered its acceptance and the hash that tells records of one place apart. */
export type Stored<Kind extends RecordType> = {
  readonly lineage: bigint;
  readonly hash: string;
  readonly record: RecordOf<Kind>;
};

export type RecordQuery<Kind extends RecordType> = {
  readonly type: Kind;
  /** A fixed condition of ours with `{name:Type}` parameters; never text from outside. */
  readonly where: string;
  readonly parameters: QueryParameters;
  readonly order: string;
  readonly limit: number;
};

type Row = { readonly lin: string; readonly record_hash: string } & Readonly<Record<string, unknown>>;

/** Records of one type as they were sent, unknown fields included. Rows of one key count once. */
export async function storedRecords<Kind extends RecordType>(
  store: Store,
  query: RecordQuery<Kind>,
  signal: AbortSignal,
): Promise<Stored<Kind>[]> {
  const rows = await store.query<Row>(
    `SELECT *, lin FROM leeway.${query.type} FINAL WHERE ${query.where} ORDER BY ${query.order} LIMIT {limit:UInt32}`,
    { ...query.parameters, limit: query.limit },
    signal,
  );
  return rows.map((row) => ({
    lineage: BigInt(row.lin),
    hash: row.record_hash,
    record: narrow(query.type, recordOf(query.type, row)),
  }));
}

function narrow<Kind extends RecordType>(type: Kind, record: LeewayRecord): RecordOf<Kind> {
  if (record.type !== type) throw new TypeError(`the table of ${type} holds a ${record.type}`);
  return record as RecordOf<Kind>; // the parse door of the store: its table holds this type only
}
