import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type ErrorCode, LeewayError } from '../core/errors.ts';
import { splitCsv } from './csv.ts';
import { formatOf, type InputPlace, LINE_BYTES_MAX, readBytes } from './input.ts';
import { readParquet } from './parquet.ts';

/** A cell: text from CSV, JSON scalars, ISO text for dates. Vectors are spread over columns `name[0]`, `name[1]`, …. */
export type Cell = string | number | boolean | null;

/** Rows of one file: `rows[r][c]` belongs to `columns[c]`. Columns may differ from batch to batch. */
export type TableBatch = { readonly columns: readonly string[]; readonly rows: readonly (readonly Cell[])[] };

/** A record that was left out, by its line in `path` (1-based; the header counts). */
export type RejectedRecord = {
  readonly path: string;
  readonly line: number;
  readonly code: ErrorCode;
  readonly reason: string;
};

type OnReject = (rejected: RejectedRecord) => void;

/** Entries of one vector that become columns: the largest embeddings in common use have 4,096. */
const VECTOR_MAX = 4096;
/** Lines that one quoted field may span. */
const QUOTED_LINES_MAX = 1000;
/** Objects in an NDJSON record are flattened to `outer.inner` down to this depth. */
const DEPTH_MAX = 8;

/**
 * The rows of a table file, in batches; memory does not grow with the file (parquet: one row group). CSV needs a header
 * row. Bad records go to `onReject` and are left out. Throws LW-INPUT-FILE (cannot be read), LW-INPUT (no table).
 */
export async function* readTable(place: InputPlace, onReject: OnReject): AsyncGenerator<TableBatch> {
  const format = formatOf(place.path);
  if (format === null)
    throw new LeewayError(
      'LW-INPUT-FILE',
      `${place.path}: unknown format; expected .csv, .ndjson, .jsonl or .parquet, also with .gz or .zst`,
    );
  if (format === 'csv') yield* readCsv(place, onReject);
  else if (format === 'ndjson') yield* readNdjson(place, onReject);
  else for await (const batch of parquetBatches(place)) yield spreadVectors(batch.columns, batch.rows);
}

async function* parquetBatches(
  place: InputPlace,
): AsyncGenerator<{ columns: readonly string[]; rows: readonly (readonly unknown[])[] }> {
  if (!/\.(gz|zst)$/.test(place.path)) return yield* readParquet(place.path, resolve(place.cwd, place.path));
  const chunks: Buffer[] = [];
  for await (const chunk of readBytes(place)) chunks.push(chunk);
  const whole = new Uint8Array(Buffer.concat(chunks));
  yield* readParquet(place.path, whole.buffer);
}

