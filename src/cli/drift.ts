import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { systemClock } from '../core/clock.ts';
import { EXIT, LeewayError, systemCode } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { COLUMN_KINDS, type ColumnKind } from '../drift/column-kind.ts';
import type { Severity } from '../drift/compare-column.ts';
import { compareSets, SetLearner, type SetOptions, type SetsReport, SideCounter } from '../drift/compare-sets.ts';
import type { InputPlace } from '../files/input.ts';
import { type RejectedRecord, readTable, spooled, type TableBatch } from '../files/table.ts';
import { type Command, defineCommand, nearest, type Terminal, usage } from './command.ts';
import { printable } from './printable.ts';

/** Levels that --fail-on takes; `any` = small. */
const FAIL_LEVELS: Readonly<Record<string, readonly Severity[]>> = {
  any: ['small', 'medium', 'large'],
  small: ['small', 'medium', 'large'],
  medium: ['medium', 'large'],
  large: ['large'],
};

const sets = defineCommand({
  name: 'drift',
  summary: 'Compares two data sets, column by column: what drifted, how far, where.',
  usage: 'drift --reference REF... --current CUR... [options]',
  examples: [
    'leeway drift --reference train.parquet --current week-46.csv --explain',
    'leeway drift --reference jan.ndjson feb.ndjson --current mar.ndjson.gz --segment region --format json --fail-on any',
  ],
  options: {
    reference: { type: 'string', value: 'FILE', multiple: true, about: 'what the data should look like (required)' },
    current: { type: 'string', value: 'FILE', multiple: true, about: 'the data to judge; - reads NDJSON (required)' },
    columns: { type: 'string', value: 'a,b', about: 'only these columns' },
    exclude: { type: 'string', value: 'c,d', multiple: true, about: 'not these columns' },
    types: { type: 'string', value: 'FILE', about: `JSON {"column": "${COLUMN_KINDS.join('|')}"}, else inferred` },
    segment: { type: 'string', value: 'COLUMN', about: 'compare within each value of this column too' },
    fdr: { type: 'string', value: 'RATIO', default: '0.05', about: 'false discovery rate over the columns' },
    exact: { type: 'boolean', about: 'statistics from raw rows (memory grows with them), as scipy defines them' },
    explain: { type: 'boolean', about: 'which bins and categories moved' },
    strict: { type: 'boolean', about: 'a bad record ends the command' },
    format: { type: 'string', value: 'json|table', default: 'table', about: 'output' },
    'fail-on': {
      type: 'string',
      value: 'LEVEL',
      about: 'exit 6 on drift of at least any, small, medium or large, 3 when nothing was compared',
    },
  },
  positionals_max: 1,
  run: async ({ values, positionals, terminal }) => {
    if (positionals[0] !== undefined) throw usage('drift', `unexpected argument "${positionals[0]}"`);
    if (values.reference.length === 0) throw usage('drift', 'option --reference FILE is required');
    if (values.current.length === 0) throw usage('drift', 'option --current FILE is required');
    const fail_on = oneOf('fail-on', values['fail-on'] ?? null, Object.keys(FAIL_LEVELS));
    const format = oneOf('format', values.format, ['json', 'table']);
    if ([...values.reference, ...values.current].filter((path) => path === '-').length > 1)
      throw usage('drift', 'standard input can be read once only');
    const options: SetOptions = {
      exact: values.exact,
      fdr: ratioOf('fdr', values.fdr),
      segment: values.segment ?? null,
      columns: values.columns === undefined ? null : new Set(names([values.columns])),
      exclude: new Set(names(values.exclude)),
      types: values.types === undefined ? new Map() : await readTypes(values.types, terminal.cwd),
    };
    const started_ms = systemClock.elapsed_ms();
    const rejects = new Rejects(values.strict);
    const report = await compare({ reference: values.reference, current: values.current }, options, {
      terminal,
      rejects,
    });
    const duration_ms = Math.round(systemClock.elapsed_ms() - started_ms);
    terminal.out(
      format === 'json'
        ? `${JSON.stringify(document(report, { exact: options.exact, explain: values.explain, duration_ms, rejects }))}\n`
        : table(report, { explain: values.explain, color: terminal.color, rejected: rejects.count }),
    );
    return fail_on === null ? EXIT.done : gate(report, FAIL_LEVELS[fail_on] ?? []);
  },
});

/**
 * The exit code under `--fail-on`. A comparison of nothing passes no gate: LW-INPUT, exit 3. A column that the current
 * data lack is a finding at every level, as one without a value is.
 */
