import type { MetricName } from '../core/catalog.ts';
import { type Attributes, Decoding, type DecodeResult, notDecodable, quoted } from './decode-result.ts';
import { isErrorLine, linesOf, type Section, sectionsOf, stateOf } from './nvidia-smi-capture.ts';
import { gpusOfCapture } from './nvidia-smi-list.ts';
import { absentReason, readQuantity } from './quantity.ts';

type Measure = {
  readonly metric: MetricName;
  readonly unit: string;
  readonly attributes: Attributes;
  readonly mig: boolean;
};
type Tool = {
  readonly command: RegExp;
  readonly what: string;
  readonly measures: Readonly<Record<string, Measure>>;
  readonly texts: readonly string[];
};

function measure(metric: MetricName, unit: string, attributes: Attributes = {}): Measure {
  return { metric, unit, attributes, mig: unit === '%' };
}

function tasks(metric: MetricName): Record<string, Measure> {
  const names = { sm: 'general', enc: 'encoder', dec: 'decoder', jpg: 'jpeg', ofa: 'ofa' };
  return Object.fromEntries(
    Object.entries(names).map(([column, task]) => [column, measure(metric, '%', { 'hw.gpu.task': task })]),
  );
}

const PMON: Tool = {
  command: /\bpmon\b/,
  what: 'nvidia-smi pmon',
  texts: ['pid', 'type', 'command'],
  measures: {
    ...tasks('process.gpu.utilization'),
    mem: measure('process.gpu.memory.controller.utilization', '%'),
    fb: measure('process.gpu.memory.usage', 'MiB'),
  },
};

const DMON: Tool = {
  command: /\bdmon\b/,
  what: 'nvidia-smi dmon',
  texts: [],
  measures: {
    ...tasks('hw.gpu.utilization'),
    mem: measure('hw.gpu.memory.controller.utilization', '%'),
    pwr: measure('hw.power', 'W'),
    gtemp: measure('hw.temperature', 'C', { 'hw.sensor_location': 'gpu' }),
    mtemp: measure('hw.temperature', 'C', { 'hw.sensor_location': 'memory' }),
    mclk: measure('hw.gpu.speed', 'MHz', { clock_domain: 'memory' }),
    pclk: measure('hw.gpu.speed', 'MHz', { clock_domain: 'sm' }),
    fb: measure('hw.gpu.memory.usage', 'MiB'),
    bar1: measure('hw.gpu.bar1.usage', 'MiB'),
    sbecc: measure('hw.errors', '', { 'hw.type': 'gpu', 'error.type': 'corrected', 'ecc.scope': 'aggregate' }),
    dbecc: measure('hw.errors', '', { 'hw.type': 'gpu', 'error.type': 'uncorrected', 'ecc.scope': 'aggregate' }),
    pci: measure('hw.errors', '', { 'hw.type': 'gpu', 'error.type': 'pcie_replay' }),
  },
};

/** `nvidia-smi pmon`: engine shares by process, one reading an iteration (attribute `reading`, 0-based). */
export function decodeNvidiaSmiPmon(text: string): DecodeResult {
  return decodeMonitor(text, PMON);
}

/** `nvidia-smi dmon`: power, temperatures, engine shares and clocks by GPU, one reading an iteration. */
export function decodeNvidiaSmiDmon(text: string): DecodeResult {
  return decodeMonitor(text, DMON);
}

type Column = { readonly name: string; readonly unit: string };

function decodeMonitor(text: string, tool: Tool): DecodeResult {
  const decoding = new Decoding();
  const mig = new Set(gpusOfCapture(text).flatMap((gpu) => (gpu.mig.length > 0 ? [gpu.index] : [])));
  let understood = false;
  for (const section of sectionsOf(text, tool.command, tool.what))
    understood = decodeSection(decoding, section, { tool, mig }) || understood;
  if (!understood) throw notDecodable(`no header line of ${tool.what}`, '"# gpu …" with its units below');
  return decoding.result();
}

function decodeSection(
  decoding: Decoding,
  section: Section,
  context: { tool: Tool; mig: ReadonlySet<string> },
): boolean {
  const state = stateOf(section);
  const readings = new Map<string, number>();
  let columns: readonly Column[] | null = null;
  let understood = false;
  for (const line of linesOf(section.body)) {
    if (line.trim() === '') continue;
    if (line.trimStart().startsWith('#')) columns = headerLine(columns, line.trim().slice(1)) ?? columns;
    else if (columns === null) understood = isErrorLine(decoding, line, state) || understood;
    else decodeRow(decoding, columns, line, { ...context, state, readings });
    if (columns !== null && !understood) {
      understood = true;
      warnUnknown(decoding, columns, context.tool);
    }
  }
  return understood;
}

