import { SAMPLES, type TableName } from '../core/tables.ts';
import type { Engine, WritingSession } from './engine.ts';
import { literal } from './names.ts';
import { tableName } from './schema.ts';
import { countStored } from './stored-rows.ts';
import { mergeTree, onCluster, tableSettings, type Topology } from './topology.ts';

/** Telemetry by the second or the request. Jobs, deployments, labels and everything about money are kept. */
const RAW_TABLES: readonly TableName[] = [
  SAMPLES,
  'step',
  'heartbeat',
  'gpu',
  'nic',
  'host',
  'inference',
  'prediction',
  'histogram',
  'exemplar',
];

/**
 * Rows that retention dropped, by source and epoch: the account goes on counting them. A pass writes what a partition
 * holds, drops it, and ends as done (1); of a pass that is not done (0) the rows count while the partition is gone. The next
 * pass ends it: as done when its `first_lineage` has no rows in the partition any more, else as void (2).
 */
export function createExpired(topology: Topology): string {
  return `CREATE TABLE IF NOT EXISTS leeway.expired${onCluster(topology)} (
  \`table\` LowCardinality(String), partition LowCardinality(String), pass UInt64, source LowCardinality(String), epoch UInt64,
  rows UInt64, first_lineage UInt64, done UInt8)
ENGINE = ${mergeTree('expired', 'Replacing', { topology, argument: 'done' })} ORDER BY (\`table\`, partition, pass, source, epoch)
${tableSettings(topology)}`;
}

/** By source and epoch, rows of the passes that are done, and those of the others with their partition; in order. */
export const EXPIRED_ROWS = `SELECT source, epoch, if(done = 1, '', concat(\`table\`, ' ', partition)) AS place, sum(rows) AS expired
FROM leeway.expired FINAL WHERE done < 2 GROUP BY source, epoch, place ORDER BY source, epoch, place`;

export type ExpireOptions = { readonly now_ms: number; readonly raw_days: number; readonly topology: Topology };

export type Expired = { readonly partitions: number; readonly rows: number };

type PartitionRow = { table: TableName; partition: string };
type PassRow = PartitionRow & { pass: string; first_lineage: string };

/**
 * Drops whole partitions of raw telemetry (a day of samples, a month of records) whose last moment is more than
 * `raw_days` ago. A partition waits while its minutes are not rolled up, or while it has rows whose frame is not in the ledger
 * yet. One at a time (the caller's lease). Rows that arrive for a partition while it is dropped are lost with it, and the
 * account shows them.
 */
export function expire(engine: Engine, options: ExpireOptions, signal: AbortSignal): Promise<Expired> {
  return engine.write(async (session) => {
    const list = RAW_TABLES.map(literal).join(', ');
    const partitions = await session.rows<PartitionRow>(
      `SELECT DISTINCT table, partition_id AS partition FROM system.parts
WHERE database = 'leeway' AND active AND rows > 0 AND table IN (${list}) ORDER BY table, partition`,
    );
    let [count, rows] = [0, 0];
    await endPasses(session);
    for (const place of partitions) {
      signal.throwIfAborted();
      if (endOf(place.partition) > options.now_ms - options.raw_days * 86_400_000) continue;
      const dropped = await dropPartition(session, place, options.topology);
      if (dropped === null) continue;
      count++;
      rows += dropped;
    }
    return { partitions: count, rows };
  }, signal);
}

/** The Unix ms at which the partition `YYYYMM` or `YYYYMMDD` ends. */
function endOf(partition: string): number {
  const [year, month, day] = [partition.slice(0, 4), partition.slice(4, 6), partition.slice(6, 8)].map(Number);
  if (year === undefined || month === undefined || !/^\d{6}(\d\d)?$/.test(partition)) return Infinity;
  return partition.length === 6 ? Date.UTC(year, month) : Date.UTC(year, month - 1, (day ?? 0) + 1);
}

async function dropPartition(session: WritingSession, place: PartitionRow, topology: Topology): Promise<number | null> {
  const { table, partition } = place;
  if (table === SAMPLES && (await isDirty(session, partition))) return null;
  const counted = await countStored((sql) => session.rows(sql), [place], { watermarks: null });
  if (counted.some((row) => row.known === 0)) return null;
  const [last] = await session.rows<{ pass: string }>(
    `SELECT max(pass) AS pass FROM leeway.expired WHERE \`table\` = ${literal(table)} AND partition = ${literal(partition)}`,
  );
  const [first] = await session.rows<{ lineage: string }>(
    `SELECT bitNot(max(precedence)) AS lineage FROM ${tableName(table)} WHERE _partition_id = ${literal(partition)}`,
  );
  const pass = { table, partition, pass: String(BigInt(last?.pass ?? 0) + 1n), first_lineage: first?.lineage ?? '0' };
  const rows = counted.map(({ source, epoch, stored }) => ({ ...pass, source, epoch, rows: String(stored), done: 0 }));
  await session.insert('leeway.expired', rows);
  await session.command(
    `ALTER TABLE ${tableName(table)}${onCluster(topology)} DROP PARTITION ID ${literal(partition)}`,
  );
  await session.command(endPass(pass, 1));
  return rows.reduce((sum, row) => sum + Number(row.rows), 0);
}

/** Ends passes that were cut short: their partition was dropped, or it was not. */
async function endPasses(session: WritingSession): Promise<void> {
  const open = await session.rows<PassRow>(
    `SELECT DISTINCT \`table\`, partition, pass, first_lineage FROM leeway.expired FINAL WHERE done = 0`,
  );
  for (const pass of open) {
    const [held] = await session.rows<{ rows: string }>(
      `SELECT count() AS rows FROM ${tableName(pass.table)}
WHERE _partition_id = ${literal(pass.partition)} AND precedence = bitNot(toUInt64(${BigInt(pass.first_lineage)}))`,
    );
    await session.command(endPass(pass, Number(held?.rows) === 0 ? 1 : 2));
  }
}

function endPass({ table, partition, pass }: PassRow, done: 1 | 2): string {
  return `INSERT INTO leeway.expired (\`table\`, partition, pass, source, epoch, rows, first_lineage, done)
SELECT \`table\`, partition, pass, source, epoch, rows, first_lineage, ${done} FROM leeway.expired FINAL
WHERE \`table\` = ${literal(table)} AND partition = ${literal(partition)} AND pass = ${BigInt(pass)} AND done = 0
SETTINGS async_insert = 0`;
}

async function isDirty(session: WritingSession, partition: string): Promise<boolean> {
  const [row] = await session.rows<{ marks: string }>(
    `SELECT count() AS marks FROM (SELECT t, mark FROM leeway.samples_dirty WHERE toYYYYMMDD(t, 'UTC') = ${Number(partition)}
GROUP BY t, mark HAVING sum(sign) > 0)`,
  );
  return Number(row?.marks) > 0;
}
