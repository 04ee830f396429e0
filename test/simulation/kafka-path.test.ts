import { expect, test } from 'vitest';
import { KAFKA_CENSUS } from './census.ts';
import { simulateKafka } from './kafka-path.ts';
import { PLANTED_BUGS } from './planted.ts';
import { findBug, missing, seedsOf, timeout_ms, trial } from './trial.ts';

/** Seeds that once failed, or fail when a bug that was found is put back: they stay. */
const REGRESSIONS: readonly bigint[] = [
  60n,
  106n,
  9_000_000_000_000_004_204n,
  7_692_707_843_164_167_837n,
  10_656n,
  12_717_319_319_602_197_105n,
  11_658_269_748_728_835_349n,
  18n,
  551n,
];

test(
  `whatever fails and whenever on the way over Kafka, what was acknowledged is stored once (${seedsOf('kafka')} seeds)`,
  async () => {
    const census = await trial('kafka', simulateKafka, REGRESSIONS);
    expect(missing(census, KAFKA_CENSUS), 'faults and states that never happened').toEqual([]);
  },
  timeout_ms,
);

test('the same seed is the same execution', async () => {
  for (const seed of [...Array.from({ length: 10 }, (_, index) => BigInt(index)), 2n ** 63n + 1n])
    expect(await simulateKafka(seed)).toEqual(await simulateKafka(seed));
}, 120_000);

test.each(PLANTED_BUGS)(
  'the simulation finds %s within 200 seeds',
  async (bug) => {
    expect(await findBug(simulateKafka, bug)).not.toBeNull();
  },
  120_000,
);
