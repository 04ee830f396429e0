import { createExpired } from './expire.ts';
import { DATABASE } from './names.ts';
import { createDirty, createRollup } from './rollup-schema.ts';
import { createSamples, recodeSamples } from './sample-schema.ts';
import { createFrames } from './schema.ts';
import { mergeTree, onCluster, tableSettings, type Topology } from './topology.ts';

/** A step of the store's schema. Its statements may run again after a part of them ran. Numbers never change meaning. */
export type Migration = {
  readonly number: number;
  readonly name: string;
  readonly statements: (topology: Topology) => readonly string[];
};

/**
 * Every step in order. Tables of records are none of them: core/tables.ts says what they hold, and each start makes what
 * is missing.
 */
export const MIGRATIONS: readonly Migration[] = [
  {
    number: 1,
    name: 'ledger and samples',
    statements: (topology) => [createFrames(topology), createSamples(topology)],
  },
  {
    number: 2,
    name: 'rollups of samples',
    statements: (topology) => [
      createDirty(topology),
      createRollup('samples_1m', topology),
      createRollup('samples_1h', topology),
    ],
  },
  { number: 3, name: 'rows that retention dropped', statements: (topology) => [createExpired(topology)] },
  { number: 4, name: 'smaller times and lineages', statements: (topology) => [recodeSamples(topology)] },
];

/** What every store has before its first migration: the database and the list of those that are done. */
export function foundation(topology: Topology): string[] {
  return [
    `CREATE DATABASE IF NOT EXISTS ${DATABASE}${onCluster(topology)}`,
    `CREATE TABLE IF NOT EXISTS ${DATABASE}.migrations${onCluster(topology)} (
  number UInt32, name String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3))
ENGINE = ${mergeTree('migrations', 'Replacing', { topology })} ORDER BY number ${tableSettings(topology)}`,
  ];
}
