import type { LoadedConfig } from './config.ts';
import type { RunOptions } from './compose/run-options.ts';

/**
 * Runs one role until the signal, then stops what it started in reverse order. Each role loads only its own rooms: a
 * sidecar never loads the store, an engine or the server.
 */
export async function runService(loaded: LoadedConfig, options: RunOptions): Promise<void> {
  if (loaded.role === 'sidecar') return (await import('./compose/sidecar.ts')).runSidecar(loaded, options);
  return (await import('./compose/server-role.ts')).runServer(loaded, options, loaded.role);
}
