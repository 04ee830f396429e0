import { DATABASE, literal } from './names.ts';

/**
 * Where tables live. `cluster`: every statement runs on all of its servers and tables are replicated among them (the
 * macros {shard} and {replica} must be defined there); null: one server, or the embedded engine.
 */
export type Topology = { readonly cluster: string | null };

/** ` ON CLUSTER …` after a table's or database's name. */
export function onCluster({ cluster }: Topology): string {
  return cluster === null ? '' : ` ON CLUSTER ${literal(cluster)}`;
}

/** The engine `kind`MergeTree(`argument`) of table `name`, replicated on a cluster. */
export function mergeTree(
  name: string,
  kind: string,
  { topology, argument = '' }: { topology: Topology; argument?: string },
): string {
  if (topology.cluster === null) return `${kind}MergeTree${argument === '' ? '' : `(${argument})`}`;
  const place = `'/clickhouse/tables/{shard}/${DATABASE}/${name}', '{replica}'`;
  return `Replicated${kind}MergeTree(${argument === '' ? place : `${place}, ${argument}`})`;
}

/**
 * Settings of every table: a part is on disk before its insert is acknowledged; equal blocks are never dropped as repeats,
 * because a block may be inserted again after its rows were lost with a part (the keys make repeats harmless).
 */
export function tableSettings({ cluster }: Topology, more: readonly string[] = []): string {
  const replicated = cluster === null ? [] : ['replicated_deduplication_window = 0'];
  return `SETTINGS ${['fsync_after_insert = 1', 'fsync_part_directory = 1', ...replicated, ...more].join(', ')}`;
}
