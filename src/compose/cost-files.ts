import { invalidConfig, type LoadedConfig } from '../config.ts';
import { type ErrorDetail, LeewayError } from '../core/errors.ts';
import { parseCostLine } from '../cost/parse.ts';
import type { Rejection } from '../cost/record.ts';
import { readLines } from '../files/input.ts';

/** Errors told at once: who has more has one mistake in every line. */
const ERRORS_MAX = 100;

/**
 * Asset and price records of the configured files. Throws LW-CONFIG with the file, line and reason of every record that
 * the ledger would leave out (the first hundred): money must not be wrong because a line was.
 */
export async function costRecords({ config, source }: Pick<LoadedConfig, 'config' | 'source'>): Promise<unknown[]> {
  const records: unknown[] = [];
  const errors: ErrorDetail[] = [];
  for (const key of ['assets_file', 'prices_file'] as const) {
    const path = config.cost[key];
    if (path === null) continue;
    try {
      for await (const { text, line } of readLines({ path, cwd: source.cwd, stdin: process.stdin })) {
        if (text.trim() === '' || errors.length >= ERRORS_MAX) continue;
        const parsed = parseCostLine(text, { path, line });
        if (parsed.kind === 'rejected') errors.push(wrongLine(parsed.rejection));
        else records.push(JSON.parse(text));
      }
    } catch (error) {
      if (!(error instanceof LeewayError)) throw error;
      errors.push({ path: `cost.${key}`, got: error.message, expected: 'a file of asset and price records' });
    }
  }
  if (errors.length > 0) throw invalidConfig(errors);
  return records;
}

function wrongLine({ path, line, code, reason }: Rejection): ErrorDetail {
  return { path: `${path}:${line}`, got: `${code}: ${reason}`, expected: 'one asset or price record a line' };
}
