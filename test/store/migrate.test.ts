import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { TYPED_TABLES } from '../../src/core/tables.ts';
import { openEmbeddedStore } from '../../src/store/embedded.ts';
import { EmbeddedEngine } from '../../src/store/embedded-engine.ts';
import { type Engine, EngineError, type WritingSession } from '../../src/store/engine.ts';
import { migrate } from '../../src/store/migrate.ts';
import { foundation, MIGRATIONS } from '../../src/store/migrations.ts';
import { RETENTION } from '../../src/store/rollup-schema.ts';
import { createTable } from '../../src/store/schema.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

const { signal } = new AbortController();
const ONE_SERVER = { topology: { cluster: null }, retention: RETENTION };
const SCHEMA = "SELECT name, create_table_query AS sql FROM system.tables WHERE database = 'leeway' ORDER BY name";

async function startEngine(data_dir: string): Promise<EmbeddedEngine> {
  const limits = { query_timeout_ms: 20_000, query_memory_bytes_max: 2e9 };
  return EmbeddedEngine.start({ data_dir, clock: systemClock, ...limits, onEvent: () => undefined });
}

/** `engine`, of which the `failing`th writing statement fails, before it ran or after. */
function failingAt(engine: EmbeddedEngine, failing: number, when: 'before' | 'after'): Engine & { ran: number } {
  const counted = {
    ran: 0,
    select: engine.select.bind(engine),
    [Symbol.asyncDispose]: async () => undefined,
    write: <Result>(work: (session: WritingSession) => Promise<Result>): Promise<Result> =>
      engine.write((session) => {
        const guard = async (run: () => Promise<void>): Promise<void> => {
          const fails = ++counted.ran === failing;
          if (!fails || when === 'after') await run();
          if (fails) throw new EngineError(999, 'planted');
        };
        return work({
          ...session,
          command: (sql) => guard(() => session.command(sql)),
          insert: (table, rows) => guard(() => session.insert(table, rows)),
        });
      }),
  };
  return counted;
}

test('a migration that stops at any statement is finished by the next start, to the same schema', async () => {
  await using directory = await scratchDirectory();
  await using engine = await startEngine(directory.path);
  const whole = failingAt(engine, 0, 'before');
  await migrate(whole, ONE_SERVER, signal);
  const expected = await engine.select(SCHEMA, {}, signal);
  expect(expected).toHaveLength(TYPED_TABLES.length + 7); // ledger, samples, migrations, dirty list, two roll-ups, dropped rows
  // of the tables of records, all made the same way, the first two and the last two
  const steps = Array.from({ length: whole.ran }, (_, index) => index + 1);
  const [first, last] = [steps.slice(0, 13), steps.slice(-4)];
  for (const failing of [...first, ...last]) {
    await engine.write((session) => session.command('DROP DATABASE leeway SYNC'));
    const when = failing % 2 === 0 ? 'before' : 'after';
    await expect(migrate(failingAt(engine, failing, when), ONE_SERVER, signal)).rejects.toMatchObject({
      engine_code: 999,
    });
    await migrate(engine, ONE_SERVER, signal);
    expect(await engine.select(SCHEMA, {}, signal), `statement ${failing} ${when}`).toEqual(expected);
  }
  const again = failingAt(engine, 0, 'before');
  await migrate(again, ONE_SERVER, signal);
  expect(again.ran).toBe(2); // nothing but the foundation
  expect(await engine.select('SELECT number FROM leeway.migrations FINAL ORDER BY number', {}, signal)).toEqual(
    MIGRATIONS.map(({ number }) => ({ number })),
  );
}, 60_000);

test('a store made before migrations were recorded is taken over with its rows', async () => {
  await using directory = await scratchDirectory();
  {
    await using engine = await startEngine(directory.path);
    // as version 0.1.0 of October 2026 made them
    const settings = 'SETTINGS fsync_after_insert = 1, fsync_part_directory = 1';
    await engine.write(async (session) => {
      for (const sql of [
        'CREATE DATABASE leeway',
        `CREATE TABLE leeway.frames (lineage UInt64 CODEC(Delta(8), ZSTD(1)), source LowCardinality(String), epoch UInt64 CODEC(ZSTD(1)),
  sequence UInt64 CODEC(Delta(8), ZSTD(1)), parts UInt8, \`table\` LowCardinality(String), rows UInt32 CODEC(T64, ZSTD(1)),
  duplicates UInt32 CODEC(T64, ZSTD(1)), stored_at DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)))
ENGINE = ReplacingMergeTree ORDER BY lineage ${settings}`,
        `CREATE TABLE leeway.budget (record_hash UInt64 CODEC(NONE), at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
  scope String CODEC(ZSTD(1)), period LowCardinality(String) CODEC(ZSTD(1)), rest String CODEC(ZSTD(1)),
  precedence UInt64 CODEC(Delta(8), ZSTD(1)), lin UInt64 ALIAS bitNot(precedence))
ENGINE = ReplacingMergeTree(precedence) PARTITION BY toYYYYMM(at) ORDER BY (at, record_hash) ${settings}`,
        "INSERT INTO leeway.budget VALUES (1, 0, '{}', 'month', '', bitNot(toUInt64(5)))",
        "INSERT INTO leeway.frames VALUES (5, 'old', 1, 1, 1, 'budget', 1, 0, 0)",
      ])
        await session.command(sql);
    });
  }
  await using store = await openEmbeddedStore({ data_dir: directory.path, clock: systemClock });
  expect(await store.account(signal)).toMatchObject([{ source: 'old', frame_rows: 1, stored: 1 }]);
  expect(await store.query('SELECT period, usd FROM leeway.budget', {}, signal)).toEqual([
    { period: 'month', usd: '' },
  ]);
  expect(await store.query('SELECT count() AS n FROM leeway.migrations', {}, signal)).toEqual([
    { n: String(MIGRATIONS.length) },
  ]);
});

