import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { costRecords } from '../../src/compose/cost-files.ts';
import { LeewayError } from '../../src/core/errors.ts';
import { temporaryDirectory } from '../server/fixture.ts';

const PRICE = { type: 'price', asset: 'n1', from_ms: 0, usd_per_hour: '2.00', source: 's', retrieved_on: '2026-01-01' };

async function read(files: Readonly<Record<string, string>>): Promise<unknown[]> {
  await using directory = await temporaryDirectory();
  for (const [name, text] of Object.entries(files)) await writeFile(join(directory.path, name), text);
  const cost = { assets_file: 'assets.ndjson', prices_file: 'prices.ndjson' };
  await writeFile(join(directory.path, 'leeway.config.json'), JSON.stringify({ cost }));
  return await costRecords(await loadConfig({ cwd: directory.path, environment: {} }));
}

async function refused(files: Readonly<Record<string, string>>): Promise<LeewayError> {
  const error = await read(files).catch((reason: unknown) => reason);
  if (error instanceof LeewayError) return error;
  throw new Error(`expected a LeewayError, got ${String(error)}`);
}

test('the records of both files are read, blank lines between them', async () => {
  const line = JSON.stringify(PRICE);
  expect(await read({ 'assets.ndjson': `${line}\r\n\n${line}`, 'prices.ndjson': '' })).toEqual([PRICE, PRICE]);
});

test('a line that is no JSON is LW-CONFIG with its file, its number and what to do, not a stack', async () => {
  const error = await refused({ 'assets.ndjson': `${JSON.stringify(PRICE)}\n{"type":\n`, 'prices.ndjson': '' });
  expect(error.code).toBe('LW-CONFIG');
  expect(error.message).toMatch(
    /^assets\.ndjson:2: got LW-COST-JSON: the line is not JSON, expected .*"leeway check config"/,
  );
});

test('a record that the ledger would leave out is told as well: its money would be missing', async () => {
  const error = await refused({ 'assets.ndjson': '', 'prices.ndjson': JSON.stringify({ ...PRICE, currency: 'EUR' }) });
  expect(error.errors).toMatchObject([{ path: 'prices.ndjson:1', got: expect.stringContaining('LW-COST-CURRENCY') }]);
});

test('of a file that is wrong in every line a hundred errors are told, and a missing one by its key', async () => {
  const error = await refused({ 'assets.ndjson': 'x\n'.repeat(5_000) });
  expect(error.errors).toHaveLength(101);
  expect(error.errors.at(-1)?.path).toBe('cost.prices_file');
});