/** The first `#` line names the columns, the second their units; both are read by word, never by position in the line. */
function headerLine(columns: readonly Column[] | null, text: string): readonly Column[] | null {
  const words = text.trim().split(/\s+/);
  if (words[0]?.toLowerCase() === 'gpu')
    return words.slice(0, 200).map((word) => ({ name: word.toLowerCase(), unit: '' }));
  if (columns === null || words.length !== columns.length) return columns;
  return columns.map((column, index) => ({ ...column, unit: words[index] ?? '' }));
}

function warnUnknown(decoding: Decoding, columns: readonly Column[], tool: Tool): void {
  for (const { name } of columns)
    if (name !== 'gpu' && !tool.texts.includes(name) && !Object.hasOwn(tool.measures, name))
      decoding.warn('LW-DECODE-UNKNOWN-FIELD', `column ${name.slice(0, 40)} of ${tool.what}`);
}

type Row = {
  readonly tool: Tool;
  readonly mig: ReadonlySet<string>;
  readonly state: Attributes;
  readonly readings: Map<string, number>;
};

function decodeRow(decoding: Decoding, columns: readonly Column[], line: string, context: Row): void {
  const cells = rowCells(columns, line);
  if (cells === null) {
    if (!isErrorLine(decoding, line, context.state)) decoding.warn('LW-DECODE-COLUMNS', quoted(line));
    return;
  }
  const cell = (name: string): string => cells[columns.findIndex((column) => column.name === name)] ?? '-';
  const gpu = cell('gpu');
  if (!/^\d{1,6}$/.test(gpu)) return decoding.warn('LW-DECODE-LINE', quoted(line));
  const isProcess = context.tool === PMON;
  if (isProcess && absentReason(cell('pid')) !== null) return;
  const owner = isProcess ? `${gpu}/${cell('pid')}/${cell('type')}` : gpu;
  const reading = context.readings.get(owner) ?? 0;
  context.readings.set(owner, reading + 1);
  const process = { 'process.pid': cell('pid'), 'process.name': cell('command'), 'process.type': cell('type') };
  const attributes = { gpu, ...(isProcess ? process : {}), reading: String(reading), ...context.state };
  for (const [index, column] of columns.entries()) {
    const found = Object.hasOwn(context.tool.measures, column.name) ? context.tool.measures[column.name] : undefined;
    if (found !== undefined)
      decodeMonitorCell(
        decoding,
        { found, unit: column.unit, text: cells[index] ?? '' },
        attributes,
        context.mig.has(gpu),
      );
  }
}

/** Cells of a row; a process name is the last column and may hold blanks. */
function rowCells(columns: readonly Column[], line: string): readonly string[] | null {
  if (line.length > 65_536) return null;
  const words = line.trim().split(/\s+/);
  const free = columns.at(-1)?.name === 'command';
  if (words.length === columns.length) return words;
  if (!free || words.length < columns.length) return null;
  return [...words.slice(0, columns.length - 1), words.slice(columns.length - 1).join(' ')];
}

/** The header's `MB` of frame-buffer columns is MiB: the tool divides by 2^20. */
function decodeMonitorCell(
  decoding: Decoding,
  cell: { readonly found: Measure; readonly unit: string; readonly text: string },
  attributes: Attributes,
  mig: boolean,
): void {
  const { found, text } = cell;
  const of = { ...attributes, ...found.attributes };
  const stated =
    found.unit === '' || (found.unit === 'MiB' && cell.unit === 'MB') || cell.unit === '' ? found.unit : cell.unit;
  const reading =
    stated === found.unit ? readQuantity(text, found.unit) : readQuantity(`${text} ${stated}`, found.unit);
  const reason = absentReason(text);
  if (reason !== null)
    decoding.absent(found.metric, of, mig && found.mig && reason === 'unsupported' ? 'mig_unsupported' : reason);
  else if (reading.kind === 'value') decoding.sample(found.metric, reading.value, of);
  else decoding.absent(found.metric, of, reading.reason);
}
