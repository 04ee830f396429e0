import { access, readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { lintDashboard } from '../../dashboards/lint.ts';
import { loadRules, readRules } from '../compose/alerting.ts';
import { costRecords } from '../compose/cost-files.ts';
import { loadConfig, type LoadedConfig } from '../config.ts';
import { unreadableFiles } from '../config/named-files.ts';
import { openSqliteControl } from '../control/sqlite.ts';
import { systemClock } from '../core/clock.ts';
import { type ErrorCode, type ErrorDetail, EXIT, LeewayError, systemCode } from '../core/errors.ts';
import { isPlainObject } from '../core/schema-check.ts';
import { INSTALLATION } from '../discover.ts';
import { parseRules } from '../incident/rules.ts';
import { verifyAudit } from '../pipeline/audit.ts';
import { readTokens } from '../server/tokens.ts';
import { defineCommand, usage } from './command.ts';

/** What a check found: how much it looked at, in words, and everything that is wrong. */
type Verdict = { readonly seen: string; readonly errors: readonly Problem[] };
type Problem = ErrorDetail & { readonly code: ErrorCode };
type Subject = (loaded: LoadedConfig) => Promise<Verdict>;

const SUBJECTS: Readonly<Record<string, Subject>> = {
  config: checkConfig,
  rules: checkRules,
  dashboards: () => checkDashboards(join(INSTALLATION, 'dashboards')),
  audit: checkAudit,
};

/** Validates what the service would use, without starting it: exit 3 with every error. */
export const command = defineCommand({
  name: 'check',
  summary: 'Validates configuration, rules or dashboards, or verifies the audit log; exit 3 with every error.',
  usage: 'check config|rules|dashboards|audit [--config FILE] [--format json]',
  examples: ['leeway check config --config leeway.config.json', 'leeway check audit'],
  options: {
    config: { type: 'string', value: 'FILE', about: 'configuration; without it leeway.config.json where it exists' },
    format: { type: 'string', value: 'FORMAT', about: 'text or json', default: 'text' },
  },
  positionals_max: 1,
  run: async ({ values, positionals, terminal }) => {
    const name = positionals[0] ?? '';
    const subject = Object.hasOwn(SUBJECTS, name) ? SUBJECTS[name] : undefined;
    if (subject === undefined) throw usage('check', `expected ${Object.keys(SUBJECTS).join(', ')}, got "${name}"`);
    if (values.format !== 'text' && values.format !== 'json')
      throw usage('check', `unknown format "${values.format}", expected text or json`);
    const verdict = await judge(subject, { path: values.config, cwd: terminal.cwd });
    const ok = verdict.errors.length === 0;
    for (const error of verdict.errors) terminal.err(`${lineOf(error)}\n`);
    if (values.format === 'json')
      terminal.out(`${JSON.stringify({ version: 1, check: name, ok, seen: verdict.seen, errors: verdict.errors })}\n`);
    else terminal.out(`${name}: ${verdict.seen}, ${ok ? 'no errors' : `${verdict.errors.length} errors`}\n`);
    return ok ? EXIT.done : EXIT.data;
  },
});

function lineOf({ code, path, got, expected }: Problem): string {
  return `error[${code}]: ${path}: got ${got}, expected ${expected}`;
}

async function judge(subject: Subject, source: { path: string | undefined; cwd: string }): Promise<Verdict> {
  try {
    return await subject(await loadConfig(source));
  } catch (error) {
    return { seen: 'the configuration', errors: problemsOf(error, source.path ?? 'leeway.config.json') };
  }
}

const CONFIG_CODES: ReadonlySet<ErrorCode> = new Set(['LW-CONFIG', 'LW-CONFIG-RULE']);

async function checkConfig(loaded: LoadedConfig): Promise<Verdict> {
  const { tokens_file } = loaded.paths;
  const errors: Problem[] = [];
  const tokens = await readable(errors, 'auth.tokens_file', async () =>
    tokens_file === null ? [] : readTokens(tokens_file),
  );
  await readable(errors, 'cost', () => costRecords(loaded));
  await readable(errors, 'rules_dir', () => loadRules(loaded.paths.rules_dir));
  const set = loaded.origins.size;
  errors.push(...(await unreadableFiles(loaded)).map((error) => ({ ...error, code: 'LW-CONFIG' as const })));
  return { seen: `${set} values set, ${loaded.config.sinks.length} sinks, ${tokens.length} tokens`, errors };
}

/** What one file of the configuration holds; nothing, and its errors are noted, where it is wrong. */
async function readable<Item>(
  errors: Problem[],
  path: string,
  read: () => Promise<readonly Item[]>,
): Promise<readonly Item[]> {
  try {
    return await read();
  } catch (error) {
    errors.push(...problemsOf(error, path));
    return [];
  }
}

/** The errors of a configuration or a rule, each by itself; any other failure goes on. */
function problemsOf(error: unknown, path: string): Problem[] {
  if (!(error instanceof LeewayError && CONFIG_CODES.has(error.code))) throw error;
  const { code, message } = error;
  const errors = error.errors.length > 0 ? error.errors : [{ path, got: message, expected: 'a valid configuration' }];
  return errors.map((item) => ({ ...item, code }));
}

async function checkRules(loaded: LoadedConfig): Promise<Verdict> {
  const folder = loaded.paths.rules_dir;
  const files = await readRules(folder);
  const { rules, errors } = parseRules(files);
  const missing = files.length === 0 ? [{ path: folder, got: 'no rule', expected: 'one <id>.json a rule' }] : [];
  return {
    seen: `${rules.length} valid rules in ${folder}`,
    errors: [...missing, ...errors].map((error) => ({ ...error, code: 'LW-CONFIG-RULE' })),
  };
}

async function checkDashboards(folder: string): Promise<Verdict> {
  const files = await jsonFiles(folder);
  const uids = new Map<unknown, string>();
  const errors: ErrorDetail[] = [];
  if (files.length === 0) errors.push({ path: folder, got: 'no dashboard', expected: 'one JSON file a dashboard' });
  for (const file of files) errors.push(...dashboardErrors(file, uids));
  return { seen: `${files.length} dashboards`, errors: errors.map((error) => ({ ...error, code: 'LW-INPUT' })) };
}

/** The house rules of dashboards/lint.ts, and no two dashboards of one uid. */
function dashboardErrors(file: TextFile, uids: Map<unknown, string>): ErrorDetail[] {
  const name = `${file.name}.json`;
  const value = parse(file.text);
  if (!isPlainObject(value)) return [{ path: name, got: 'no JSON object', expected: 'a Grafana dashboard' }];
  const errors = lintDashboard(value).map(({ path, rule, expected }) => ({
    path: path === '' ? name : `${name}: ${path}`,
    got: `a breach of "${rule}"`,
    expected,
  }));
  const { uid } = value;
  const twin = uids.get(uid);
  uids.set(uid, name);
  if (twin !== undefined) errors.push({ path: `${name}: uid`, got: String(uid), expected: `a uid that ${twin} lacks` });
  return errors;
}

async function checkAudit(loaded: LoadedConfig): Promise<Verdict> {
  const { data_dir } = loaded.paths;
  if (loaded.config.control.kind !== 'sqlite')
    throw new LeewayError(
      'LW-USAGE',
      `the audit log of control.kind "${loaded.config.control.kind}" is verified by its own database`,
    );
  await access(join(data_dir, 'control.sqlite')).catch((error: unknown) => {
    const reason = systemCode(error) ?? 'unknown reason';
    throw new LeewayError(
      'LW-NOT-FOUND',
      `${data_dir}: no audit log there (${reason}); check data_dir, has the service run?`,
    );
  });
  await using control = await openSqliteControl({ data_dir, clock: systemClock });
  const verdict = await control.transaction(verifyAudit);
  const seen = `${verdict.entries} entries in one chain`;
  if (verdict.whole) return { seen, errors: [] };
  const error = { path: `entry ${verdict.sequence}`, got: verdict.reason, expected: 'an unbroken chain of hashes' };
  return { seen, errors: [{ ...error, code: 'LW-INPUT' }] };
}

type TextFile = { readonly name: string; readonly text: string };

/** The JSON files of a folder, by name without `.json`. A folder that is not there has none. */
async function jsonFiles(folder: string): Promise<readonly TextFile[]> {
  let names: readonly string[];
  try {
    names = await readdir(folder);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw new LeewayError('LW-INPUT-FILE', `${folder}: cannot be read (${systemCode(error) ?? 'unknown reason'})`, {
      cause: error,
    });
  }
  const files = names.filter((name) => name.endsWith('.json')).sort();
  return Promise.all(
    files.map(async (name) => ({ name: basename(name, '.json'), text: await readFile(join(folder, name), 'utf8') })),
  );
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // told as "no JSON object"
  }
}
