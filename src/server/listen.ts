import { LeewayError, systemCode } from '../core/errors.ts';
import { isLoopback } from './host.ts';
import type { HttpServer, ServerSettings } from './server.ts';
import type { TokenBook } from './tokens.ts';

/**
 * Refuses a public address while nobody has to say who he is. Call it before anything is started.
 * Throws LW-PUBLIC-ADDRESS (exit 2).
 */
export function requireSafeAddress(settings: Pick<ServerSettings, 'host'>, tokens: TokenBook): void {
  if (isLoopback(settings.host) || (tokens.enabled && tokens.valid() > 0)) return;
  const why = tokens.enabled ? 'auth.tokens_file holds no valid token' : 'auth.tokens_file is not set';
  const next =
    'run "leeway token create --scopes admin --file tokens.ndjson" and set auth.tokens_file to it, or use --host 127.0.0.1';
  throw new LeewayError(
    'LW-PUBLIC-ADDRESS',
    `server.host "${settings.host}" is reachable from outside, but ${why}; ${next}`,
  );
}

/**
 * Listens and answers the address as a URL. Throws LW-PORT-IN-USE (exit 1) when another process has it, LW-CONFIG when
 * this machine has no such address or the port needs privileges.
 */
export async function listen(server: HttpServer, settings: ServerSettings): Promise<{ readonly url: string }> {
  try {
    return { url: await server.app.listen({ host: settings.host, port: settings.port }) };
  } catch (error) {
    throw bindError(error, settings);
  }
}

function bindError(error: unknown, { host, port }: ServerSettings): unknown {
  const code = systemCode(error);
  const next = 'stop the other process or choose another with --port';
  if (code === 'EADDRINUSE')
    return new LeewayError('LW-PORT-IN-USE', `${host}:${port} is in use; ${next}`, { cause: error });
  if (code === 'EACCES' || code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND') {
    const expected = code === 'EACCES' ? 'a port that needs no privileges, 1024 or more' : 'an address of this machine';
    const errors = [
      {
        path: code === 'EACCES' ? 'server.port' : 'server.host',
        got: code === 'EACCES' ? String(port) : host,
        expected,
      },
    ];
    return new LeewayError('LW-CONFIG', `${host}:${port} cannot be bound (${code}), expected ${expected}`, {
      cause: error,
      errors,
    });
  }
  return error;
}
