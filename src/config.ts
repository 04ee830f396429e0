import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { checkAgainst, isPlainObject, show } from './core/schema-check.ts';
import { applyEnvironment } from './config/environment.ts';
import { type Config, configSchema } from './config/schema.ts';
import { type ErrorDetail, LeewayError, systemCode } from './core/errors.ts';
import { redact } from './core/redact.ts';
import { discover, type Extensions, INSTALLATION } from './discover.ts';

/** What a process does (architecture §2); not part of the file, only of the command line. */
export const ROLES = ['all', 'sidecar', 'gateway', 'worker', 'console'] as const;
export type Role = (typeof ROLES)[number];

type Environment = Readonly<Record<string, string | undefined>>;

/** Flags of `leeway serve` that win over file and environment. */
export type Flags = {
  readonly host?: string | undefined;
  readonly port?: string | undefined;
  readonly data_dir?: string | undefined;
  readonly role?: string | undefined;
};

export type ConfigSource = {
  /** `--config`; absent = leeway.config.json in `cwd` where it exists. */
  readonly path?: string | undefined;
  readonly cwd: string;
  readonly flags?: Flags;
  /** Default: the process's own. */
  readonly environment?: Environment;
  /** Default: the installation's. */
  readonly extensions?: Extensions;
};

/** A checked configuration and all that belongs to it. */
export type LoadedConfig = {
  readonly config: Config;
  readonly role: Role;
  /** Where each value came from: `file PATH`, `environment NAME`, `flag --port`; absent = default. */
  readonly origins: ReadonlyMap<string, string>;
  /** Absolute places of what the configuration names. */
  readonly paths: { readonly data_dir: string; readonly rules_dir: string; readonly tokens_file: string | null };
  readonly extensions: Extensions;
  /** How it was loaded, so that a reload reads the same places. */
  readonly source: ConfigSource;
  /** The lines of a secret named by a `…_file` value: a path, or `env:NAME`. Throws LW-CONFIG when unreadable or empty. */
  readonly readSecret: (reference: string) => Promise<readonly string[]>;
};

const DEFAULT_FILE = 'leeway.config.json';
/** A configuration of 10,000 policies is about 5 MB. */
const FILE_BYTES_MAX = 16_777_216;

/**
 * Loads the configuration: file, then environment, then flags; contract config.md. Throws LW-CONFIG (exit 2) with
 * every error in `errors` (path, got, expected).
 */
export async function loadConfig(source: ConfigSource): Promise<LoadedConfig> {
  const extensions = source.extensions ?? (await discover());
  const environment = source.environment ?? process.env;
  const schema = configSchema(extensions);
  const file = await readDocument(source);
  const overridden = applyEnvironment(schema, file.document, environment);
  const flags = applyFlags(overridden.document, source.flags ?? {});
  const checked = checkAgainst(schema, overridden.document, '', overridden.texts);
  const errors = [...overridden.errors, ...flags.errors, ...checked.errors];
  if (checked.errors.length === 0) errors.push(...relations(checked.value as Config)); // the parse door: just checked
  if (errors.length > 0) throw invalidConfig(errors);
  const config = checked.value as Config; // the parse door: just checked
  return {
    config,
    role: flags.role,
    origins: new Map([...file.origins, ...overridden.origins, ...flags.origins]),
    paths: {
      data_dir: resolve(source.cwd, config.data_dir),
      rules_dir: resolve(config.rules_dir === 'alerts/rules' ? INSTALLATION : source.cwd, config.rules_dir),
      tokens_file: config.auth.tokens_file === null ? null : resolve(source.cwd, config.auth.tokens_file),
    },
    extensions,
    source,
    readSecret: (reference) => readSecret(reference, source.cwd, environment),
  };
}

/** LW-CONFIG with every error; its message names the first and how many there are. */
export function invalidConfig(errors: readonly ErrorDetail[]): LeewayError {
  const [first] = errors;
  const what = first === undefined ? '' : `${first.path}: got ${first.got}, expected ${first.expected}`;
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : '';
  return new LeewayError('LW-CONFIG', `${what}${more}; "leeway check config" lists them all`, { errors });
}

