import { loadConfig, type Role } from '../config.ts';
import { unreadableFiles } from '../config/named-files.ts';
import { systemClock } from '../core/clock.ts';
import { EXIT, LeewayError, systemCode } from '../core/errors.ts';
import { requireMakeable } from '../files/directory.ts';
import { requireSafeAddress } from '../server/listen.ts';
import { openTokens } from '../server/tokens.ts';
import { defineCommand } from './command.ts';

/** Roles whose records, or those of their machine, lie in the data directory. */
const KEEPS_DATA: readonly Role[] = ['all', 'sidecar'];

/** The service: loads the configuration, refuses an unsafe address before anything starts, runs until the signal. */
export const command = defineCommand({
  name: 'serve',
  summary: 'Runs the service: console, API, ingest, analysis and delivery in one process.',
  usage: 'serve [--config FILE] [--role all|sidecar|gateway|worker|console] [options]',
  examples: ['leeway serve', 'leeway serve --config leeway.config.json --port 9000 --data-dir /var/lib/leeway'],
  options: {
    config: { type: 'string', value: 'FILE', about: 'configuration; without it leeway.config.json where it exists' },
    role: { type: 'string', value: 'ROLE', about: 'all, sidecar, gateway, worker or console', default: 'all' },
    host: { type: 'string', value: 'ADDRESS', about: 'listen here; a public address needs a token' },
    port: { type: 'string', value: 'N', about: 'listen on this port' },
    'data-dir': { type: 'string', value: 'DIR', about: 'keep data here' },
  },
  drains: true,
  run: async ({ values, terminal }) => {
    const loaded = await loadConfig({
      path: values.config,
      cwd: terminal.cwd,
      flags: { host: values.host, port: values.port, data_dir: values['data-dir'], role: values.role },
    });
    requireSafeAddress(loaded.config.server, await openTokens(loaded.paths.tokens_file, systemClock));
    if (KEEPS_DATA.includes(loaded.role)) await requireDataDir(loaded.paths.data_dir);
    for (const { path, got } of await unreadableFiles(loaded)) terminal.err(`warning[LW-CONFIG]: ${path}: ${got}\n`);
    // Loaded only now: a refusal must not wait for the store's and the engines' modules.
    const { runService } = await import('../compose.ts');
    await runService(loaded, {
      signal: terminal.signal,
      onReady: ({ url }) => terminal.err(`leeway is ready at ${url}\n`),
    });
    return EXIT.done;
  },
});

async function requireDataDir(data_dir: string): Promise<void> {
  try {
    await requireMakeable(data_dir);
  } catch (cause) {
    throw new LeewayError(
      'LW-DATA-DIR',
      `data directory ${data_dir} is not usable (${systemCode(cause) ?? 'unknown failure'}); ` +
        'expected a directory that this user may write to; set data_dir to one',
      { cause },
    );
  }
}
