import type { QueryParameters } from '../core/ports.ts';

/** A statement that the engine refused, with ClickHouse's own number for why (0: none given). */
export class EngineError extends Error {
  override readonly name = 'EngineError';
  readonly engine_code: number;

  constructor(engine_code: number, reason: string) {
    super(reason);
    this.engine_code = engine_code;
  }
}

/** Native blocks to read: a file of them, or bytes in pieces. */
export type Blocks = { readonly path: string } | { readonly pieces: readonly Buffer[] };

/** Statements that run one after another and share temporary tables. */
export interface WritingSession {
  command(sql: string): Promise<void>;
  /** As `command`, for a statement that answers with rows. */
  rows<Row>(sql: string): Promise<Row[]>;
  /** Runs the INSERT that `sql` makes of a table expression, which reads `blocks` as `structure`. */
  read(blocks: Blocks, structure: string, sql: (source: string) => string): Promise<void>;
  /** Inserts `rows` into `table` by name of column. */
  insert(table: string, rows: readonly object[]): Promise<void>;
}

/**
 * Where the store's SQL runs. Statements fail with EngineError, or with LeewayError LW-STORE-GONE where the engine was
 * not reached or its answer was lost: the statement may have run.
 */
export interface Engine extends AsyncDisposable {
  /** Gives `work` a session for itself. */
  write<Result>(work: (session: WritingSession) => Promise<Result>, signal: AbortSignal): Promise<Result>;
  /** Rows of a query. */
  select<Row>(sql: string, parameters: QueryParameters, signal: AbortSignal): Promise<Row[]>;
}

/** Rows of JSON lines. */
export function parseLines<Row>(json_lines: string): Row[] {
  const rows: Row[] = [];
  for (const line of json_lines.split('\n')) if (line !== '') rows.push(JSON.parse(line) as Row); // the caller names its query's row
  return rows;
}
