import type { MetricName } from '../core/catalog.ts';
import { type Attributes, type Decoding, quoted } from './decode-result.ts';
import { absentReason, readQuantity } from './quantity.ts';

type Column = { readonly field: string; readonly unit: string | null };
type Measure = { readonly metric: MetricName; readonly unit: string; readonly attributes?: Attributes };

/** A table of processes or retired pages: its columns, and where the one free text (a process name) stands. */
export type ProcessTable = { readonly columns: readonly Column[]; readonly free: number };

const MEASURES: Readonly<Record<string, Measure>> = {
  used_gpu_memory: { metric: 'process.gpu.memory.usage', unit: 'MiB' },
  used_memory: { metric: 'process.gpu.memory.usage', unit: 'MiB' },
  gpu_utilization: { metric: 'process.gpu.accounted.utilization', unit: '%', attributes: { 'hw.gpu.task': 'general' } },
  gpu_util: { metric: 'process.gpu.accounted.utilization', unit: '%', attributes: { 'hw.gpu.task': 'general' } },
  mem_utilization: { metric: 'process.gpu.accounted.memory.controller.utilization', unit: '%' },
  mem_util: { metric: 'process.gpu.accounted.memory.controller.utilization', unit: '%' },
  max_memory_usage: { metric: 'process.gpu.accounted.memory.peak', unit: 'MiB' },
  time: { metric: 'process.gpu.accounted.time', unit: 'ms' },
};

const ATTRIBUTES: Readonly<Record<string, string>> = {
  uuid: 'hw.id',
  'pci.bus_id': 'pci.bus_id',
  pid: 'process.pid',
  process_name: 'process.name',
  name: '',
};

/** The table that these columns make, or null when they are those of GPUs. */
export function processTable(columns: readonly Column[]): ProcessTable | null {
  const fields = columns.map((column) => column.field);
  if (!fields.includes('pid') && !fields.includes('retired_pages.address')) return null;
  return { columns, free: fields.indexOf('process_name') };
}

/**
 * One row. Process names are not quoted and may hold commas: what is left of the name is read from the left, what is
 * right of it from the right.
 */
export function decodeProcessRow(decoding: Decoding, table: ProcessTable, line: string, state: Attributes): void {
  const row = cellsOf(table, line);
  if (row === null)
    return decoding.warn('LW-DECODE-COLUMNS', `a row of ${table.columns.length} columns: ${quoted(line)}`);
  const attributes: Record<string, string> = { ...state };
  for (const [index, { field }] of table.columns.entries()) {
    const name = ATTRIBUTES[field] ?? '';
    const cell = row[index] ?? '';
    if (name !== '' && absentReason(cell) === null) attributes[name] = cell;
  }
  if (table.columns.some(({ field }) => field === 'retired_pages.address'))
    return decodeRetired(decoding, table, row, attributes);
  for (const [index, { field, unit }] of table.columns.entries()) {
    const measure = MEASURES[field];
    if (measure === undefined) continue;
    const reading = readQuantity(row[index] ?? '', unit ?? measure.unit);
    const of = { ...attributes, ...measure.attributes };
    if (reading.kind === 'value') decoding.sample(measure.metric, reading.value, of);
    else decoding.absent(measure.metric, of, reading.reason);
  }
}

function cellsOf(table: ProcessTable, line: string): readonly string[] | null {
  if (line.length > 65_536) return null;
  const cells = line.split(',').map((cell) => cell.trim());
  const extra = cells.length - table.columns.length;
  if (extra < 0 || (extra > 0 && table.free === -1)) return null;
  if (extra === 0) return cells;
  const name = cells.slice(table.free, table.free + extra + 1).join(', ');
  return [...cells.slice(0, table.free), name, ...cells.slice(table.free + extra + 1)];
}

function decodeRetired(decoding: Decoding, table: ProcessTable, row: readonly string[], attributes: Attributes): void {
  const cell = (field: string): string => row[table.columns.findIndex((column) => column.field === field)] ?? '';
  const cause = cell('retired_pages.cause').toLowerCase().replaceAll(' ', '_');
  const address = cell('retired_pages.address');
  const reason = absentReason(address);
  if (reason !== null) decoding.absent('hw.gpu.retired_page', { ...attributes, cause }, reason);
  else if (/^0x[0-9a-f]{1,16}$/i.test(address))
    decoding.sample('hw.gpu.retired_page', 1, { ...attributes, cause, address });
  else decoding.absent('hw.gpu.retired_page', { ...attributes, cause }, 'parse_error');
}
