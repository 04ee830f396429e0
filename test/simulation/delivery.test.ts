import { expect, test } from 'vitest';
import { simulate } from './scenario.ts';
import { PLANTED_BUGS } from './service.ts';

/** Seeds that once failed: they stay. */
const REGRESSIONS: readonly number[] = [7, 829, 1421, 4134];
const SEEDS = Number(process.env['LEEWAY_SEEDS'] ?? 2_000);
const FIRST = Number(process.env['LEEWAY_SEED'] ?? Date.now() % 1_000_000_000);

test(
  `whatever fails and whenever, what was acknowledged is stored once (${SEEDS} seeds from ${FIRST})`,
  async () => {
    for (const seed of [...REGRESSIONS, ...Array.from({ length: SEEDS }, (_, index) => FIRST + index)]) {
      const { wrong, trace } = await simulate(seed);
      expect(wrong, `seed ${seed}\n${trace.join('\n')}`).toEqual([]);
    }
  },
  Math.max(300_000, SEEDS * 20),
);

test('the same seed is the same execution', async () => {
  for (const seed of [1, 2, 3]) expect(await simulate(seed)).toEqual(await simulate(seed));
});

test.each(PLANTED_BUGS)(
  'the simulation finds %s within 200 seeds',
  async (bug) => {
    for (let seed = 1; seed <= 200; seed++) if ((await simulate(seed, bug)).wrong.length > 0) return;
    throw new Error('not found');
  },
  120_000,
);