function gate({ features, dataset, rows }: SetsReport, failing: readonly Severity[]): number {
  if (dataset.features_tested === 0) {
    const reasons = [...new Set(features.map(({ reason }) => reason))].join(', ');
    throw new LeewayError(
      'LW-INPUT',
      `no column was compared (${reasons === '' ? 'there is none' : reasons}): ${rows.reference} reference rows, ` +
        `${rows.current} current rows, expected a column with enough rows in both; nothing is known of drift`,
    );
  }
  const found = features.some(({ severity, reason }) => failing.includes(severity) || reason === 'column_missing');
  return found ? EXIT.findings : EXIT.done;
}

/** `leeway drift`. Its second form has options of its own, so it is told apart before they are read. */
export const command: Command = {
  ...sets,
  run: async (argv, terminal) => {
    if (argv[0] === 'stream')
      throw usage('drift', '"drift stream" is not in this version; compare two files with --reference and --current');
    return sets.run(argv, terminal);
  },
};

type Context = { readonly terminal: Terminal; readonly rejects: Rejects };
type Inputs = { readonly reference: readonly string[]; readonly current: readonly string[] };

/** Two passes over the reference (learn, count), one over the current data. */
async function compare(inputs: Inputs, options: SetOptions, context: Context): Promise<SetsReport> {
  await using places = await placesOf(inputs.reference, context.terminal);
  const learner = new SetLearner(options);
  await readAll(places.list, context.rejects, (batch) => learner.add(batch));
  const plan = learner.plan();
  requireKnown(options, plan.columns.keys(), context.rejects.columns);
  const reference = new SideCounter(plan, options);
  await readAll(places.list, new Rejects(false), (batch) => reference.add(batch));
  const current = new SideCounter(plan, options);
  const { cwd, stdin } = context.terminal;
  await readAll(
    inputs.current.map((path) => ({ path, cwd, stdin })),
    context.rejects,
    (batch) => current.add(batch),
  );
  return compareSets(plan, { reference, current }, options);
}

