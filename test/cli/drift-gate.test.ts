import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { command } from '../../src/cli/drift.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { type Ran, runIn } from './terminal.ts';

/** 300 rows of two columns, each value as often on either side: nothing moved. */
const ROWS = Array.from({ length: 300 }, (_, row) => `${row % 7},${row % 5}`).join('\n');

/** Compares `current` with the rows above under `--fail-on LEVEL`. */
async function gate(name: string, current: string, level = 'any'): Promise<Ran> {
  await using place = await scratchDirectory();
  await writeFile(join(place.path, 'reference.csv'), `age,amount\n${ROWS}\n`);
  await writeFile(join(place.path, name), current);
  return await runIn(place.path, command, ['--reference', 'reference.csv', '--current', name, '--fail-on', level]);
}

it.each([
  ['an empty file', 'empty.ndjson', ''],
  ['a header without rows', 'header.csv', 'age,amount\n'],
  ['5,000 lines that cannot be read', 'broken.ndjson', '{"age":\n'.repeat(5000)],
  ['other columns only', 'other.csv', `height,width\n${ROWS}\n`],
  ['too few rows for any test', 'few.csv', 'age,amount\n1,1\n2,2\n'],
])('is not passed by %s: nothing was compared, exit 3', async (_, name, current) => {
  const { exit, error } = await gate(name, current);
  expect(exit).toBe(3);
  expect(error?.message).toMatch(/^no column was compared \(.+\): 300 reference rows, \d+ current rows/);
});

it.each(['any', 'small', 'medium', 'large'])(
  'takes a column that is gone as a finding under --fail-on %s',
  async (level) => {
    expect(await gate('renamed.csv', `age,amount_usd\n${ROWS}\n`, level)).toMatchObject({ exit: 6, error: null });
  },
);

it('is passed by data that did not move, also with a column more', async () => {
  expect(await gate('same.csv', `age,amount\n${ROWS}\n`)).toMatchObject({ exit: 0, error: null });
  const more = ROWS.split('\n').map((row) => `${row},1`);
  expect(await gate('more.csv', `age,amount,new\n${more.join('\n')}\n`)).toMatchObject({ exit: 0, error: null });
});
