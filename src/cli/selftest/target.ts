import type { LoadedConfig } from '../../config.ts';
import { LeewayError } from '../../core/errors.ts';

/** Where the proof is made: records go to `ingest_url`, everything is read back from `read_url`. Without a final slash. */
export type Target = { readonly ingest_url: string; readonly read_url: string; readonly token: string | null };

/** What the command line says of it; absent: the configuration does. */
export type TargetOptions = {
  readonly url?: string | undefined;
  readonly read_url?: string | undefined;
  /** A path, or `env:NAME`. */
  readonly token_file?: string | undefined;
};

/** Listening addresses that mean "every address of this machine". */
const WILDCARDS: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '[::1]' };

/**
 * The service of a configuration as a sender sees it: `server.public_url`, else where it listens. The token is that of
 * `gateway.token_file` unless another is named. Throws LW-USAGE where no address follows, LW-CONFIG for an unreadable token.
 */
export async function targetOf(loaded: LoadedConfig, options: TargetOptions): Promise<Target> {
  const { config } = loaded;
  const ingest_url = checkedUrl('--url', options.url ?? config.server.public_url ?? listeningUrl(config.server));
  const read_url = checkedUrl('--read-url', options.read_url ?? ingest_url);
  const token_file = options.token_file ?? config.gateway.token_file;
  const token = token_file === null ? null : ((await loaded.readSecret(token_file))[0] ?? null);
  return { ingest_url, read_url, token };
}

function listeningUrl({ host, port, tls }: LoadedConfig['config']['server']): string {
  if (port === 0)
    throw new LeewayError(
      'LW-USAGE',
      'server.port is 0: the service takes a free port at each start; say where it listens with --url http://HOST:PORT',
    );
  const name = WILDCARDS[host] ?? (host.includes(':') ? `[${host}]` : host);
  return `${tls.cert_file === null ? 'http' : 'https'}://${name}:${port}`;
}

function checkedUrl(option: string, text: string): string {
  const url = URL.parse(text);
  if (url === null || !['http:', 'https:'].includes(url.protocol))
    throw new LeewayError(
      'LW-USAGE',
      `${option} is "${text.slice(0, 200)}", expected an address such as http://127.0.0.1:8787`,
    );
  return url.href.replace(/\/+$/, '');
}
