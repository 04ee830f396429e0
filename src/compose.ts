import type { LoadedConfig } from './config.ts';
import { LeewayError } from './core/errors.ts';
import type { RunOptions } from './compose/run-options.ts';

/**
 * Runs one role until the signal, then stops what it started in reverse order. Each role loads only its own rooms: a
 * sidecar never loads the store, an engine or the server.
 */
export async function runService(loaded: LoadedConfig, options: RunOptions): Promise<void> {
  const { role, config } = loaded;
  if (config.bus.kind !== 'embedded' || config.store.kind !== 'embedded' || config.control.kind !== 'sqlite')
    throw notYet('bus.kind "kafka", store.kind "clickhouse" and control.kind "postgres"');
  switch (role) {
    case 'all':
      return (await import('./compose/all.ts')).runAll(loaded, options);
    case 'sidecar':
      return (await import('./compose/sidecar.ts')).runSidecar(loaded, options);
    case 'gateway':
    case 'worker':
    case 'console':
      throw notYet(`--role ${role}, which needs a bus and a store that processes share,`);
  }
}

function notYet(what: string): LeewayError {
  return new LeewayError(
    'LW-CONFIG',
    `${what} cannot be used in this version; use the embedded defaults with --role all or --role sidecar`,
  );
}
