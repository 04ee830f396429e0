/** Kinds of columns. A timestamp is not tested; a vector is the columns `name[0]`, `name[1]`, … together. */
export const COLUMN_KINDS = ['numeric', 'categorical', 'boolean', 'timestamp', 'vector'] as const;
export type ColumnKind = (typeof COLUMN_KINDS)[number];

/** What one cell looks like. */
export type CellKind = 'missing' | 'numeric' | 'boolean' | 'timestamp' | 'text';

const MISSING = new Set(['', 'na', 'n/a', '#n/a', '<na>', 'nan', '-nan', 'null', 'none']);
const TIMESTAMP = /^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?\s?(Z|[+-]\d{2}:?\d{2})?)?$/;
const INFINITE = /^([+-]?)inf(inity)?$/i;

/** The number that a cell says, NaN when it says none. "inf" in any case is infinite. */
export function numberOf(cell: unknown): number {
  if (typeof cell === 'number') return cell;
  if (typeof cell !== 'string' || cell === '') return Number.NaN;
  const value = Number(cell);
  if (value !== 0 && !Number.isNaN(value)) return value;
  if (value === 0) return cell.trim() === '' ? Number.NaN : value;
  const infinite = INFINITE.exec(cell.trim());
  if (infinite === null) return Number.NaN;
  return infinite[1] === '-' ? -Infinity : Infinity;
}

/** True for null, NaN, and the texts that data tools write for "no value" (as pandas reads them). */
export function isMissing(cell: unknown): boolean {
  if (typeof cell === 'string') return cell.length <= 6 && MISSING.has(cell.trim().toLowerCase());
  return cell === null || cell === undefined || (typeof cell === 'number' && Number.isNaN(cell));
}

/** Classifies one cell. */
export function cellKind(cell: unknown): CellKind {
  if (typeof cell === 'number') return Number.isNaN(cell) ? 'missing' : 'numeric';
  if (typeof cell === 'boolean') return 'boolean';
  if (isMissing(cell)) return 'missing';
  if (typeof cell !== 'string') return 'text';
  if (!Number.isNaN(numberOf(cell))) return 'numeric';
  const first = cell.codePointAt(0) ?? 0;
  if (first >= 48 && first <= 57) return TIMESTAMP.test(cell) ? 'timestamp' : 'text';
  return /^(true|false)$/i.test(cell) ? 'boolean' : 'text';
}

/** How often each kind of cell came. */
export type KindCounts = Readonly<Record<CellKind, number>>;

/** Name and range of a column that holds Unix time as a number: seconds to nanoseconds from 2001 to 2100. */
const TIME_NAME = /(^|_|\.)(timestamp|time|datetime|date|ts|at)(_(s|ms|us|ns))?$/i;
const TIME_RANGES = [1, 1e3, 1e6, 1e9].map((unit): [number, number] => [1e9 * unit, 4.2e9 * unit]);

/**
 * The kind of a column from its reference cells. Numeric, boolean and timestamp allow one odd cell in ten (it then
 * counts as missing); anything else is categorical. A number column named like a time, in the range of one, is a
 * timestamp. Null when all cells are missing.
 */
export function inferKind(
  name: string,
  counts: KindCounts,
  range: { readonly min: number; readonly max: number },
): ColumnKind | null {
  const present = counts.numeric + counts.boolean + counts.timestamp + counts.text;
  if (present === 0) return null;
  const mostly = (count: number): boolean => count >= 0.9 * present;
  if (mostly(counts.timestamp)) return 'timestamp';
  if (mostly(counts.boolean)) return 'boolean';
  if (!mostly(counts.numeric)) return 'categorical';
  const isTime = TIME_RANGES.some(([low, high]) => range.min >= low && range.max <= high);
  return isTime && TIME_NAME.test(name) ? 'timestamp' : 'numeric';
}
