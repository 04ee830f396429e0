import type { IncomingHttpHeaders } from 'node:http';
import { LeewayError } from '../core/errors.ts';
import { isLoopback } from './host.ts';
import type { Scope } from './route.ts';
import type { SignedBody } from './services.ts';
import { allows, type TokenBook } from './tokens.ts';

/** What the guard asks of a route; scope `any` = some token, whatever it may do (paths that do not exist). */
export type Guarded = {
  readonly scope: Scope | 'any' | null;
  readonly method: string;
  readonly path: string;
  readonly signed: boolean;
};

/** Who comes in. `signature` not null: the body's signature must still be verified, it stands in for the token. */
export type Admission = { readonly actor: string; readonly signature: SignedBody['headers'] | null };

/** Decides before the body is read who may do what. */
export type Guard = { readonly admit: (route: Guarded, headers: IncomingHttpHeaders) => Promise<Admission> };

/**
 * The one place where requests are let in. Without tokens only names of this machine are served (a page that rebinds
 * its name to 127.0.0.1 is refused), and no page of another origin may change anything. With tokens each scope opens
 * its own routes, `admin` all; missing, wrong and expired tokens get the same 401.
 * Throws LW-HTTP, LW-ORIGIN, LW-UNAUTHENTICATED, LW-FORBIDDEN.
 */
export function createGuard(options: { readonly tokens: TokenBook; readonly public_url: string | null }): Guard {
  const public_host = options.public_url === null ? null : new URL(options.public_url).host;
  const hostOf = rememberingHost();
  return {
    admit: async (route, headers) => {
      const probe = route.path === '/healthz' || route.path === '/readyz';
      const host = hostOf(headers);
      if (!options.tokens.enabled && !probe) requireLocalName(host, public_host);
      if (route.method !== 'GET' && route.method !== 'HEAD') requireSameOrigin(headers, [host.url.host, public_host]);
      if (route.scope === null) return { actor: 'anyone', signature: null };
      const signature = route.signed ? signatureOf(headers) : null;
      if (signature !== null) return { actor: 'webhook', signature };
      if (!options.tokens.enabled) return { actor: 'local', signature: null };
      return { actor: await authorise(options.tokens, headers.authorization, route.scope), signature: null };
    },
  };
}

type Host = { readonly header: string; readonly url: URL; readonly is_loopback: boolean };

/** Parses Host headers; nearly all requests carry the one before them. */
function rememberingHost(): (headers: IncomingHttpHeaders) => Host {
  let known: Host | null = null;
  return ({ host: header }) => {
    if (header !== undefined && header === known?.header) return known;
    const url = URL.parse(`http://${header ?? ''}/`);
    if (url === null || header === undefined || url.username !== '' || url.pathname !== '/')
      throw new LeewayError('LW-HTTP', 'the Host header is missing or malformed');
    known = { header, url, is_loopback: isLoopback(url.hostname) };
    return known;
  };
}

function requireLocalName({ url: host, is_loopback }: Host, public_host: string | null): void {
  if (is_loopback || host.host === public_host) return;
  throw new LeewayError(
    'LW-ORIGIN',
    `without tokens only names of this machine are served, not "${host.hostname.slice(0, 253)}"; set auth.tokens_file`,
  );
}

function requireSameOrigin(headers: IncomingHttpHeaders, hosts: readonly (string | null)[]): void {
  const { origin } = headers;
  if (origin === undefined && headers['sec-fetch-site'] !== 'cross-site') return;
  const from = URL.parse(origin ?? '')?.host ?? null;
  if (from !== null && hosts.includes(from)) return;
  throw new LeewayError('LW-ORIGIN', 'a page of another origin may not change anything here');
}

/** Any of the three headers means that the sender signs; what is missing then fails its verification. */
function signatureOf(headers: IncomingHttpHeaders): SignedBody['headers'] | null {
  const signature = headers['webhook-signature'];
  if (signature === undefined) return null;
  return {
    'webhook-id': String(headers['webhook-id'] ?? ''),
    'webhook-timestamp': String(headers['webhook-timestamp'] ?? ''),
    'webhook-signature': String(signature),
  };
}

async function authorise(tokens: TokenBook, authorization: string | undefined, scope: Scope | 'any'): Promise<string> {
  const principal = await tokens.authenticate(authorization);
  if (principal === null)
    throw new LeewayError('LW-UNAUTHENTICATED', 'a valid token is needed: "Authorization: Bearer lw_<id>_<secret>"');
  if (scope !== 'any' && !allows(principal, scope))
    throw new LeewayError('LW-FORBIDDEN', `this needs a token with scope "${scope}"`);
  return `token:${principal.id}`;
}