type Document = { readonly document: Record<string, unknown>; readonly origins: ReadonlyMap<string, string> };

async function readDocument(source: ConfigSource): Promise<Document> {
  const path = source.path ?? DEFAULT_FILE;
  let text: string;
  try {
    text = await readFile(resolve(source.cwd, path), 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT' && source.path === undefined) return { document: {}, origins: new Map() };
    throw new LeewayError(
      'LW-CONFIG',
      `${path}: cannot be read (${systemCode(error) ?? 'unknown reason'}); check --config`,
      {
        cause: error,
      },
    );
  }
  if (text.length > FILE_BYTES_MAX)
    throw new LeewayError('LW-CONFIG', `${path}: ${text.length} characters, at most ${FILE_BYTES_MAX}`);
  const document = parseDocument(path, text);
  const origins = new Map<string, string>();
  for (const leaf of leavesOf(document, '')) origins.set(leaf.path, `file ${path}`);
  return { document, origins };
}

function parseDocument(path: string, text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text.replace(/^\uFEFF/, ''));
  } catch (error) {
    // Only the position is repeated: the rest of the parser's message quotes the file, which may hold a secret.
    const place = error instanceof Error ? /line \d+ column \d+/.exec(error.message)?.[0] : undefined;
    throw new LeewayError(
      'LW-CONFIG',
      `${path}: is not JSON${place === undefined ? '' : ` at ${place}`}; expected one object`,
    );
  }
  if (!isPlainObject(value))
    throw new LeewayError('LW-CONFIG', `${path}: got ${show(value)}, expected one JSON object`);
  return value;
}

function applyFlags(document: Record<string, unknown>, flags: Flags) {
  const errors: ErrorDetail[] = [];
  const origins = new Map<string, string>();
  const server = isPlainObject(document['server']) ? document['server'] : {};
  if (flags.host !== undefined || flags.port !== undefined) document['server'] = server;
  if (flags.host !== undefined) {
    server['host'] = flags.host;
    origins.set('server.host', 'flag --host');
  }
  if (flags.port !== undefined) {
    server['port'] = /^[0-9]{1,6}$/.test(flags.port) ? Number(flags.port) : flags.port;
    origins.set('server.port', 'flag --port');
  }
  if (flags.data_dir !== undefined) {
    document['data_dir'] = flags.data_dir;
    origins.set('data_dir', 'flag --data-dir');
  }
  const role = ROLES.find((known) => known === (flags.role ?? 'all'));
  if (role === undefined) errors.push({ path: '--role', got: show(flags.role), expected: ROLES.join(', ') });
  return { errors, origins, role: role ?? ('all' as const) };
}

/** What no single value shows: pairs that must agree and names that must differ. */
function relations(config: Config): ErrorDetail[] {
  const errors: ErrorDetail[] = [];
  const expect = (holds: boolean, path: string, got: unknown, expected: string): void => {
    if (!holds) errors.push({ path, got: show(got), expected });
  };
  const { tls } = config.server;
  expect((tls.cert_file === null) === (tls.key_file === null), 'server.tls', tls, 'cert_file and key_file together');
  const { delivery } = config;
  const longest = `at most retry_max_ms (${delivery.retry_max_ms})`;
  expect(delivery.retry_base_ms <= delivery.retry_max_ms, 'delivery.retry_base_ms', delivery.retry_base_ms, longest);
  for (const [index, cidr] of config.egress.allow_cidrs.entries())
    expect(isCidr(cidr), `egress.allow_cidrs[${index}]`, cidr, 'an address range such as 10.0.0.0/8');
  for (const [path, list] of [
    ['sinks', config.sinks],
    ['retraining.policies', config.retraining.policies],
  ] as const)
    for (const [index, item] of list.entries())
      expect(
        list.findIndex((other) => other.id === item.id) === index,
        `${path}[${index}].id`,
        item.id,
        'an id used once',
      );
  for (const [index, policy] of config.retraining.policies.entries()) {
    const { windows, drifted_min } = policy.hysteresis;
    const path = `retraining.policies[${index}]`;
    expect(drifted_min <= windows, `${path}.hysteresis.drifted_min`, drifted_min, `at most windows (${windows})`);
    const dispatches = policy.mode === 'approve' || policy.mode === 'auto';
    expect(
      !dispatches || policy.target !== undefined,
      `${path}.target`,
      undefined,
      `a target, as mode is "${policy.mode}"`,
    );
  }
  return errors;
}

