import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { resolve } from 'node:path';
import { leavesOf, type LoadedConfig } from '../config.ts';
import { type ErrorDetail, LeewayError, systemCode } from '../core/errors.ts';

/** Certificates and keys: read whole, no secret a line. */
const WHOLE_FILES = ['cert_file', 'key_file', 'ca_file'];
/** Read and judged by those who use them. */
const READ_ELSEWHERE = ['auth.tokens_file', 'cost.assets_file', 'cost.prices_file'];

/** A place of the configuration that names a file or a secret. */
type Named = { readonly path: string; readonly reference: string };

/**
 * The files and secrets that the configuration names and that cannot be read now, in the order of the schema. A secret
 * may be `env:NAME`. Nothing of their content is repeated.
 */
export async function unreadableFiles(loaded: LoadedConfig): Promise<readonly ErrorDetail[]> {
  const found: ErrorDetail[] = [];
  for (const named of namedFiles(loaded)) {
    const reason = await whyUnreadable(loaded, named);
    if (reason !== null) found.push({ path: named.path, got: reason, expected: 'what this process can read' });
  }
  return found;
}

function namedFiles({ config }: LoadedConfig): readonly Named[] {
  return leavesOf(config, '').flatMap(({ path, value }) =>
    typeof value === 'string' && path.endsWith('_file') && !READ_ELSEWHERE.includes(path)
      ? [{ path, reference: value }]
      : [],
  );
}

async function whyUnreadable(loaded: LoadedConfig, { path, reference }: Named): Promise<string | null> {
  try {
    if (WHOLE_FILES.some((name) => path.endsWith(`.${name}`)))
      await access(resolve(loaded.source.cwd, reference), constants.R_OK);
    else await loaded.readSecret(reference);
    return null;
  } catch (error) {
    if (error instanceof LeewayError) return error.message;
    return `${reference}, which cannot be read (${systemCode(error) ?? 'unknown reason'})`;
  }
}
