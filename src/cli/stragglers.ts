import { ERRORS, EXIT, type ErrorCode, LeewayError } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { parseUsd } from '../core/money.ts';
import { parseRecord } from '../core/records.ts';
import { formatOf, readLines } from '../files/input.ts';
import { createStragglerDetector, type StragglerDetector } from '../straggler/detector.ts';
import type { StragglerIncident, StragglerReport } from '../straggler/report.ts';
import { type Arguments, type Command, defineCommand, type Terminal, usage } from './command.ts';

const NAME = 'stragglers';
const SEVERITIES = ['any', 'warn', 'page'] as const;

const options = {
  input: {
    type: 'string',
    about: 'records of events.md as NDJSON (.gz, .zst), - for standard input',
    value: 'FILE',
    multiple: true,
  },
  'gpu-usd-per-hour': { type: 'string', about: "price of one GPU hour; without it the job record's own", value: 'USD' },
  format: { type: 'string', about: 'table or json', value: 'FORMAT', default: 'table' },
  'fail-on': {
    type: 'string',
    about: 'exit 6 when there is an incident of this severity: any, warn, page',
    value: 'SEVERITY',
  },
  strict: { type: 'boolean', about: 'a record that cannot be read ends the command with exit 3' },
} as const;

type Rejected = { readonly path: string; readonly line: number; readonly code: string; readonly reason: string };
type Rejections = { readonly listed: Rejected[]; count: number };

/** `leeway stragglers`: slow ranks, nodes and input, job-wide slowdown and hangs in recorded training telemetry. */
export const command: Command = defineCommand({
  name: NAME,
  summary: 'find slow ranks, slow nodes, input stalls and hangs in training telemetry, with their cost',
  usage: 'stragglers --input FILE… [--gpu-usd-per-hour 2.50] [--format json] [--fail-on any]',
  examples: [
    'leeway stragglers --input events.ndjson --gpu-usd-per-hour 2.50',
    'zcat node-*.ndjson.gz | leeway stragglers --input - --format json --fail-on page',
  ],
  options,
  run,
});

async function run({ values, terminal }: Arguments<typeof options>): Promise<number> {
  const price = values['gpu-usd-per-hour'] ?? null;
  check(values.input, price, { format: values.format, failOn: values['fail-on'] });
  const detector = createStragglerDetector({ gpu_usd_per_hour: price });
  const rejected: Rejections = { listed: [], count: 0 };
  for (const path of values.input) await readInto(detector, path, { rejected, strict: values.strict, terminal });
  detector.finish();
  const report = detector.report();
  if (values.format === 'json')
    terminal.out(`${JSON.stringify({ ...report, rejected: rejected.listed, rejected_count: rejected.count })}\n`);
  else terminal.out(tableOf(report, rejected.count));
  return isFailure(report, values['fail-on']) ? EXIT.findings : EXIT.done;
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
  for (const path of inputs)
    if (formatOf(path) !== 'ndjson')
      throw new LeewayError(
        'LW-INPUT',
        `${path}: not telemetry this command reads; expected the records of events.md, one JSON object a line, in a file named .ndjson, .jsonl, .ndjson.gz or .ndjson.zst, or - for standard input`,
      );
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

function isFailure(report: StragglerReport, failOn: string | undefined): boolean {
  if (failOn === undefined) return false;
  return report.incidents.some((incident) => failOn !== 'page' || incident.severity === 'page');
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
  return `${lines.join('\n')}\n`;
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
