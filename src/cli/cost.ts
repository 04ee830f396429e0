import { resolve } from 'node:path';
import { EXIT, LeewayError } from '../core/errors.ts';
import { CostIntake } from '../cost/intake.ts';
import { costLedger, type Ledger, type LedgerOptions } from '../cost/ledger.ts';
import { type FocusVersion, focusLines } from '../cost/focus.ts';
import { ledgerDocument, REJECTED_MAX } from '../cost/document.ts';
import type { Rejection } from '../cost/record.ts';
import { recordOfCells } from '../cost/from-cells.ts';
import { formatOf, type InputPlace, readLines, writeWhole } from '../files/input.ts';
import { readTable } from '../files/table.ts';
import { defineCommand, type Terminal, usage } from './command.ts';
import { costTable } from './cost-table.ts';
import { printable } from './printable.ts';

export const command = defineCommand({
  name: 'cost',
  summary: 'Exact cost ledger of GPUs from prices, claims and usage: who pays what, what was idle, FOCUS export.',
  usage: 'cost --input FILE… [--from T] [--to T] [--group-by team,model] [--focus OUT.csv]',
  examples: [
    'leeway cost --input records.ndjson --from 2026-01-01T00:00:00Z --to 2026-02-01T00:00:00Z --group-by team',
    'leeway cost --input prices.ndjson claims.ndjson.gz --format json --focus january.csv --focus-version 1.3',
  ],
  options: {
    input: {
      type: 'string',
      multiple: true,
      value: 'FILE',
      about: 'money records: NDJSON, CSV or parquet; - is NDJSON on standard input',
    },
    from: { type: 'string', value: 'T', about: 'first hour reported, ISO 8601 or Unix ms, on a UTC hour' },
    to: { type: 'string', value: 'T', about: 'end of the hours reported, exclusive; ends assets that are still open' },
    'group-by': {
      type: 'string',
      value: 'KEYS',
      about: 'tenant keys to keep, such as team,model; the rest is added up',
    },
    focus: { type: 'string', value: 'OUT.csv', about: 'also write a FOCUS cost and usage file' },
    'focus-version': { type: 'string', value: '1.2|1.3', about: 'version of the FOCUS file', default: '1.2' },
    format: { type: 'string', value: 'table|json', about: 'what is printed', default: 'table' },
    strict: { type: 'boolean', about: 'fail on the first rejected record instead of leaving it out' },
  },
  run: async ({ values, terminal }) => {
    if (values.input.length === 0) throw usage('cost', 'option --input FILE is required');
    if (values.format !== 'json' && values.format !== 'table')
      throw usage('cost', `--format ${values.format} is unknown, expected json or table`);
    const version = focusVersion(values['focus-version']);
    const options = ledgerOptions(values);
    const ledger = costLedger(await intakeOfFiles(values.input, terminal), options);
    const rejected = inOrderOf(values.input, ledger.rejected);
    if (values.strict) refuseAny(rejected);
    if (values.focus !== undefined) await writeFocus(resolve(terminal.cwd, values.focus), ledger, version);
    if (values.format === 'json') terminal.out(`${JSON.stringify(ledgerDocument({ ...ledger, rejected }))}\n`);
    else terminal.out(printable(costTable(ledger)));
    if (values.format !== 'json') reportRejected(rejected, terminal);
    return EXIT.done;
  },
});

async function intakeOfFiles(paths: readonly string[], terminal: Terminal): Promise<CostIntake> {
  for (const path of paths)
    if (formatOf(path) === null)
      throw usage(
        'cost',
        `${path} has an unknown format, expected .ndjson, .jsonl, .csv, .parquet (also .gz, .zst) or -`,
      );
  const intake = new CostIntake();
  for (const path of paths) await readInto(intake, { path, cwd: terminal.cwd, stdin: terminal.stdin });
  return intake;
}

async function readInto(intake: CostIntake, place: InputPlace): Promise<void> {
  const { path } = place;
  if (formatOf(path) === 'ndjson') {
    for await (const { text, line } of readLines(place)) {
      intake.addLine(text, { path, line });
    }
    return;
  }
  let row = 0; // data rows; the header of a CSV file is line 1
  for await (const batch of readTable(place, ({ line, reason }) => intake.refuse({ path, line }, reason))) {
    for (const cells of batch.rows) intake.addValue(recordOfCells(batch.columns, cells), { path, line: ++row + 1 });
  }
}

function focusVersion(text: string): FocusVersion {
  if (text !== '1.2' && text !== '1.3') throw usage('cost', `--focus-version ${text} is unknown, expected 1.2 or 1.3`);
  return text;
}

function ledgerOptions(values: {
  readonly from: string | undefined;
  readonly to: string | undefined;
  readonly 'group-by': string | undefined;
}): LedgerOptions {
  const keys = values['group-by']?.split(',').map((key) => key.trim());
  if (keys?.some((key) => key === '') === true)
    throw usage('cost', `--group-by ${values['group-by']} has an empty key, expected keys such as team,model`);
  return {
    ...(values.from === undefined ? {} : { from_ms: timeOption('from', values.from) }),
    ...(values.to === undefined ? {} : { to_ms: timeOption('to', values.to) }),
    ...(keys === undefined ? {} : { group_by: keys }),
  };
}

const ISO = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?)?$/;

/** ISO 8601 (without a zone: UTC) or Unix milliseconds. */
function timeOption(name: string, text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  const zoned = /T/.test(text) && !/(Z|[+-]\d{2}:\d{2})$/.test(text) ? `${text}Z` : text;
  const at_ms = ISO.test(text) ? Date.parse(zoned) : Number.NaN;
  if (Number.isNaN(at_ms))
    throw usage('cost', `--${name} ${text} is no time, expected ISO 8601 such as 2026-01-01T00:00:00Z or Unix ms`);
  return at_ms;
}

function inOrderOf(paths: readonly string[], rejected: readonly Rejection[]): Rejection[] {
  return [...rejected].sort((a, b) => paths.indexOf(a.path) - paths.indexOf(b.path) || a.line - b.line);
}

function refuseAny(rejected: readonly Rejection[]): void {
  const [first] = rejected;
  if (first === undefined) return;
  const more = rejected.length > 1 ? ` (and ${rejected.length - 1} more)` : '';
  throw new LeewayError(
    first.code,
    `${first.path}:${first.line}: ${first.reason}${more}; correct it or leave out --strict`,
  );
}

function reportRejected(rejected: readonly Rejection[], terminal: Terminal): void {
  for (const { path, line, code, reason } of rejected.slice(0, REJECTED_MAX))
    terminal.err(printable(`rejected[${code}]: ${path}:${line}: ${reason}\n`));
  if (rejected.length > REJECTED_MAX) terminal.err(`… and ${rejected.length - REJECTED_MAX} more rejected\n`);
}

/** Lines a buffer: keeps the pieces large enough to join cheaply, small enough not to double the memory of the text. */
const LINES_A_PIECE = 10_000;

async function writeFocus(path: string, ledger: Ledger, version: FocusVersion): Promise<void> {
  const pieces: Buffer[] = [];
  let lines: string[] = [];
  for (const line of focusLines(ledger, version)) {
    lines.push(line);
    if (lines.length < LINES_A_PIECE) continue;
    pieces.push(Buffer.from(lines.join('')));
    lines = [];
  }
  pieces.push(Buffer.from(lines.join('')));
  await writeWhole(path, Buffer.concat(pieces));
}