/** Standard input copied to a temporary NDJSON file, for a reader that needs two passes. Dispose removes it. */
export async function spooled(place: InputPlace): Promise<{ readonly place: InputPlace } & AsyncDisposable> {
  const folder = await mkdtemp(join(tmpdir(), 'leeway-'));
  const path = join(folder, 'stdin.ndjson');
  await pipeline(Readable.from(readBytes(place)), createWriteStream(path, { mode: 0o600 }));
  return {
    place: { ...place, path },
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

type NumberedLine = { readonly line: number; readonly text: string };

/** Complete lines of each chunk together: one await a chunk, not one a line. */
async function* lineBatches(place: InputPlace, onReject: OnReject): AsyncGenerator<NumberedLine[]> {
  const decoder = new TextDecoder('utf-8'); // drops a byte order mark
  let held = '';
  let line = 0;
  let skipping = false;
  const numbered = (texts: readonly string[]): NumberedLine[] =>
    texts.flatMap((text, index) => {
      line += 1;
      if (skipping && index === 0) {
        skipping = false;
        onReject({
          path: place.path,
          line,
          code: 'LW-RECORD-SIZE',
          reason: `longer than ${LINE_BYTES_MAX} characters`,
        });
        return [];
      }
      return [{ line, text: text.endsWith('\r') ? text.slice(0, -1) : text }];
    });
  for await (const bytes of readBytes(place)) {
    const parts = (held + decoder.decode(bytes, { stream: true })).split('\n');
    held = parts.pop() ?? '';
    if (held.length > LINE_BYTES_MAX || (skipping && parts.length === 0)) {
      const lines = numbered(parts);
      skipping = true;
      held = '';
      yield lines;
    } else yield numbered(parts);
  }
  held += decoder.decode();
  if (held !== '' || skipping) yield numbered([held]);
}

async function* readCsv(place: InputPlace, onReject: OnReject): AsyncGenerator<TableBatch> {
  const records = new CsvRecords((line, reason) =>
    onReject({ path: place.path, line, code: 'LW-RECORD-FIELD', reason }),
  );
  let columns: readonly string[] | null = null;
  const rowsOf = (found: readonly CsvRecord[]): TableBatch | null => {
    const first = columns === null;
    const rows: Cell[][] = [];
    for (const { line, fields } of found) {
      if (columns === null) columns = header(place.path, fields);
      else if (fields.length === columns.length) rows.push(fields);
      else {
        const reason = `${fields.length} fields, expected ${columns.length} as in the header`;
        onReject({ path: place.path, line, code: 'LW-RECORD-FIELD', reason });
      }
    }
    return columns === null || (rows.length === 0 && !first) ? null : spreadVectors(columns, rows);
  };
  for await (const lines of lineBatches(place, onReject)) {
    const batch = rowsOf(records.add(lines));
    if (batch !== null) yield batch;
  }
  const last = rowsOf(records.end());
  if (last !== null) yield last;
  if (columns === null) throw new LeewayError('LW-INPUT', `${place.path}: line 1: empty, expected a header row`);
}

function header(path: string, fields: readonly string[]): readonly string[] {
  const names = fields.map((field) => field.trim());
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined)
    throw new LeewayError('LW-INPUT', `${path}: line 1: column "${twice}" stands twice; give each column its own name`);
  return names;
}

type CsvRecord = { readonly line: number; readonly fields: string[] };

/** Joins the lines of quoted fields. A quote that never closes costs its own line only: the lines after are read anew. */
class CsvRecords {
  readonly #reject: (line: number, reason: string) => void;
  #open: NumberedLine[] = [];
  #size = 0;

  constructor(reject: (line: number, reason: string) => void) {
    this.#reject = reject;
  }

  add(lines: readonly NumberedLine[]): CsvRecord[] {
    const found: CsvRecord[] = [];
    for (const line of lines) this.#line(line, found);
    return found;
  }

  end(): CsvRecord[] {
    const found: CsvRecord[] = [];
    while (this.#open.length > 0) this.#giveUp(found);
    return found;
  }

  #line(line: NumberedLine, found: CsvRecord[]): void {
    if (this.#open.length === 0 && line.text === '') return;
    const first = this.#open[0];
    const continues = first !== undefined && !line.text.includes('"');
    const text = first === undefined ? line.text : [...this.#open, line].map((part) => part.text).join('\n');
    const split = continues ? ({ kind: 'open' } as const) : splitCsv(text);
    if (split.kind === 'open') {
      this.#open.push(line);
      this.#size += line.text.length;
      if (this.#open.length > QUOTED_LINES_MAX || this.#size > LINE_BYTES_MAX) this.#giveUp(found);
      return;
    }
    this.#open = [];
    this.#size = 0;
    if (split.kind === 'bad') this.#reject(first?.line ?? line.line, 'text after a closing quote, expected a comma');
    else found.push({ line: first?.line ?? line.line, fields: split.fields });
  }

  #giveUp(found: CsvRecord[]): void {
    const [first, ...rest] = this.#open;
    this.#open = [];
    this.#size = 0;
    if (first !== undefined) this.#reject(first.line, 'a quote opens and never closes');
    for (const line of rest) this.#line(line, found);
  }
}

async function* readNdjson(place: InputPlace, onReject: OnReject): AsyncGenerator<TableBatch> {
  for await (const lines of lineBatches(place, onReject)) {
    const columns = new Map<string, number>();
    const rows: unknown[][] = [];
    for (const { line, text } of lines) {
      if (text.trim() === '') continue;
      const record = parseRecord(text);
      if (record === null) {
        onReject({ path: place.path, line, code: 'LW-RECORD-JSON', reason: 'not a JSON object' });
        continue;
      }
      const row: unknown[] = [];
      flatten(record, { prefix: '', depth: 0 }, (name, value) => {
        let column = columns.get(name);
        if (column === undefined) columns.set(name, (column = columns.size));
        row[column] = value;
      });
      rows.push(row);
    }
    if (rows.length > 0) yield spreadVectors([...columns.keys()], rows);
  }
}

function parseRecord(text: string): object | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : null;
  } catch {
    return null; // the caller rejects the line
  }
}

function flatten(
  record: object,
  at: { readonly prefix: string; readonly depth: number },
  add: (name: string, value: unknown) => void,
): void {
  for (const [key, value] of Object.entries(record)) {
    const name = at.prefix + key;
    const nested = typeof value === 'object' && value !== null && !Array.isArray(value);
    if (nested && at.depth < DEPTH_MAX) flatten(value, { prefix: `${name}.`, depth: at.depth + 1 }, add);
    else add(name, value);
  }
}

/** Cells made plain; a column that holds a vector anywhere in the batch becomes its entries' columns. */
function spreadVectors(columns: readonly string[], rows: readonly (readonly unknown[])[]): TableBatch {
  const names: string[] = [];
  const vectors = columns.map((_, column) => vectorSize(rows, column));
  columns.forEach((name, column) => {
    const size = vectors[column] ?? 0;
    if (size === 0) names.push(name);
    else for (let entry = 0; entry < size; entry++) names.push(`${name}[${entry}]`);
  });
  const plain = rows.map((row) => {
    const cells: Cell[] = [];
    for (let column = 0; column < columns.length; column++) {
      const size = vectors[column] ?? 0;
      if (size === 0) cells.push(cellOf(row[column]));
      else {
        const vector = vectorOf(row[column]);
        for (let entry = 0; entry < size; entry++) cells.push(cellOf(vector?.[entry]));
      }
    }
    return cells;
  });
  return { columns: names, rows: plain };
}

function vectorSize(rows: readonly (readonly unknown[])[], column: number): number {
  let size = 0;
  for (const row of rows) {
    const cell = row[column];
    if (typeof cell === 'string' ? cell.codePointAt(0) === 91 : typeof cell === 'object')
      size = Math.max(size, Math.min(VECTOR_MAX, vectorOf(cell)?.length ?? 0));
  }
  return size;
}

/** The entries of a vector: an array of numbers (or nulls), or its JSON text. */
function vectorOf(cell: unknown): ArrayLike<unknown> | null {
  if (ArrayBuffer.isView(cell) && !(cell instanceof DataView)) return Array.from(cell as Float64Array); // parse door
  if (typeof cell === 'string' && cell.startsWith('[')) {
    try {
      return vectorOf(JSON.parse(cell));
    } catch {
      return null; // text that only looks like a vector stays text
    }
  }
  return Array.isArray(cell) && cell.every((entry) => typeof entry === 'number' || entry === null) ? cell : null;
}

function cellOf(value: unknown): Cell {
  switch (typeof value) {
    case 'string':
    case 'boolean':
    case 'number':
      return value;
    case 'bigint':
      return Number(value); // 64-bit integers beyond 2^53 lose their last digits, which no distribution shows
    case 'object':
      if (value === null) return null;
      return value instanceof Date ? dateText(value) : JSON.stringify(value);
    default:
      return null;
  }
}

function dateText(date: Date): string | null {
  return Number.isNaN(date.getTime()) ? null : date.toISOString();
}
