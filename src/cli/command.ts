import { parseArgs } from 'node:util';
import { LeewayError } from '../core/errors.ts';

/** One option of a command. `multiple` options may be repeated and take several values (`--input a b`). */
export type Option = {
  readonly type: 'string' | 'boolean';
  readonly about: string;
  /** Placeholder shown in the help: FILE, N, … */
  readonly value?: string;
  readonly default?: string;
  readonly multiple?: boolean;
  readonly required?: boolean;
};

export type Options = Readonly<Record<string, Option>>;

/** Parsed values: a repeated option is an array, a flag a boolean, everything else a string; absent = undefined. */
export type Values<Of extends Options> = {
  readonly [Name in keyof Of]: Of[Name] extends { multiple: true }
    ? readonly string[]
    : Of[Name] extends { type: 'boolean' }
      ? boolean
      : Of[Name] extends { required: true } | { default: string }
        ? string
        : string | undefined;
};

/** What a command may touch of its process. Tests pass their own. */
export type Terminal = {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  readonly stdin: NodeJS.ReadableStream;
  readonly cwd: string;
  readonly isTerminal: boolean;
  readonly color: boolean;
  /** Aborted by SIGINT or SIGTERM where the command drains, and when the reader of standard output is gone. */
  readonly signal: AbortSignal;
};

export type Arguments<Of extends Options> = {
  readonly values: Values<Of>;
  readonly positionals: readonly string[];
  readonly terminal: Terminal;
};

export type Command = {
  readonly name: string;
  readonly summary: string;
  readonly usage: string;
  readonly examples: readonly string[];
  readonly options: Options;
  readonly positionals_max: number;
  /** SIGINT and SIGTERM abort `terminal.signal` and the command ends in order; of another they end the process at once. */
  readonly drains: boolean;
  readonly run: (argv: readonly string[], terminal: Terminal) => Promise<number>;
};

/**
 * Makes a command from its options and body. `run` returns the exit code (core/errors.ts EXIT); expected failures are
 * thrown as LeewayError and become one `error[LW-…]` line with the exit code of their code.
 * The name must equal the file's name in src/cli/.
 */
export function defineCommand<const Of extends Options>(definition: {
  readonly name: string;
  readonly summary: string;
  readonly usage: string;
  readonly examples: readonly [string, string, ...string[]];
  readonly options: Of;
  readonly positionals_max?: number;
  readonly drains?: boolean;
  readonly run: (args: Arguments<Of>) => Promise<number>;
}): Command {
  const positionals_max = definition.positionals_max ?? 0;
  return {
    ...definition,
    positionals_max,
    drains: definition.drains ?? false,
    run: (argv, terminal) => {
      const parsed = parse(definition.name, definition.options, positionals_max, argv);
      return definition.run({
        values: parsed.values as Values<Of>, // the parse door: shapes follow from the option table
        positionals: parsed.positionals,
        terminal,
      });
    },
  };
}

type Parsed = { values: Record<string, string | boolean | readonly string[] | undefined>; positionals: string[] };

function parse(command: string, options: Options, positionals_max: number, argv: readonly string[]): Parsed {
  const { tokens } = parseArgs({
    args: [...argv],
    strict: false,
    allowPositionals: true,
    tokens: true,
    options: shapes(options),
  });
  const values: Record<string, string | boolean | string[]> = {};
  const positionals: string[] = [];
  let greedy: string | null = null;
  for (const token of tokens) {
    if (token.kind === 'positional') {
      const list = greedy === null ? undefined : values[greedy];
      if (Array.isArray(list)) list.push(token.value);
      else positionals.push(token.value);
      continue;
    }
    greedy = null;
    if (token.kind === 'option-terminator') continue;
    const option = Object.hasOwn(options, token.name) ? options[token.name] : undefined;
    if (option === undefined) throw unknownOption(command, token.rawName, Object.keys(options));
    if (option.type === 'boolean') {
      if (token.value !== undefined)
        throw usage(command, `option --${token.name} takes no value, got "${token.value}"`);
      values[token.name] = true;
      continue;
    }
    if (token.value === undefined || (!token.inlineValue && token.value.startsWith('--')))
      throw usage(command, `option --${token.name} needs a value (${option.value ?? 'VALUE'})`);
    if (option.multiple === true) {
      const list = values[token.name];
      values[token.name] = Array.isArray(list) ? [...list, token.value] : [token.value];
      greedy = token.name;
    } else values[token.name] = token.value;
  }
  if (positionals.length > positionals_max)
    throw usage(command, `unexpected argument "${positionals[positionals_max]}"`);
  return { values: withDefaults(command, options, values), positionals };
}

function shapes(options: Options): Record<string, { type: 'string' | 'boolean'; multiple?: boolean }> {
  return Object.fromEntries(
    Object.entries(options).map(([name, option]) => [name, { type: option.type, multiple: option.multiple ?? false }]),
  );
}

function withDefaults(
  command: string,
  options: Options,
  values: Record<string, string | boolean | string[]>,
): Parsed['values'] {
  const complete: Parsed['values'] = { ...values };
  for (const [name, option] of Object.entries(options)) {
    if (complete[name] !== undefined) continue;
    if (option.required === true)
      throw usage(command, `option --${name} ${option.value ?? ''} is required`.replace('  ', ' '));
    complete[name] = option.multiple === true ? [] : option.type === 'boolean' ? false : option.default;
  }
  return complete;
}

/** A usage error of `command`: exit 2, with the help as the next step. */
export function usage(command: string, what: string): LeewayError {
  return new LeewayError('LW-USAGE', `${what}; see "leeway ${command} --help"`);
}

function unknownOption(command: string, raw: string, known: readonly string[]): LeewayError {
  const closest = nearest(raw.replace(/^-+/, ''), known);
  return usage(command, `unknown option ${raw}${closest === null ? '' : `, did you mean --${closest}?`}`);
}

/** The known word at an edit distance (Levenshtein) of at most a third of its length + 1, or null. */
export function nearest(word: string, known: readonly string[]): string | null {
  let best: { word: string; distance: number } | null = null;
  for (const candidate of known) {
    const distance = editDistance(word, candidate);
    if (distance <= 1 + candidate.length / 3 && (best === null || distance < best.distance))
      best = { word: candidate, distance };
  }
  return best?.word ?? null;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const replace = (previous[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1);
      current.push(Math.min(replace, (previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1));
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}

/** The help text of one command: purpose, usage, options with defaults, examples. */
export function helpOf(command: Command): string {
  const rows = Object.entries(command.options).map(([name, option]): [string, string] => [
    `--${name}${option.type === 'string' ? ` ${option.value ?? 'VALUE'}` : ''}`,
    `${option.about}${option.default === undefined ? '' : ` (default ${option.default})`}${option.required === true ? ' (required)' : ''}`,
  ]);
  rows.push(['--help', 'this text']);
  const width = Math.max(...rows.map(([left]) => left.length));
  return [
    command.summary,
    '',
    `Usage: leeway ${command.usage}`,
    '',
    'Options:',
    ...rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`),
    '',
    'Examples:',
    ...command.examples.map((example) => `  ${example}`),
    '',
  ].join('\n');
}