function isCidr(text: string): boolean {
  const [address = '', bits = '', ...rest] = text.split('/');
  const family = isIP(address);
  if (family === 0 || rest.length > 0 || !/^[0-9]{1,3}$/.test(bits)) return false;
  return Number(bits) <= (family === 4 ? 32 : 128);
}

async function readSecret(reference: string, cwd: string, environment: Environment): Promise<readonly string[]> {
  const text = reference.startsWith('env:')
    ? environment[reference.slice(4)]
    : await readFile(resolve(cwd, reference), 'utf8').catch((error: unknown) => {
        const reason = systemCode(error) ?? 'unknown reason';
        throw new LeewayError(
          'LW-CONFIG',
          `secret file ${reference}: cannot be read (${reason}); create it, mode 0600`,
        );
      });
  const lines = (text ?? '').split(/\r?\n/).map((line) => line.trim());
  const secrets = lines.filter((line) => line !== '');
  if (secrets.length === 0)
    throw new LeewayError('LW-CONFIG', `secret ${reference}: is empty, expected one secret a line`);
  return secrets;
}

/** One value of the configuration as printed: its path, the value with secrets masked, its origin. */
export type EffectiveValue = { readonly path: string; readonly value: unknown; readonly origin: string };

/** Every value with where it came from, in the order of the schema; what may hold a secret is masked. */
export function effectiveValues(loaded: Pick<LoadedConfig, 'config' | 'origins'>): readonly EffectiveValue[] {
  return leavesOf(loaded.config, '').map(({ path, value }) => ({
    path,
    value: redact(value),
    origin: originOf(loaded.origins, path),
  }));
}

function originOf(origins: ReadonlyMap<string, string>, path: string): string {
  // A whole list or object may have been set at once: the nearest ancestor then tells.
  for (let at = path; at !== ''; at = at.slice(0, Math.max(at.lastIndexOf('.'), at.lastIndexOf('['), 0))) {
    const origin = origins.get(at);
    if (origin !== undefined) return origin;
  }
  return 'default';
}

/** One difference between two configurations, masked like everything that is printed. */
export type Change = { readonly path: string; readonly from: unknown; readonly to: unknown };

/** What a reload changes: every path whose value differs; null stands for absent. */
export function differences(before: Config, after: Config): readonly Change[] {
  const left = new Map(leavesOf(before, '').map((leaf) => [leaf.path, leaf.value]));
  const right = new Map(leavesOf(after, '').map((leaf) => [leaf.path, leaf.value]));
  return [...new Set([...left.keys(), ...right.keys()])]
    .filter((path) => JSON.stringify(left.get(path)) !== JSON.stringify(right.get(path)))
    .map((path) => ({ path, from: redact(left.get(path) ?? null), to: redact(right.get(path) ?? null) }));
}

type Leaf = { readonly path: string; readonly value: unknown };

/** Every value inside `value` with its path, such as `sinks[0].id`; an empty list or object is a value. */
export function leavesOf(value: unknown, path: string): Leaf[] {
  if (Array.isArray(value) && value.length > 0)
    return value.flatMap((item: unknown, index) => leavesOf(item, `${path}[${index}]`));
  if (isPlainObject(value) && Object.keys(value).length > 0)
    return Object.entries(value).flatMap(([key, item]) => leavesOf(item, path === '' ? key : `${path}.${key}`));
  return [{ path, value }];
}
