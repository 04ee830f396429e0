import { TYPED_TABLES } from '../core/tables.ts';
import type { Engine } from './engine.ts';
import { createStatements, tableName, typedColumns } from './schema.ts';

/** Creates the tables and adds the columns that are missing; idempotent. */
export function migrate(engine: Engine, signal: AbortSignal): Promise<void> {
  return engine.write(async (session) => {
    const held = await session.rows<{ table: string; name: string }>(
      "SELECT table, name FROM system.columns WHERE database = 'leeway'",
    );
    const columns = Map.groupBy(held, (column) => column.table);
    for (const { table, sql } of createStatements()) {
      signal.throwIfAborted();
      if (!columns.has(table)) await session.command(sql);
    }
    for (const type of TYPED_TABLES) {
      const names = columns.get(type)?.map((column) => column.name);
      for (const [name, definition] of typedColumns(type))
        if (names !== undefined && !names.includes(name))
          await session.command(`ALTER TABLE ${tableName(type)} ADD COLUMN IF NOT EXISTS ${definition}`);
    }
  }, signal);
}
