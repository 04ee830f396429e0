import { mergeTree, onCluster, tableSettings, type Topology } from './topology.ts';

/** How long things are kept, in days. */
export type Retention = { readonly raw_days: number; readonly rollup_1m_days: number; readonly rollup_1h_days: number };

/** Retention where none is configured (contract: config.md). */
export const RETENTION: Retention = { raw_days: 14, rollup_1m_days: 90, rollup_1h_days: 730 };

/** Roll-ups of the samples, by their table: width and how long they are kept. */
export const ROLLUPS = {
  samples_1m: { seconds: 60, days: 'rollup_1m_days' },
  samples_1h: { seconds: 3_600, days: 'rollup_1h_days' },
} as const;
export type RollupTable = keyof typeof ROLLUPS;

/**
 * One roll-up: a row a series and interval [t, t + width). `min`, `max`, `sum` and `last` are over the `count` finite
 * values (0 where there are none); `non_finite` counts NaN and infinities, stale markers not among them. `ver` is one more
 * with every computation; the newest counts.
 */
export function createRollup(name: RollupTable, topology: Topology): string {
  return `CREATE TABLE IF NOT EXISTS leeway.${name}${onCluster(topology)} (
  id UInt64 CODEC(Delta(8), ZSTD(1)), t DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)), min Float64 CODEC(ZSTD(1)), max Float64 CODEC(ZSTD(1)),
  sum Float64 CODEC(ZSTD(1)), last Float64 CODEC(ZSTD(1)), count UInt32 CODEC(T64, ZSTD(1)),
  non_finite UInt32 CODEC(T64, ZSTD(1)), ver UInt64 CODEC(Delta(8), ZSTD(1)))
ENGINE = ${mergeTree(name, 'Replacing', { topology, argument: 'ver' })} PARTITION BY toYYYYMM(t) ORDER BY (id, t)
${tableSettings(topology, ['ttl_only_drop_parts = 1'])}`;
}

/**
 * Minutes whose samples changed: a mark with sign 1 when an insert touched one, after its rows and before its ledger, and
 * one with sign −1 when both roll-ups have it. Marks are random, so no clock decides what is done.
 */
export function createDirty(topology: Topology): string {
  return `CREATE TABLE IF NOT EXISTS leeway.samples_dirty${onCluster(topology)} (
  t DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)), mark UInt64, sign Int8)
ENGINE = ${mergeTree('samples_dirty', 'Collapsing', { topology, argument: 'sign' })} ORDER BY (t, mark) ${tableSettings(topology)}`;
}

/** Sets how long a roll-up is kept. By the date: a DateTime ends in 2106, and 100 years from now would be past. */
export function keepRollup(name: RollupTable, topology: Topology, days: number): string {
  return `ALTER TABLE leeway.${name}${onCluster(topology)} MODIFY TTL toDate(t) + toIntervalDay(${days})`;
}