test('samples that were stored before their codecs changed keep every bit, and are recoded when their parts merge', async () => {
  await using directory = await scratchDirectory();
  await using engine = await startEngine(directory.path);
  const topology = { cluster: null };
  const before = MIGRATIONS.filter(({ number }) => number < 4);
  const samples =
    'SELECT id, toUnixTimestamp64Milli(at) AS at_ms, mant, exp, precedence FROM leeway.samples FINAL ORDER BY id, at';
  // exact thirds as bits, decimals, negative mantissas; times that jitter by 0 to 4 ms
  const rows = `SELECT number % 3 AS id, fromUnixTimestamp64Milli(toInt64(1760000000000 + number * 1000 + number % 5), 'UTC') AS at,
  if(id = 0, reinterpretAsInt64(number / 3), toInt64(number) - 500) AS mant, if(id = 0, 127, id) AS exp, bitNot(toUInt64(intDiv(number, 10))) AS precedence
FROM numbers(1000)`;
  await engine.write(async (session) => {
    const statements = before.flatMap((migration) => migration.statements(topology));
    for (const sql of [...foundation(topology), ...statements]) await session.command(sql);
    await session.insert(
      'leeway.migrations',
      before.map(({ number, name }) => ({ number, name })),
    );
    await session.command(`INSERT INTO leeway.samples (id, at, mant, exp, precedence) ${rows}`);
  });
  const held = await engine.select(samples, {}, signal);
  expect(held).toHaveLength(1_000);
  await migrate(engine, ONE_SERVER, signal);
  expect(await engine.select(samples, {}, signal)).toEqual(held);
  await engine.write((session) => session.command('OPTIMIZE TABLE leeway.samples FINAL'));
  expect(await engine.select(samples, {}, signal)).toEqual(held);
  const codecs =
    "SELECT name, compression_codec AS codec FROM system.columns WHERE database = 'leeway' AND table = 'samples' AND compression_codec != '' ORDER BY name";
  expect(await engine.select(codecs, {}, signal)).toEqual([
    { name: 'at', codec: 'CODEC(Delta(8), ZSTD(1))' },
    { name: 'exp', codec: 'CODEC(ZSTD(1))' },
    { name: 'id', codec: 'CODEC(Delta(8), ZSTD(1))' },
    { name: 'mant', codec: 'CODEC(T64, ZSTD(1))' },
    { name: 'precedence', codec: 'CODEC(DoubleDelta, ZSTD(1))' },
  ]);
});

test('a store that a later version wrote is refused; retention follows the configuration', async () => {
  await using directory = await scratchDirectory();
  await using engine = await startEngine(directory.path);
  const ttl =
    "SELECT extract(create_table_query, 'TTL [^\\n]*?Day\\\\(\\\\d+\\\\)') AS ttl FROM system.tables WHERE name = 'samples_1m'";
  for (const rollup_1m_days of [90, 30, 36_500]) {
    await migrate(engine, { ...ONE_SERVER, retention: { ...RETENTION, rollup_1m_days } }, signal);
    expect(await engine.select(ttl, {}, signal)).toEqual([{ ttl: `TTL toDate(t) + toIntervalDay(${rollup_1m_days})` }]);
  }
  await engine.write((session) => session.insert('leeway.migrations', [{ number: 1_000, name: 'later' }]));
  await expect(migrate(engine, ONE_SERVER, signal)).rejects.toMatchObject({ code: 'LW-STORE' });
});

test('on a cluster every statement names it, every table is replicated, and the engine can parse all of it', async () => {
  const topology = { cluster: '{cluster}' };
  const statements = [
    ...foundation(topology),
    ...MIGRATIONS.flatMap((migration) => migration.statements(topology)),
    ...TYPED_TABLES.map((type) => createTable(type, topology)),
  ];
  await using directory = await scratchDirectory();
  await using engine = await startEngine(directory.path);
  for (const sql of statements) {
    expect(sql).toContain("ON CLUSTER '{cluster}'");
    if (sql.startsWith('CREATE TABLE'))
      expect(sql).toMatch(
        /ENGINE = Replicated(Replacing|Collapsing)MergeTree\('\/clickhouse\/tables\/\{shard\}\/leeway\/\w+', '\{replica\}'/,
      );
    expect((await engine.select(`EXPLAIN AST ${sql}`, {}, signal)).length).toBeGreaterThan(1);
  }
  expect(statements.find((sql) => sql.includes('`samples`'))).toMatchInlineSnapshot(`
    "CREATE TABLE IF NOT EXISTS \`leeway\`.\`samples\` ON CLUSTER '{cluster}' (
      id UInt64 CODEC(Delta(8), ZSTD(1)), at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)), mant Int64 CODEC(T64, ZSTD(1)),
      exp Int8 CODEC(ZSTD(1)), precedence UInt64 CODEC(Delta(8), ZSTD(1)), lin UInt64 ALIAS bitNot(precedence),
      value Float64 ALIAS if(exp = 127, reinterpretAsFloat64(mant), mant / [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15][if(exp = 127, 0, exp) + 1]))
    ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/leeway/samples', '{replica}', precedence) PARTITION BY toDate(at) ORDER BY (id, at)
    SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, replicated_deduplication_window = 0"
  `);
});
