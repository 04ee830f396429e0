import { LeewayError } from '../core/errors.ts';
import { TYPED_TABLES } from '../core/tables.ts';
import type { Engine, WritingSession } from './engine.ts';
import { foundation, MIGRATIONS } from './migrations.ts';
import { DATABASE } from './names.ts';
import { keepRollup, type Retention, ROLLUPS, type RollupTable } from './rollup-schema.ts';
import { createTable, tableName, typedColumns } from './schema.ts';
import { onCluster, type Topology } from './topology.ts';

export type MigrateOptions = { readonly topology: Topology; readonly retention: Retention };

/**
 * Brings the store to this version's schema: numbered migrations that are not recorded in `leeway.migrations`, then tables
 * and columns of core/tables.ts that are missing, then retention. Every statement may have run before, so a start that
 * was cut short anywhere is finished by the next. Failures: LW-STORE when a later version wrote the store; LW-CONFIG when
 * its tables are not replicated and a cluster is configured.
 */
export function migrate(engine: Engine, options: MigrateOptions, signal: AbortSignal): Promise<void> {
  return engine.write(async (session) => {
    const { topology } = options;
    for (const sql of foundation(topology)) await session.command(sql);
    await assertReplicated(session, topology);
    await runMigrations(session, topology, signal);
    await addTables(session, topology, signal);
    await keep(session, options);
  }, signal);
}

async function runMigrations(session: WritingSession, topology: Topology, signal: AbortSignal): Promise<void> {
  const done = await session.rows<{ number: number }>(`SELECT number FROM ${DATABASE}.migrations`);
  const known = new Set(done.map(({ number }) => number));
  const newest = MIGRATIONS.at(-1)?.number ?? 0;
  for (const number of known)
    if (number > newest)
      throw new LeewayError(
        'LW-STORE',
        `the store has migration ${number}, this version knows ${newest}: a later version wrote it; start that version`,
      );
  for (const { number, name, statements } of MIGRATIONS) {
    if (known.has(number)) continue;
    for (const sql of statements(topology)) {
      signal.throwIfAborted();
      await session.command(sql);
    }
    await session.insert(`${DATABASE}.migrations`, [{ number, name }]);
  }
}

async function addTables(session: WritingSession, topology: Topology, signal: AbortSignal): Promise<void> {
  const held = await session.rows<{ table: string; name: string }>(
    `SELECT table, name FROM system.columns WHERE database = '${DATABASE}'`,
  );
  const columns = Map.groupBy(held, (column) => column.table);
  for (const type of TYPED_TABLES) {
    signal.throwIfAborted();
    const names = columns.get(type)?.map((column) => column.name);
    if (names === undefined) await session.command(createTable(type, topology));
    else
      for (const [name, definition] of typedColumns(type))
        if (!names.includes(name))
          await session.command(
            `ALTER TABLE ${tableName(type)}${onCluster(topology)} ADD COLUMN IF NOT EXISTS ${definition}`,
          );
  }
}

/** Sets the time that roll-ups are kept where it is another than configured. */
async function keep(session: WritingSession, { topology, retention }: MigrateOptions): Promise<void> {
  const tables = await session.rows<{ name: RollupTable; days: string }>(
    `SELECT name, extract(create_table_query, 'TTL toDate\\\\(t\\\\) \\\\+ toIntervalDay\\\\((\\\\d+)\\\\)') AS days
FROM system.tables WHERE database = '${DATABASE}' AND name IN ('samples_1m', 'samples_1h')`,
  );
  for (const { name, days } of tables) {
    const wanted = retention[ROLLUPS[name].days];
    if (Number(days) !== wanted) await session.command(keepRollup(name, topology, wanted));
  }
}

async function assertReplicated(session: WritingSession, { cluster }: Topology): Promise<void> {
  if (cluster === null) return;
  const [single] = await session.rows<{ name: string }>(
    `SELECT name FROM system.tables WHERE database = '${DATABASE}' AND engine LIKE '%MergeTree' AND NOT engine LIKE 'Replicated%' LIMIT 1`,
  );
  if (single !== undefined)
    throw new LeewayError(
      'LW-CONFIG',
      `table ${single.name} was made for one server, and store.cluster is ${cluster}; move its rows to a new cluster or remove the setting`,
    );
}
