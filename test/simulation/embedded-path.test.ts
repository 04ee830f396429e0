import { expect, test } from 'vitest';
import { EMBEDDED_CENSUS } from './census.ts';
import { simulateEmbedded } from './embedded-path.ts';
import { PLANTED_BUGS } from './planted.ts';
import { findBug, missing, seedsOf, timeout_ms, trial } from './trial.ts';

/** Seeds that once failed, or fail when a bug that was found is put back: they stay. */
const REGRESSIONS: readonly bigint[] = [42n, 298n, 807n, 80_000_004_216n];

test(
  `whatever fails and whenever, what was acknowledged is stored once (${seedsOf('embedded')} seeds)`,
  async () => {
    const census = await trial('embedded', simulateEmbedded, REGRESSIONS);
    expect(missing(census, EMBEDDED_CENSUS), 'faults and states that never happened').toEqual([]);
  },
  timeout_ms,
);

test('the same seed is the same execution', async () => {
  for (const seed of [...Array.from({ length: 10 }, (_, index) => BigInt(index)), 2n ** 63n + 1n])
    expect(await simulateEmbedded(seed)).toEqual(await simulateEmbedded(seed));
}, 120_000);

test.each(PLANTED_BUGS)(
  'the simulation finds %s within 200 seeds',
  async (bug) => {
    expect(await findBug(simulateEmbedded, bug)).not.toBeNull();
  },
  120_000,
);
