import { FIELDS, type Kind } from './fields.ts';

/** A cell of a table file: CSV gives text, parquet JSON scalars. */
export type CostCell = string | number | boolean | null;

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const ELEMENT = /^(.+)\[(\d{1,4})\]$/;
const NUMERIC: ReadonlySet<Kind> = new Set<Kind>(['time', 'open_time', 'ratio', 'amount', 'seconds']);

/**
 * A row of a CSV or parquet file as the value of a record: `tenant.team` becomes a field of `tenant`, `gpu_indexes[0]` an
 * element, JSON text in a cell the object or list that it spells. Empty cells are absent, but an empty `to_ms` of an
 * asset is null (still open). Text becomes a number where the field is one; counts and money stay text.
 */
export function recordOfCells(columns: readonly string[], cells: readonly CostCell[]): Record<string, unknown> {
  const type = cells[columns.indexOf('type')];
  const kinds = new Map((FIELDS.get(String(type)) ?? []).map(([name, kind]) => [name, kind]));
  const nested = new Map<string, Map<string, unknown>>();
  const lists = new Map<string, unknown[]>();
  const plain = new Map<string, unknown>();
  for (const [index, column] of columns.entries()) {
    const cell = cells[index] ?? null;
    if (cell === null || cell === '') {
      if (kinds.get(column) === 'open_time') plain.set(column, null);
      continue;
    }
    const element = ELEMENT.exec(column);
    const dot = column.indexOf('.');
    if (element !== null) append(lists, element[1] ?? column, cell);
    else if (dot > 0) within(nested, column.slice(0, dot)).set(column.slice(dot + 1), cell);
    else plain.set(column, valueOf(cell, kinds.get(column)));
  }
  const objects = [...nested].map(([name, fields]) => [name, Object.fromEntries(fields)] as const);
  return Object.fromEntries([...plain, ...objects, ...lists]);
}

function append(lists: Map<string, unknown[]>, name: string, cell: CostCell): void {
  const held = lists.get(name);
  if (held === undefined) lists.set(name, [cell]);
  else held.push(cell);
}

function within(nested: Map<string, Map<string, unknown>>, name: string): Map<string, unknown> {
  let held = nested.get(name);
  if (held === undefined) nested.set(name, (held = new Map()));
  return held;
}

function valueOf(cell: CostCell, kind: Kind | undefined): unknown {
  if (typeof cell !== 'string' || kind === undefined) return cell;
  if (NUMERIC.has(kind)) return NUMBER.test(cell) ? Number(cell) : cell;
  if (kind !== 'text' && /^[[{]/.test(cell)) return jsonOf(cell);
  return cell;
}

/** Spelled-out JSON, or the text itself, which the record's own checks then refuse. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return text;
    throw error;
  }
}
