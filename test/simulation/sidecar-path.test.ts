import { expect, test } from 'vitest';
import { SIDECAR_CENSUS } from './census.ts';
import { simulateSidecar } from './sidecar-path.ts';
import { PLANTED_BUGS } from './planted.ts';
import { findBug, missing, seedsOf, timeout_ms, trial } from './trial.ts';

/** Seeds that once failed, or fail when a bug that was found is put back: they stay. */
const REGRESSIONS: readonly bigint[] = [17n, 592n];

test(
  `whatever fails between sidecars and gateway, what was acknowledged is stored once or declared as lost (${seedsOf('sidecar')} seeds)`,
  async () => {
    const census = await trial('sidecar', simulateSidecar, REGRESSIONS);
    expect(missing(census, SIDECAR_CENSUS), 'faults and states that never happened').toEqual([]);
  },
  timeout_ms,
);

test('the same seed is the same execution', async () => {
  for (const seed of [...Array.from({ length: 10 }, (_, index) => BigInt(index)), 2n ** 63n + 1n])
    expect(await simulateSidecar(seed)).toEqual(await simulateSidecar(seed));
}, 120_000);

test.each(PLANTED_BUGS)(
  'the simulation finds %s within 200 seeds',
  async (bug) => {
    expect(await findBug(simulateSidecar, bug)).not.toBeNull();
  },
  120_000,
);
