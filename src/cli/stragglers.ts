import { ERRORS, EXIT, type ErrorCode, LeewayError } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { parseUsd } from '../core/money.ts';
import { parseRecord } from '../core/parse-record.ts';
import { formatOf, readLines } from '../files/input.ts';
import { readTable } from '../files/table.ts';
import { createStragglerDetector, type StragglerDetector } from '../straggler/detector.ts';
import type { StragglerIncident, StragglerReport } from '../straggler/report.ts';
import { TRACE_COLUMNS, type TraceRow, traceParser } from '../straggler/trace-operation.ts';
import { analyseTrace, type WhatIfReport } from '../straggler/what-if.ts';
import { type Arguments, type Command, defineCommand, type Terminal, usage } from './command.ts';
import { printable } from './printable.ts';

const NAME = 'stragglers';
const SEVERITIES = ['any', 'warn', 'page'] as const;

const options = {
  input: {
    type: 'string',
    about: 'records of events.md as NDJSON, - for standard input; or one operator trace as CSV or Parquet',
    value: 'FILE',
    multiple: true,
  },
  'gpu-usd-per-hour': { type: 'string', about: "price of one GPU hour; without it the job record's own", value: 'USD' },
  format: { type: 'string', about: 'table or json', value: 'FORMAT', default: 'table' },
  'fail-on': {
    type: 'string',
    about: 'exit 6 when there is an incident of this severity: any, warn, page; 3 when nothing was watched',
    value: 'SEVERITY',
  },
  strict: { type: 'boolean', about: 'a record that cannot be read ends the command with exit 3' },
} as const;

type Rejected = { readonly path: string; readonly line: number; readonly code: string; readonly reason: string };
type Rejections = { readonly listed: Rejected[]; count: number };

/** Rows of an operator trace that are held: 100 bytes each. A thousand ranks record about 10,000 rows a step. */
const TRACE_ROWS_MAX = 5_000_000;

/** `leeway stragglers`: slow ranks, nodes and input, job-wide slowdown and hangs in recorded training telemetry. */
export const command: Command = defineCommand({
  name: NAME,
  summary: 'Finds slow ranks, slow nodes, input stalls and hangs in training telemetry, with their cost.',
  usage: 'stragglers --input FILE… [--gpu-usd-per-hour 2.50] [--format json] [--fail-on any]',
  examples: [
    'leeway stragglers --input events.ndjson --gpu-usd-per-hour 2.50',
    'leeway stragglers --input trace.parquet --format json',
    'zcat node-*.ndjson.gz | leeway stragglers --input - --format json --fail-on page',
  ],
  options,
  run,
});

async function run({ values, terminal }: Arguments<typeof options>): Promise<number> {
  const price = values['gpu-usd-per-hour'] ?? null;
  check(values.input, price, { format: values.format, failOn: values['fail-on'] });
  if (values.input.some((path) => formatOf(path) !== 'ndjson')) {
    const answer = await whatIf(values.input, terminal);
    terminal.out(values.format === 'json' ? `${JSON.stringify(answer)}\n` : traceTable(answer));
    return values['fail-on'] !== undefined && answer.verdict !== 'none' ? EXIT.findings : EXIT.done;
  }
  const detector = createStragglerDetector({ gpu_usd_per_hour: price });
  const rejected: Rejections = { listed: [], count: 0 };
  for (const path of values.input) await readInto(detector, path, { rejected, strict: values.strict, terminal });
  detector.finish();
  const report = detector.report();
  if (values.format === 'json')
    terminal.out(`${JSON.stringify({ ...report, rejected: rejected.listed, rejected_count: rejected.count })}\n`);
  else terminal.out(tableOf(report, rejected.count));
  return gate(report, values['fail-on'], rejected.count);
}

function check(
  inputs: readonly string[],
  price: string | null,
  words: { format: string; failOn: string | undefined },
): void {
  if (inputs.length === 0) throw usage(NAME, 'option --input FILE is required');
  if (price !== null && parseUsd(price) === null)
    throw usage(NAME, `option --gpu-usd-per-hour got "${price}", expected a decimal such as 2.50`);
  if (words.format !== 'json' && words.format !== 'table')
    throw usage(NAME, `option --format got "${words.format}", expected table or json`);
  if (words.failOn !== undefined && !SEVERITIES.some((severity) => severity === words.failOn))
    throw usage(NAME, `option --fail-on got "${words.failOn}", expected ${SEVERITIES.join(', ')}`);
  const formats = new Set(inputs.map(formatOf));
  if (formats.has(null) || (formats.has('ndjson') && formats.size > 1))
    throw new LeewayError(
      'LW-INPUT',
      `${inputs.join(', ')}: expected either records of events.md (.ndjson, .jsonl, -) or an operator trace (.csv, .parquet), not both; all also .gz or .zst`,
    );
}

/** Reads an operator trace, however divided into files, and replays it. */
async function whatIf(paths: readonly string[], terminal: Terminal): Promise<WhatIfReport> {
  const rows: TraceRow[] = [];
  for (const path of paths) {
    const reject = (rejected: { line: number; code: ErrorCode; reason: string }): never => {
      throw new LeewayError(rejected.code, `${path}:${rejected.line}: ${rejected.reason}`);
    };
    let row_count = 0;
    for await (const batch of readTable({ path, cwd: terminal.cwd, stdin: terminal.stdin }, reject)) {
      const parse = traceParser(batch.columns);
      if (typeof parse === 'string')
        throw new LeewayError(
          'LW-INPUT',
          `${path}: not an operator trace: ${parse}; expected columns ${TRACE_COLUMNS.join(', ')}`,
        );
      for (const cells of batch.rows) {
        const row = parse(cells);
        if (typeof row === 'string') throw new LeewayError('LW-INPUT', `${path}: data row ${row_count}: ${row}`);
        row_count++;
        rows.push(row);
        if (rows.length > TRACE_ROWS_MAX)
          throw new LeewayError(
            'LW-INPUT',
            `${path}: more than ${TRACE_ROWS_MAX} operations; pass fewer steps of the trace`,
          );
      }
    }
  }
  const report = analyseTrace(rows);
  if (typeof report === 'string')
    throw new LeewayError(
      'LW-INPUT',
      `${paths.join(', ')}: the trace cannot be replayed: ${report}; record whole steps of all ranks`,
    );
  return report;
}

