import { kafkajsDriver } from '../../src/transport/kafkajs-driver.ts';
import type { ClickHouseDouble } from '../store/clickhouse-double.ts';
import { EPOCH, type LoadOptions, sourceName, type Totals, WEIGHTS } from './fleet-load.ts';
import type { Fleet } from './fleet-place.ts';

/** One row of `GET /api/v1/delivery`. */
export type Account = {
  readonly source: string;
  readonly epoch: string;
  readonly emitted: number;
  readonly stored: number;
  readonly in_flight: number;
  readonly declared_loss: Readonly<Record<string, number>>;
  readonly duplicates_absorbed: number;
  readonly sequences_missing: number;
};

export async function accounts(fleet: Fleet): Promise<Account[]> {
  const answer = await fetch(`${fleet.console.url}/api/v1/delivery?limit=500`);
  const { items } = (await answer.json()) as { items: Account[] }; // Leeway's own API
  return items;
}

/** Messages of the topic that the group has not committed, by partition. */
export async function lagOf(fleet: Fleet): Promise<number[]> {
  const { brokers } = fleet.kafka;
  const driver = kafkajsDriver({ brokers, tls: false, sasl: null, session_timeout_ms: 6_000, heartbeat_ms: 300 });
  try {
    const positions = await driver.positions('leeway.frames.v1', 'leeway.workers');
    return positions.map(({ end, low, committed }) => Number(end - (committed ?? low)));
  } finally {
    await driver.close();
  }
}

/** What the store holds of a load, as SQL counts it from the rows. */
export type Held = {
  readonly rows: number;
  readonly tenths: bigint;
  readonly weighted: bigint;
  readonly keys: number;
  readonly odd_exponents: number;
  /** Rows on disk, repeats that merges have not removed included. */
  readonly physical: number;
};

export async function heldBy(store: ClickHouseDouble, { start_ms, step_ms }: LoadOptions): Promise<Held> {
  const tenths = 'toInt128(mant) * if(exp = 0, 10, 1)';
  const tick = `intDiv(toUnixTimestamp64Milli(at) - ${start_ms}, ${step_ms})`;
  type Row = Record<'rows' | 'tenths' | 'weighted' | 'keys_count' | 'odd' | 'physical', string>;
  const [row] = await store.sql<Row>(
    `SELECT count() AS rows, toString(sum(${tenths})) AS tenths, toString(sum(${tenths} * (${tick} % ${WEIGHTS}))) AS weighted,
  uniqExact(id, at) AS keys_count, countIf(exp NOT IN (0, 1)) AS odd, (SELECT count() FROM leeway.samples) AS physical
FROM leeway.samples FINAL`,
  );
  if (row === undefined) throw new Error('the store says nothing');
  return {
    rows: Number(row.rows),
    tenths: BigInt(row.tenths),
    weighted: BigInt(row.weighted),
    keys: Number(row.keys_count),
    odd_exponents: Number(row.odd),
    physical: Number(row.physical),
  };
}

/** Minutes that wait for their roll-up. */
export async function dirtyMinutes(store: ClickHouseDouble): Promise<number> {
  const [row] = await store.sql<{ left: string }>(
    'SELECT uniqExact(t) AS left FROM (SELECT t FROM leeway.samples_dirty GROUP BY t, mark HAVING sum(sign) > 0)',
  );
  return Number(row?.left);
}

export type RollupCheck = { readonly rows: number; readonly expected: number; readonly different: number };

/** Rows of a roll-up that are not what raw samples give: sums to the tenth, everything else to the bit. */
export async function rollupDifference(
  store: ClickHouseDouble,
  table: 'samples_1m' | 'samples_1h',
): Promise<RollupCheck> {
  const seconds = table === 'samples_1m' ? 60 : 3_600;
  const [row] = await store.sql<Record<'held' | 'expected' | 'different', string>>(
    `SELECT (SELECT count() FROM leeway.${table} FINAL) AS held, countIf(raw_count > 0) AS expected,
  countIf(raw_count != count OR raw_min != min OR raw_max != max OR raw_last != last OR raw_tenths != round(sum * 10)) AS different
FROM (
  SELECT id, toStartOfInterval(toDateTime(at, 'UTC'), toIntervalSecond(${seconds})) AS t, toUInt32(count()) AS raw_count,
    min(value) AS raw_min, max(value) AS raw_max, argMax(value, at) AS raw_last, sum(mant * if(exp = 0, 10, 1)) AS raw_tenths
  FROM leeway.samples FINAL GROUP BY id, t
) AS raw FULL OUTER JOIN (SELECT id, t, min, max, sum, last, count FROM leeway.${table} FINAL) AS kept USING (id, t)`,
  );
  return { rows: Number(row?.held), expected: Number(row?.expected), different: Number(row?.different) };
}

/** What is wrong with the end of a run, in words; empty when stored = emitted and nothing is doubled. */
export function faultsOf(
  { sources, series }: LoadOptions,
  found: { readonly sent: Totals; readonly held: Held; readonly account: readonly Account[]; readonly lag: number[] },
): string[] {
  const { sent, held, account, lag } = found;
  const faults: string[] = [];
  const expect = (what: string, got: number | bigint, wanted: number | bigint): void => {
    if (got !== wanted) faults.push(`${what}: ${got}, expected ${wanted}`);
  };
  expect('samples stored', held.rows, sent.rows);
  expect('sum of tenths', held.tenths, sent.tenths);
  expect('weighted sum of tenths', held.weighted, sent.weighted);
  expect('distinct keys', held.keys, held.rows);
  expect('exponents beyond tenths', held.odd_exponents, 0);
  expect(
    'lag',
    lag.reduce((sum, one) => sum + one, 0),
    0,
  );
  for (const { source, epoch, emitted, stored, in_flight, sequences_missing, declared_loss } of account) {
    const name = `${source} epoch ${epoch}`;
    expect(`stored of ${name}`, stored, emitted);
    expect(`in flight of ${name}`, in_flight, 0);
    expect(`sequences missing of ${name}`, sequences_missing, 0);
    expect(`reasons of loss of ${name}`, Object.keys(declared_loss).length, 0);
  }
  for (let index = 0; index < sources; index++) {
    const own = account.find(({ source, epoch }) => source === sourceName(index) && epoch === String(EPOCH));
    // every series was announced at least once, and is a row beside its samples
    const least = sent.rows / sources + series;
    if ((own?.stored ?? 0) < least) faults.push(`${sourceName(index)}: ${own?.stored} rows, expected ${least} or more`);
  }
  return faults;
}
