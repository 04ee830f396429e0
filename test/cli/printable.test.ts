import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { command as cost } from '../../src/cli/cost.ts';
import { command as drift } from '../../src/cli/drift.ts';
import { printable } from '../../src/cli/printable.ts';
import { command as stragglers } from '../../src/cli/stragglers.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { runIn } from './terminal.ts';

/** Clears the screen and rings, where a terminal gets it. */
const ESCAPE = '\u001b[2J\u0007\u009b31m';

it('replaces every control character but the line end', () => {
  expect(printable(`a${ESCAPE}b\r\tc\nd é 日本`)).toBe('a�[2J��31mb��c\nd é 日本');
});

it('keeps names of records out of the terminal in the tables of cost, drift and stragglers', async () => {
  await using place = await scratchDirectory();
  const from_ms = 1_767_225_600_000;
  const to_ms = from_ms + 3_600_000;
  const bought = { provider: 'aws', region: 'us-east-1', instance_type: 'p5', pricing: 'on_demand', account: 'r' };
  const asset = { type: 'asset', id: 'node', kind: 'gpu_node', gpus: 1, from_ms, to_ms, ...bought };
  const price = {
    type: 'price',
    asset: 'node',
    from_ms,
    usd_per_hour: '2',
    source: 'list',
    retrieved_on: '2026-01-01',
  };
  const claim = {
    type: 'claim',
    asset: 'node',
    tenant: { team: `a${ESCAPE}` },
    from_ms,
    to_ms,
    gpus: 1,
    mode: 'whole',
  };
  const step = { type: 'step', job: `j${ESCAPE}`, rank: 0, step: 1, at_ms: from_ms, phase: 'train', duration_ms: 9 };
  const lines = (records: readonly object[]): string => records.map((record) => JSON.stringify(record)).join('\n');
  await writeFile(join(place.path, 'money.ndjson'), lines([asset, price, claim]));
  await writeFile(join(place.path, 'steps.ndjson'), lines([{ ...step, compute_ms: 9, data_ms: 0 }]));
  await writeFile(join(place.path, 'data.csv'), `x${ESCAPE}\n${'1\n2\n3\n'.repeat(20)}`);
  for (const [command, argv, shown] of [
    [cost, ['--input', 'money.ndjson'], 'a�[2J'],
    [stragglers, ['--input', 'steps.ndjson'], 'job j�[2J'],
    [drift, ['--reference', 'data.csv', '--current', 'data.csv'], 'x�[2J'],
  ] as const) {
    const { exit, out, err } = await runIn(place.path, command, argv);
    expect([exit, out.includes(shown), /[^\P{Cc}\n]/u.test(out)], out + err).toEqual([0, true, false]);
  }
});