async function placesOf(
  paths: readonly string[],
  { cwd, stdin }: Terminal,
): Promise<{ list: readonly InputPlace[] } & AsyncDisposable> {
  const stack = new AsyncDisposableStack();
  const list: InputPlace[] = [];
  for (const path of paths)
    list.push(path === '-' ? stack.use(await spooled({ path, cwd, stdin })).place : { path, cwd, stdin });
  return { list, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

async function readAll(
  places: readonly InputPlace[],
  rejects: Rejects,
  add: (batch: TableBatch) => void,
): Promise<void> {
  for (const place of places)
    for await (const batch of readTable(place, (record) => rejects.add(record))) {
      for (const name of batch.columns) rejects.columns.add(name);
      add(batch);
    }
}

/** Bad records: the first hundred, and how many in all. */
class Rejects {
  readonly #strict: boolean;
  readonly listed: RejectedRecord[] = [];
  /** All columns met, so that a misspelt option can be told from an absent column. */
  readonly columns = new Set<string>();
  count = 0;

  constructor(strict: boolean) {
    this.#strict = strict;
  }

  add(record: RejectedRecord): void {
    if (this.#strict)
      throw new LeewayError(
        record.code,
        `${record.path}: line ${record.line}: ${record.reason}; without --strict it is skipped`,
      );
    this.count += 1;
    if (this.listed.length < LIMITS.rejected_listed_max) this.listed.push(record);
  }
}

function requireKnown(options: SetOptions, planned: Iterable<string>, met: ReadonlySet<string>): void {
  const known = new Set([...planned, ...met].flatMap((name) => [name, name.replace(/\[\d+\]$/, '')]));
  const asked = [...(options.columns ?? []), ...options.exclude, ...options.types.keys()];
  for (const name of options.segment === null ? asked : [...asked, options.segment]) {
    if (known.has(name)) continue;
    const closest = nearest(name, [...known]);
    throw usage(
      'drift',
      `the reference has no column "${name}"${closest === null ? '' : `, did you mean "${closest}"?`}`,
    );
  }
}

function oneOf(option: string, value: string | null, allowed: readonly string[]): string | null {
  if (value !== null && !allowed.includes(value))
    throw usage('drift', `option --${option} got "${value}", expected one of ${allowed.join(', ')}`);
  return value;
}

function ratioOf(option: string, text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value > 0 && value < 1))
    throw usage('drift', `option --${option} got "${text}", expected a number between 0 and 1`);
  return value;
}

function names(texts: readonly string[]): string[] {
  return texts
    .flatMap((text) => text.split(','))
    .map((name) => name.trim())
    .filter((name) => name !== '');
}

async function readTypes(path: string, cwd: string): Promise<Map<string, ColumnKind>> {
  const fail = (what: string, cause?: unknown) => new LeewayError('LW-INPUT', `${path}: ${what}`, { cause });
  let value: unknown;
  try {
    value = JSON.parse(await readFile(resolve(cwd, path), 'utf8'));
  } catch (error) {
    throw fail(
      systemCode(error) === 'ENOENT' ? 'no such file' : 'cannot be read as JSON, expected {"column": "kind"}',
      error,
    );
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw fail('expected an object {"column": "kind"}');
  return new Map(
    Object.entries(value).map(([name, kind]): [string, ColumnKind] => {
      const known = COLUMN_KINDS.find((candidate) => candidate === kind);
      if (known === undefined)
        throw fail(`column "${name}": got ${JSON.stringify(kind)}, expected one of ${COLUMN_KINDS.join(', ')}`);
      return [name, known];
    }),
  );
}

type DocumentOptions = {
  readonly exact: boolean;
  readonly explain: boolean;
  readonly duration_ms: number;
  readonly rejects: Rejects;
};

function document(report: SetsReport, options: DocumentOptions): Record<string, unknown> {
  return {
    version: 1,
    rows: report.rows,
    mode: options.exact ? 'exact' : 'binned',
    dataset: report.dataset,
    features: report.features.map(({ contributions, ...feature }) => ({
      name: feature.name,
      kind: feature.kind,
      drifted: feature.drifted,
      p_value: feature.p_value,
      q_value: feature.q_value,
      severity: feature.severity,
      reason: feature.reason,
      statistics: feature.statistics,
      missing: feature.missing,
      unseen_ratio: feature.unseen_ratio,
      contributions: options.explain ? contributions : [],
    })),
    segments: report.segments,
    rejected: options.rejects.listed,
    rejected_count: options.rejects.count,
    duration_ms: options.duration_ms,
  };
}

type TableOptions = { readonly explain: boolean; readonly color: boolean; readonly rejected: number };

function table(report: SetsReport, options: TableOptions): string {
  const { dataset, rows } = report;
  const lines = [
    `${dataset.features_drifted} of ${dataset.features_tested} tested columns drifted ` +
      `(false discovery rate ${dataset.fdr}); ${rows.reference} reference rows, ${rows.current} current rows`,
    '',
    ...aligned([
      ['COLUMN', 'KIND', 'DRIFT', 'Q-VALUE', 'PSI', 'KS / CHI2', 'MISSING'],
      ...report.features.map(featureRow),
    ]),
  ];
  if (options.color)
    report.features.forEach((feature, index) => {
      if (feature.drifted) lines[index + 3] = `\u001b[33m${lines[index + 3]}\u001b[0m`;
    });
  if (options.explain) lines.push(...explained(report));
  if (report.segments.length > 0) {
    const cells = report.segments.map((item) => [
      item.column,
      item.value,
      String(item.features_drifted),
      String(item.rows),
    ]);
    lines.push('', ...aligned([['SEGMENT', 'VALUE', 'DRIFTED', 'ROWS'], ...cells]));
  }
  if (options.rejected > 0) lines.push('', `${options.rejected} bad records skipped; --format json lists them`);
  return `${lines.join('\n')}\n`;
}

function featureRow(feature: SetsReport['features'][number]): string[] {
  const { statistics, missing } = feature;
  const main = statistics['ks'] ?? statistics['chi2'];
  const percent = (ratio: number | null): string => (ratio === null ? '-' : `${(100 * ratio).toFixed(1)}%`);
  return [
    feature.name,
    feature.kind ?? '-',
    feature.reason ?? feature.severity,
    short(feature.q_value),
    short(statistics['psi']?.['debiased']),
    short(main?.['value']),
    missing.reference === missing.current
      ? percent(missing.current)
      : `${percent(missing.reference)} > ${percent(missing.current)}`,
  ];
}

function explained(report: SetsReport): string[] {
  return report.features
    .filter((feature) => feature.drifted)
    .flatMap((feature) => {
      const top = feature.contributions.toSorted((a, b) => b.psi_term - a.psi_term).slice(0, 5);
      const cells = top.map((item) => [
        item.bin,
        short(item.reference_ratio),
        short(item.current_ratio),
        short(item.psi_term),
      ]);
      return [
        '',
        printable(`${feature.name}: where it moved`),
        ...aligned([['BIN', 'REFERENCE', 'CURRENT', 'PSI TERM'], ...cells]),
      ];
    });
}

function short(value: number | string | null | undefined): string {
  return typeof value === 'number' ? String(Number(value.toPrecision(3))) : '-';
}

function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  return rows.map((row) =>
    row
      .map((cell, column) => printable(cell).padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
