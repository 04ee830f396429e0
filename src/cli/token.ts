import { createHash, randomBytes } from 'node:crypto';
import { chmod, open } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { loadConfig } from '../config.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import { EXIT, LeewayError, systemCode } from '../core/errors.ts';
import { makeDirectory } from '../files/directory.ts';
import { SCOPES, type Scope } from '../server/route.ts';
import { readTokens } from '../server/tokens.ts';
import { defineCommand, usage } from './command.ts';

const UNITS_MS: Readonly<Record<string, number>> = { h: 3_600_000, d: 86_400_000, w: 604_800_000 };
/** 8 bytes tell 10,000 tokens apart with a chance of 3e-12 for a clash; the secret has 256 bits. */
const ID_BYTES = 8;
const SECRET_BYTES = 32;

/** Makes API tokens. The secret is printed once and kept nowhere: the file holds its SHA-256. */
export const command = defineCommand({
  name: 'token',
  summary: 'Makes API tokens: appends one to the tokens file and prints its secret once.',
  usage: 'token create --scopes read,ingest [--expires 90d] [--file FILE]',
  examples: ['leeway token create --scopes admin', 'leeway token create --scopes ingest --expires 90d'],
  options: {
    scopes: { type: 'string', value: 'LIST', about: `comma list of ${SCOPES.join(', ')}`, required: true },
    expires: { type: 'string', value: 'WHEN', about: 'after 12h, 90d or 4w, or at 2027-01-31; never without it' },
    file: { type: 'string', value: 'FILE', about: 'tokens file; default auth.tokens_file of the configuration' },
    config: { type: 'string', value: 'FILE', about: 'configuration; without it leeway.config.json where it exists' },
  },
  positionals_max: 1,
  run: async ({ values, positionals, terminal }) => {
    if (positionals[0] !== 'create') throw usage('token', `expected "create", got ${show(positionals[0])}`);
    const scopes = parseScopes(values.scopes);
    const expires_at_ms = parseExpiry(values.expires, systemClock);
    const path =
      values.file === undefined
        ? await configuredFile(values.config, terminal.cwd)
        : resolve(terminal.cwd, values.file);
    const token = await createToken(path, scopes, expires_at_ms);
    terminal.err(`added to ${path}; this secret is shown once:\n`);
    terminal.out(`${token}\n`);
    return EXIT.done;
  },
});

/** Appends a new token to the file (made with mode 0600) and answers `lw_<id>_<secret>`. Throws LW-CONFIG. */
export async function createToken(
  path: string,
  scopes: readonly Scope[],
  expires_at_ms: number | null,
): Promise<string> {
  const id = randomBytes(ID_BYTES).toString('hex');
  const secret = randomBytes(SECRET_BYTES).toString('hex');
  const sha256 = createHash('sha256').update(secret).digest('hex');
  const line = JSON.stringify({ id, sha256, scopes, ...(expires_at_ms === null ? {} : { expires_at_ms }) });
  await append(path, line);
  return `lw_${id}_${secret}`;
}

async function append(path: string, line: string): Promise<void> {
  try {
    await makeDirectory(dirname(path));
    await using file = await open(path, 'a+', 0o600);
    await readTokens(path); // a damaged file gets no more lines
    const { size } = await file.stat();
    const last = Buffer.alloc(1);
    if (size > 0) await file.read(last, 0, 1, size - 1);
    await file.write(`${size > 0 && last.toString() !== '\n' ? '\n' : ''}${line}\n`);
    await file.sync();
    await chmod(path, 0o600);
  } catch (error) {
    if (error instanceof LeewayError) throw error;
    const reason = systemCode(error) ?? 'unknown reason';
    throw new LeewayError('LW-CONFIG', `${path}: cannot be written (${reason}); choose another --file`, {
      cause: error,
    });
  }
}

async function configuredFile(config: string | undefined, cwd: string): Promise<string> {
  const { paths } = await loadConfig({ path: config, cwd });
  if (paths.tokens_file !== null) return paths.tokens_file;
  throw usage('token', 'no tokens file: set auth.tokens_file in the configuration or give --file');
}

function parseScopes(text: string): readonly Scope[] {
  const wanted = new Set(text.split(',').map((part) => part.trim()));
  const known = SCOPES.filter((scope) => wanted.delete(scope));
  if (wanted.size > 0 || known.length === 0)
    throw usage('token', `unknown scope ${[...wanted].map(show).join(', ')}, expected ${SCOPES.join(', ')}`);
  return known;
}

/** A duration from now or a date, as Unix ms; null = never. Throws LW-USAGE, also for the past. */
export function parseExpiry(text: string | undefined, clock: Clock): number | null {
  if (text === undefined) return null;
  const [, amount = '', unit = ''] = /^([1-9][0-9]{0,5})([hdw])$/.exec(text) ?? [];
  const at_ms = amount === '' ? Date.parse(text) : clock.now_ms() + Number(amount) * (UNITS_MS[unit] ?? Number.NaN);
  if (Number.isFinite(at_ms) && at_ms > clock.now_ms()) return at_ms;
  throw usage('token', `--expires ${show(text)} is no time in the future, expected 12h, 90d, 4w or 2027-01-31`);
}

function show(text: string | undefined): string {
  return text === undefined ? 'nothing' : JSON.stringify(text);
}
