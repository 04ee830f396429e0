import { createHash, timingSafeEqual } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import Type, { type Static } from 'typebox';
import { checkAgainst } from '../core/schema-check.ts';
import type { Clock } from '../core/clock.ts';
import { type ErrorDetail, LeewayError, systemCode } from '../core/errors.ts';
import { SCOPES, type Scope } from './route.ts';

const TOKEN = Type.Object({
  id: Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$' }),
  sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }),
  scopes: Type.Array(Type.Enum([...SCOPES]), { minItems: 1, maxItems: SCOPES.length }),
  expires_at_ms: Type.Optional(Type.Union([Type.Number({ minimum: 0 }), Type.Null()])),
});

/** One line of the tokens file (contract: config.md `auth.tokens_file`); the secret itself is nowhere. */
export type Token = {
  readonly id: string;
  readonly sha256: string;
  readonly scopes: readonly Scope[];
  readonly expires_at_ms: number | null;
};

/** One line a token of 200 bytes: 10,000 tokens are 2 MB. */
const TOKENS_MAX = 10_000;
/** A changed tokens file counts after at most this long: a revoked token must stop soon. */
const REFRESH_MS = 1000;
const TOKEN_CHARACTERS_MAX = 512;

/** The tokens in NDJSON text. Throws LW-CONFIG with every wrong line; no value is repeated. */
export function parseTokens(text: string, path: string): readonly Token[] {
  const errors: ErrorDetail[] = [];
  const tokens = new Map<string, Token>();
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue;
    const at = `${path}:${index + 1}`;
    const token = parseToken(line, at, errors);
    if (token === null) continue;
    if (tokens.has(token.id)) errors.push({ path: `${at}.id`, got: 'an id used before', expected: 'an id used once' });
    tokens.set(token.id, token);
  }
  if (tokens.size > TOKENS_MAX) errors.push({ path, got: `${tokens.size} tokens`, expected: `at most ${TOKENS_MAX}` });
  if (errors.length > 0) throw new LeewayError('LW-CONFIG', `${path}: ${errors.length} wrong entries`, { errors });
  return [...tokens.values()];
}

function parseToken(line: string, at: string, errors: ErrorDetail[]): Token | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    errors.push({ path: at, got: 'a line that is not JSON', expected: 'one object a line' });
    return null;
  }
  const checked = checkAgainst(TOKEN, value, at);
  errors.push(...checked.errors.map((error) => ({ ...error, got: 'a wrong or missing value' })));
  if (checked.errors.length > 0) return null;
  const token = checked.value as Static<typeof TOKEN>; // the parse door: just checked
  return { ...token, expires_at_ms: token.expires_at_ms ?? null };
}

/** Tokens that may be used at `now_ms`. */
export function validTokens(tokens: readonly Token[], now_ms: number): readonly Token[] {
  return tokens.filter((token) => token.expires_at_ms === null || token.expires_at_ms > now_ms);
}

/** Who a token is and what it may do. */
export type Principal = { readonly id: string; readonly scopes: readonly Scope[] };

/** The tokens of the service; `enabled` false = no tokens file: everyone on this machine may do everything. */
export type TokenBook = {
  readonly enabled: boolean;
  /** Tokens that are valid now. */
  readonly valid: () => number;
  /** The owner of an `Authorization` header, or null: missing, wrong and expired are one. */
  readonly authenticate: (authorization: string | undefined) => Promise<Principal | null>;
};

/**
 * Opens the tokens file; null = authentication is off. The file is read again when it changes: a line added counts,
 * a line taken away stops counting within a second; a damaged file keeps the tokens that were read before.
 * Throws LW-CONFIG when it cannot be read or has a wrong line.
 */
export async function openTokens(path: string | null, clock: Clock): Promise<TokenBook> {
  if (path === null) return { enabled: false, valid: () => 0, authenticate: () => Promise.resolve(null) };
  let tokens = byId(await readTokens(path));
  let stamp = await stampOf(path);
  let checked_ms = clock.elapsed_ms();
  const refresh = async (): Promise<void> => {
    if (clock.elapsed_ms() - checked_ms < REFRESH_MS) return;
    checked_ms = clock.elapsed_ms();
    const now = await stampOf(path);
    if (now === stamp) return;
    try {
      tokens = byId(await readTokens(path));
      stamp = now;
    } catch (error) {
      if (!(error instanceof LeewayError)) throw error;
    }
  };
  return {
    enabled: true,
    valid: () => validTokens([...tokens.values()], clock.now_ms()).length,
    authenticate: async (authorization) => {
      await refresh();
      return authenticate(tokens, authorization, clock.now_ms());
    },
  };
}

/** The tokens in a file. Throws LW-CONFIG with the next step when it cannot be read. */
export async function readTokens(path: string): Promise<readonly Token[]> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const reason = systemCode(error) ?? 'unknown reason';
    const next = 'make it with "leeway token create --scopes admin"';
    throw new LeewayError('LW-CONFIG', `auth.tokens_file ${path}: cannot be read (${reason}); ${next}`, {
      cause: error,
    });
  }
  return parseTokens(text, path);
}

async function stampOf(path: string): Promise<string> {
  try {
    const { mtimeMs, size, ino } = await stat(path);
    return `${mtimeMs}/${size}/${ino}`;
  } catch {
    return 'gone'; // being replaced: the tokens that were read stay
  }
}

function byId(tokens: readonly Token[]): ReadonlyMap<string, Token> {
  return new Map(tokens.map((token) => [token.id, token]));
}

/** `Bearer lw_<id>_<secret>`; either part may itself contain `_`, so each split is tried, in constant time each. */
function authenticate(
  tokens: ReadonlyMap<string, Token>,
  authorization: string | undefined,
  now_ms: number,
): Principal | null {
  const text = /^bearer +lw_(\S+)$/i.exec(authorization ?? '')?.[1] ?? '';
  if (text.length > TOKEN_CHARACTERS_MAX) return null;
  let found: Principal | null = null;
  for (let split = text.indexOf('_'); split > 0; split = text.indexOf('_', split + 1)) {
    const token = tokens.get(text.slice(0, split));
    const digest = createHash('sha256')
      .update(text.slice(split + 1))
      .digest();
    const expected = Buffer.from(token?.sha256 ?? '0'.repeat(64), 'hex');
    const same = timingSafeEqual(digest, expected);
    const alive = token !== undefined && (token.expires_at_ms === null || token.expires_at_ms > now_ms);
    if (same && alive) found = { id: token.id, scopes: token.scopes };
  }
  return found;
}

/** Whether a principal may use a route of `scope`: that scope itself, or `admin`. */
export function allows(principal: Principal, scope: Scope): boolean {
  return principal.scopes.includes(scope) || principal.scopes.includes('admin');
}
