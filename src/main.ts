import { constants } from 'node:os';
import { type Command, helpOf, nearest, type Terminal } from './cli/command.ts';
import { printable } from './cli/printable.ts';
import { StandardOutput } from './cli/standard-output.ts';
import { ERRORS, EXIT, LeewayError } from './core/errors.ts';
import { version } from './files/version.ts';

/** The commands, each loaded only when called: `--version` must not wait for an engine. Name = file in src/cli/. */
const COMMANDS: Readonly<Record<string, () => Promise<{ command: Command }>>> = {
  demo: () => import('./cli/demo.ts'),
  serve: () => import('./cli/serve.ts'),
  drift: () => import('./cli/drift.ts'),
  stragglers: () => import('./cli/stragglers.ts'),
  cost: () => import('./cli/cost.ts'),
  decode: () => import('./cli/decode.ts'),
  check: () => import('./cli/check.ts'),
  selftest: () => import('./cli/selftest.ts'),
  deadletter: () => import('./cli/deadletter.ts'),
  config: () => import('./cli/config.ts'),
  token: () => import('./cli/token.ts'),
};

/** Entry of the process: parses the command's name, runs it, turns failures into one line and an exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  const abort = new AbortController();
  const output = new StandardOutput(process.stdout, () => abort.abort('EPIPE'));
  process.stderr.on('error', () => undefined); // what standard error does not take is dropped: there is no one to tell
  const terminal = processTerminal(output, abort.signal);
  const code = await dispatch(argv, terminal, signalsTo(abort)).catch((error: unknown) => report(error, terminal));
  try {
    await output.written();
    return code;
  } catch (error) {
    return report(error, terminal);
  }
}

async function dispatch(argv: readonly string[], terminal: Terminal, drainOnSignal: () => void): Promise<number> {
  const [name, ...rest] = argv;
  if (name === '--version' || name === '-v') {
    terminal.out(`${version()}\n`);
    return EXIT.done;
  }
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    const asked = rest[0];
    terminal.out(asked !== undefined && Object.hasOwn(COMMANDS, asked) ? helpOf(await load(asked)) : await overview());
    return name === undefined ? EXIT.usage : EXIT.done;
  }
  const command = await load(name);
  if (rest.includes('--help') || rest.includes('-h')) {
    terminal.out(helpOf(command));
    return EXIT.done;
  }
  if (command.drains) drainOnSignal();
  return command.run(rest, terminal);
}

async function load(name: string): Promise<Command> {
  const loader = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (loader !== undefined) return (await loader()).command;
  const closest = nearest(name, Object.keys(COMMANDS));
  const hint = closest === null ? '' : `, did you mean "${closest}"?`;
  throw new LeewayError('LW-USAGE', `unknown command "${name}"${hint}; "leeway --help" lists them all`);
}

async function overview(): Promise<string> {
  const commands = await Promise.all(Object.keys(COMMANDS).map(load));
  const width = Math.max(...commands.map((command) => command.name.length));
  return [
    'Leeway watches GPU training and ONNX Runtime serving: stragglers, drift, cost, incidents, controlled retraining.',
    '',
    'Usage: leeway COMMAND [options]',
    '',
    ...commands.map((command) => `  ${command.name.padEnd(width)}  ${command.summary}`),
    '',
    'Each command answers --help with its options and two examples. leeway --version prints the version.',
    '',
  ].join('\n');
}

/**
 * Returns what makes SIGINT and SIGTERM abort. Until then they end the process, as the system has it; the first process
 * of a container has to see to that itself.
 */
function signalsTo(abort: AbortController): () => void {
  const signals = ['SIGINT', 'SIGTERM'] as const;
  const end = (signal: NodeJS.Signals): never => process.exit(128 + constants.signals[signal]);
  if (process.pid === 1) for (const signal of signals) process.once(signal, end);
  return () => {
    for (const signal of signals) process.off(signal, end).once(signal, () => abort.abort(signal));
  };
}

function report(error: unknown, terminal: Terminal): number {
  if (!(error instanceof LeewayError)) {
    const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
    terminal.err(`error[LW-INTERNAL]: ${detail}\n`);
    return EXIT.internal;
  }
  const lines = error.errors.map(
    (item) => `error[${error.code}]: ${item.path}: got ${item.got}, expected ${item.expected}`,
  );
  terminal.err(`${printable(lines.length > 0 ? lines.join('\n') : `error[${error.code}]: ${error.message}`)}\n`);
  return ERRORS[error.code].exit;
}

function processTerminal(output: StandardOutput, signal: AbortSignal): Terminal {
  const isTerminal = process.stdout.isTTY === true;
  return {
    out: (text) => output.write(text),
    err: (text) => void process.stderr.write(text),
    stdin: process.stdin,
    cwd: process.cwd(),
    isTerminal,
    color: isTerminal && process.env['NO_COLOR'] === undefined,
    signal,
  };
}