function traceTable(report: WhatIfReport): string {
  const { trace, what_if, verdict, workers } = report;
  const share = (value: number | null): string => (value === null ? '-' : percent(value));
  return [
    `${trace.operations} operations, ${trace.steps} steps, ${trace.dp} data-parallel ranks × ${trace.stages} stages`,
    `slowdown ×${what_if.slowdown.toFixed(4)} against a run without stragglers: ${verdict}`,
    `explained by the slowest 3 % of workers ${share(what_if.m_w)}, by the last stage ${share(what_if.m_s)}`,
    ...what_if.by_stage.map((slowdown, stage) => `stage ${stage}: ×${slowdown.toFixed(4)}`),
    ...workers.map(
      (worker) => `slow worker: data-parallel rank ${worker.dp}, stage ${worker.stage}, ×${worker.slowdown.toFixed(4)}`,
    ),
    '',
  ].join('\n');
}

async function readInto(
  detector: StragglerDetector,
  path: string,
  context: { rejected: Rejections; strict: boolean; terminal: Terminal },
): Promise<void> {
  for await (const line of readLines({ path, cwd: context.terminal.cwd, stdin: context.terminal.stdin })) {
    if (line.text.trim() === '') continue;
    const outcome = parseRecord(line.text);
    if (outcome.kind === 'ok') {
      detector.observe(outcome.value);
      continue;
    }
    const { code, reason } = outcome;
    if (context.strict)
      throw new LeewayError(codeOf(code), `${path}:${line.line}: ${reason}; correct the record or leave out --strict`);
    context.rejected.count++;
    if (context.rejected.listed.length < LIMITS.rejected_listed_max)
      context.rejected.listed.push({ path, line: line.line, code, reason });
  }
}

function codeOf(code: string): ErrorCode {
  return isErrorCode(code) ? code : 'LW-INPUT';
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERRORS, code);
}

/** The exit code; under `--fail-on` records that tell of no job pass no gate: LW-INPUT, exit 3. */
function gate(report: StragglerReport, failOn: string | undefined, rejected_count: number): number {
  if (failOn === undefined) return EXIT.done;
  if (report.jobs.length === 0)
    throw new LeewayError(
      'LW-INPUT',
      `no training records found (${rejected_count} rejected), expected job, step or collective records of events.md; ` +
        'nothing is known of stragglers, --format json lists what was rejected',
    );
  const found = report.incidents.some((incident) => failOn !== 'page' || incident.severity === 'page');
  return found ? EXIT.findings : EXIT.done;
}

function tableOf(report: StragglerReport, rejected_count: number): string {
  const lines: string[] = [];
  for (const job of report.jobs)
    lines.push(
      `job ${job.job}: ${job.ranks} ranks, ${job.steps} steps, median ${job.median_step_ms?.toFixed(1) ?? '?'} ms, ` +
        `${job.gpu_seconds_lost.toFixed(1)} of ${job.gpu_seconds.toFixed(1)} GPU-seconds lost${money(job.usd_lost)}, ` +
        `${percent(job.coverage_ratio)} of records seen: ${job.verdict}${job.reason === null ? '' : ` (${job.reason})`}`,
    );
  if (report.incidents.length > 0) lines.push('', ...columns([HEADER, ...report.incidents.map(rowOf)]));
  for (const insight of report.insights)
    lines.push(
      `insight ${insight.kind} in ${insight.job}: ${insight.subjects.map((subject) => `${subject.type} ${subject.id}`).join(', ')}, ` +
        `×${insight.slowdown_ratio.toFixed(2)}, ${insight.gpu_seconds_lost.toFixed(1)} GPU-seconds`,
    );
  if (rejected_count > 0) lines.push(`${rejected_count} records rejected; --format json lists them`);
  if (report.jobs.length === 0) lines.push('no training records found');
  return printable(`${lines.join('\n')}\n`);
}

const HEADER = ['SEVERITY', 'KIND', 'SUBJECT', 'CAUSE', 'SLOWER', 'STEPS', 'GPU-SECONDS', 'USD'];

function rowOf(incident: StragglerIncident): string[] {
  return [
    incident.severity,
    incident.kind,
    incident.subjects.map((subject) => `${subject.type} ${subject.id}`).join(', '),
    incident.cause,
    incident.slowdown_ratio === null ? '-' : percent(incident.slowdown_ratio - 1),
    `${incident.started_step}–${incident.cleared_step ?? ''}`,
    incident.gpu_seconds_lost.toFixed(1),
    incident.usd_lost ?? '-',
  ];
}

function columns(rows: readonly (readonly string[])[]): string[] {
  const widths = HEADER.map((_, index) => Math.max(...rows.map((row) => row[index]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, index) => cell.padEnd(widths[index] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

function percent(ratio: number): string {
  return `${(100 * ratio).toFixed(1)} %`;
}

function money(usd: string | null): string {
  return usd === null ? '' : ` (${usd} USD)`;
}
