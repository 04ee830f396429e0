import { effectiveValues, loadConfig } from '../config.ts';
import { EXIT } from '../core/errors.ts';
import { defineCommand, usage } from './command.ts';

/** The effective configuration: each value with where it came from, secrets masked. */
export const command = defineCommand({
  name: 'config',
  summary: 'Prints the effective configuration and where each value came from; secrets are masked.',
  usage: 'config [--config FILE] [--format json]',
  examples: ['leeway config', 'LEEWAY__SERVER__PORT=9000 leeway config --format json'],
  options: {
    config: { type: 'string', value: 'FILE', about: 'configuration; without it leeway.config.json where it exists' },
    format: { type: 'string', value: 'FORMAT', about: 'text or json', default: 'text' },
  },
  run: async ({ values, terminal }) => {
    if (values.format !== 'text' && values.format !== 'json')
      throw usage('config', `unknown format "${values.format}", expected text or json`);
    const effective = effectiveValues(await loadConfig({ path: values.config, cwd: terminal.cwd }));
    if (values.format === 'json') {
      terminal.out(`${JSON.stringify({ version: 1, values: effective })}\n`);
      return EXIT.done;
    }
    const rows = effective.map(({ path, value, origin }) => [path, JSON.stringify(value), origin] as const);
    const widths = [0, 1].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
    for (const [path, value, origin] of rows)
      terminal.out(`${path.padEnd(widths[0] ?? 0)}  ${value.padEnd(Math.min(widths[1] ?? 0, 60))}  ${origin}\n`);
    return EXIT.done;
  },
});
