import type { WritingSession } from '../../../src/store/engine.ts';
import type { Sums, SumRow } from './checksum.ts';
import type { Series } from './corpus.ts';

export type ColumnBytes = { readonly column: string; readonly bytes: number };

/** Merges a table to one part a partition. */
export function optimize(session: WritingSession, table: string): Promise<void> {
  return session.command(`OPTIMIZE TABLE ${table} FINAL SETTINGS optimize_throw_if_noop = 0`);
}

/** Bytes on disk of a table's active parts: columns, marks, primary index, skipping indices and checksums. */
export async function tableBytes(session: WritingSession, table: string): Promise<number> {
  const [row] = await session.rows<{ bytes: string }>(
    `SELECT sum(bytes_on_disk) AS bytes FROM system.parts WHERE active AND concat(database, '.', table) = '${table}'`,
  );
  return Number(row?.bytes ?? 0);
}

/** Bytes of each column with its marks, most first; `(indices and rest)` is what the parts have beyond them. */
export async function columnBytes(session: WritingSession, table: string): Promise<ColumnBytes[]> {
  const rows = await session.rows<{ column: string; bytes: string }>(
    `SELECT column, sum(column_bytes_on_disk) AS bytes FROM system.parts_columns
WHERE active AND concat(database, '.', table) = '${table}' GROUP BY column ORDER BY bytes DESC`,
  );
  const columns = rows.map(({ column, bytes }) => ({ column, bytes: Number(bytes) }));
  const rest = (await tableBytes(session, table)) - columns.reduce((sum, { bytes }) => sum + bytes, 0);
  return [...columns, { column: '(indices and rest)', bytes: rest }];
}

/** Throws unless the store gives back every sample that was sent, bit by bit, series by series. */
export async function checkSums(
  session: WritingSession,
  sql: string,
  sent: { readonly series: readonly Series[]; readonly sums: Sums; readonly layout: string },
): Promise<void> {
  const { series, sums, layout } = sent;
  const held = new Map(
    (await session.rows<SumRow>(sql)).map(({ metric, uuid, n, hash }) => [`${metric} ${uuid}`, `${n} ${hash}`]),
  );
  if (held.size !== series.length) throw new Error(`${layout}: ${held.size} series of ${series.length}`);
  for (const { number, metric, labels } of series) {
    const name = `${metric.name} ${labels['uuid']}`;
    const expected = `${sums.counts[number]} ${sums.hashes[number]}`;
    if (held.get(name) !== expected)
      throw new Error(`${layout}: ${name} has count and hash ${held.get(name)}, sent were ${expected}`);
  }
}
