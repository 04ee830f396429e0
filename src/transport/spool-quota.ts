import type { TableName } from '../core/tables.ts';

/** What a full spool does with a signal: refuse its sender, give up the oldest of it, or give up what arrives. */
export type DropPolicy = 'block' | 'drop_oldest' | 'drop_newest';

/**
 * Signals that policies are declared for. `metrics`: samples of any series and what nodes report every second; `predictions`:
 * what models answered, was true and cost to answer; `records`: everything else, what people and invoices are about.
 */
export const SIGNALS = ['metrics', 'predictions', 'records'] as const;
export type Signal = (typeof SIGNALS)[number];
export type SpoolPolicies = Readonly<Record<Signal, DropPolicy>>;

const METRICS: ReadonlySet<TableName> = new Set([
  'samples',
  'series',
  'histogram',
  'exemplar',
  'metadata',
  'gpu',
  'nic',
  'host',
]);
const PREDICTIONS: ReadonlySet<TableName> = new Set(['prediction', 'label', 'counts', 'inference']);

/** The signal that a table belongs to. */
export function signalOf(table: TableName): Signal {
  if (METRICS.has(table)) return 'metrics';
  return PREDICTIONS.has(table) ? 'predictions' : 'records';
}

/** Every signal with its policy: its own where it is declared, else that of the spool. */
export function policiesOf(policy: DropPolicy, own: Readonly<Partial<Record<Signal, DropPolicy>>> = {}): SpoolPolicies {
  const of = (signal: Signal): DropPolicy => own[signal] ?? policy;
  return { metrics: of('metrics'), predictions: of('predictions'), records: of('records') };
}

/** Rows of one table of one batch, by the bytes that they take in the spool. */
type Incoming = { readonly table: TableName; readonly bytes: number };

/** What waits in the spool and is not being delivered. A lower number is older. */
type Waiting = { readonly number: number; readonly table: TableName; readonly bytes: number };

export type Admission =
  | { readonly kind: 'refuse' }
  /** The batch is taken, without the tables in `shed`; room is made by droppedFor before it is written. */
  | { readonly kind: 'take'; readonly shed: ReadonlySet<TableName> };

const NONE: ReadonlySet<TableName> = new Set();

/**
 * What becomes of a batch whose parts are `incoming`, where `over_bytes` are missing for all of it. What fits is taken
 * whole. Else its drop_newest parts are shed; what is then still missing must be there to drop (`droppable_bytes`, of
 * drop_oldest segments), or the batch is refused whole and nothing of it is lost.
 */
export function admit(
  incoming: readonly Incoming[],
  space: { readonly over_bytes: number; readonly droppable_bytes: number },
  policies: SpoolPolicies,
): Admission {
  if (space.over_bytes <= 0) return { kind: 'take', shed: NONE };
  const shed = incoming.filter(({ table }) => policies[signalOf(table)] === 'drop_newest');
  let over_bytes = space.over_bytes;
  for (const { bytes } of shed) over_bytes -= bytes;
  if (over_bytes > space.droppable_bytes) return { kind: 'refuse' };
  return { kind: 'take', shed: new Set(shed.map(({ table }) => table)) };
}

/** Bytes that can be dropped for others' sake. */
export function droppableBytes(waiting: Iterable<Waiting>, policies: SpoolPolicies): number {
  let sum = 0;
  for (const { table, bytes } of waiting) if (policies[signalOf(table)] === 'drop_oldest') sum += bytes;
  return sum;
}

/**
 * The segments to drop so that `over_bytes` become free: the oldest of all signals that are drop_oldest, no more of them
 * than needed; all of them where that is not enough. Deterministic.
 */
export function droppedFor<Segment extends Waiting>(
  over_bytes: number,
  waiting: Iterable<Segment>,
  policies: SpoolPolicies,
): Segment[] {
  const oldest = [...waiting]
    .filter(({ table }) => policies[signalOf(table)] === 'drop_oldest')
    .sort((one, other) => one.number - other.number);
  const dropped: Segment[] = [];
  let left = over_bytes;
  for (const segment of oldest) {
    if (left <= 0) break;
    dropped.push(segment);
    left -= segment.bytes;
  }
  return dropped;
}
