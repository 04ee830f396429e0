import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, describe, expect, test } from 'vitest';
import { ENGINE_STATE } from '../../src/control/collections.ts';
import { openSqliteControl } from '../../src/control/sqlite.ts';
import { ManualClock } from '../../src/core/clock.ts';
import type { ControlTransaction } from '../../src/core/ports.ts';
import { controlContract } from '../contract/control.ts';

const directories: string[] = [];
const scratch = (): string => {
  const directory = mkdtempSync(join(tmpdir(), 'leeway-control-'));
  directories.push(directory);
  return directory;
};
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true });
});

describe('the contract, in memory', () =>
  controlContract((clock) => openSqliteControl({ data_dir: ':memory:', clock })));

describe('the contract, in a file', () =>
  controlContract((clock) => openSqliteControl({ data_dir: scratch(), clock })));

const state = (count: number) => ({ engine: 'drift', updated_at_ms: 1, state: { count } });

test('what a resolved transaction wrote is there after closing and opening again', async () => {
  const data_dir = scratch();
  const clock = new ManualClock();
  {
    await using control = await openSqliteControl({ data_dir, clock });
    await control.transaction((tx) => tx.insert(ENGINE_STATE, 'drift/a', state(7)));
    await control.lease('shard', 'one', 1000);
  }
  await using control = await openSqliteControl({ data_dir, clock });
  expect((await control.transaction((tx) => tx.get(ENGINE_STATE, 'drift/a')))?.body).toEqual(state(7));
  expect(await control.lease('shard', 'two', 1000)).toBe(false);
});

test('the file uses a write-ahead log, strict tables and an index for each indexed field', async () => {
  const data_dir = scratch();
  await using control = await openSqliteControl({ data_dir, clock: new ManualClock() });
  await control.transaction((tx) => tx.insert(ENGINE_STATE, 'drift/a', state(1)));
  using reader = new DatabaseSync(join(data_dir, 'control.sqlite'), { readOnly: true });
  expect(reader.prepare('PRAGMA journal_mode').get()).toEqual({ journal_mode: 'wal' });
  const tables = reader.prepare("SELECT name, strict FROM pragma_table_list WHERE name = 'doc_engine_state'").all();
  expect(tables).toEqual([{ name: 'doc_engine_state', strict: 1 }]);
  const plan = reader
    .prepare("EXPLAIN QUERY PLAN SELECT id FROM doc_engine_state WHERE json_extract(body, '$.engine') = 'drift'")
    .all()
    .map((row) => String(row['detail']));
  expect(plan.join()).toContain('doc_engine_state_engine');
});

test('a field that is not indexed cannot be filtered or ordered by', async () => {
  await using control = await openSqliteControl({ data_dir: ':memory:', clock: new ManualClock() });
  const hostile = [{ field: "x') OR 1=1 --", is: '=', value: 1 } as const];
  await expect(control.transaction((tx) => tx.count(ENGINE_STATE, hostile))).rejects.toThrow('is indexed in');
});

test('a transaction that is kept and used after its end fails instead of writing outside one', async () => {
  await using control = await openSqliteControl({ data_dir: ':memory:', clock: new ManualClock() });
  let kept: ControlTransaction | null = null;
  await control.transaction(async (tx) => {
    kept = tx;
  });
  const late = (kept as ControlTransaction | null)?.insert(ENGINE_STATE, 'x', state(1));
  await expect(late).rejects.toThrow('not used after it ended');
});

test('a directory that cannot be made is LW-DATA-DIR with the path and a next step', async () => {
  const file = join(scratch(), 'a-file');
  writeFileSync(file, '');
  const opening = openSqliteControl({ data_dir: join(file, 'below'), clock: new ManualClock() });
  await expect(opening).rejects.toMatchObject({ code: 'LW-DATA-DIR' });
});
