import { Readable } from 'node:stream';
import type { Command, Terminal } from '../../src/cli/command.ts';
import { ERRORS, LeewayError } from '../../src/core/errors.ts';

/** What a command wrote and how it ended: an expected failure counts with the exit code of its code. */
export type Ran = {
  readonly exit: number;
  readonly out: string;
  readonly err: string;
  readonly error: LeewayError | null;
};

/** Runs a command in `cwd` as the launcher would. */
export async function runIn(cwd: string, command: Command, argv: readonly string[]): Promise<Ran> {
  const out: string[] = [];
  const err: string[] = [];
  const terminal: Terminal = {
    out: (text) => void out.push(text),
    err: (text) => void err.push(text),
    stdin: Readable.from([]),
    cwd,
    isTerminal: false,
    color: false,
    signal: AbortSignal.timeout(30_000),
  };
  const done = (exit: number, error: LeewayError | null): Ran => ({
    exit,
    out: out.join(''),
    err: err.join(''),
    error,
  });
  try {
    return done(await command.run(argv, terminal), null);
  } catch (error) {
    if (error instanceof LeewayError) return done(ERRORS[error.code].exit, error);
    throw error;
  }
}
