import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { integerBelow, seededRandom } from '../../src/core/random.ts';
import { openSpool } from '../../src/transport/spool.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

const seed = Number(process.env['LEEWAY_SEED'] ?? Date.now() % 1_000_000);
const HOST = join(import.meta.dirname, 'spool-policy-host.ts');

/** Runs the host until it has acknowledged `count` batches and a little longer, then kills it; returns what it acknowledged. */
async function killedAfter(count: number, argv: readonly string[]): Promise<number> {
  const host = spawn(process.execPath, [HOST, ...argv], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  host.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
    if (text.split('\n').length > count) host.kill('SIGKILL');
  });
  await once(host, 'close');
  return Number(text.split('\n').at(-2) ?? 0);
}

test.each(['drop_oldest', 'drop_newest'] as const)(
  `SIGKILL under %s: every acknowledged batch is in the spool or in a gap, once (seed ${seed})`,
  async (policy) => {
    const random = seededRandom(seed);
    await using directory = await scratchDirectory();
    const acknowledged: number[] = [];
    for (let epoch = 0; epoch < 8; epoch++) {
      const count = 40 + integerBelow(random, 60);
      acknowledged.push(await killedAfter(count, [directory.path, policy, String(epoch)]));
      const known = { sequences: [], lineage_max: 0n };
      const opened = { data_dir: directory.path, bytes_max: 1e9, fsync: true, clock: systemClock, known };
      await using bus = await openSpool(opened);
      const { in_flight, dropped = [] } = bus.backlog();
      for (const [of, last] of acknowledged.entries()) {
        const records = [...in_flight, ...dropped].filter((row) => row.epoch === of);
        const sum = records.reduce((total, row) => total + row.records, 0);
        // the batch under way when it was killed may be there too
        expect({ epoch, of, sum: [last * 10, (last + 1) * 10].includes(sum) || sum }).toEqual({ epoch, of, sum: true });
      }
      expect(dropped.reduce((total, row) => total + row.records, 0)).toBeGreaterThan(0);
    }
  },
);
