import fc from 'fast-check';
import { expect, test } from 'vitest';
import { canonicalJson } from '../../src/core/canonical.ts';
import { systemClock } from '../../src/core/clock.ts';
import { ok } from '../../src/core/outcome.ts';
import { type LeewayRecord, RECORD_TYPES } from '../../src/core/records.ts';
import { recordOf } from '../../src/formats/record-rows.ts';
import { openEmbeddedStore } from '../../src/store/embedded.ts';
import { tableName } from '../../src/store/schema.ts';
import { openSpool } from '../../src/transport/spool.ts';
import { anyRecord } from '../contract/any-record.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

const PER_TYPE = 60;
const seed = Number(process.env['LEEWAY_SEED'] ?? Date.now() % 1_000_000);
const signal = new AbortController().signal;

test(`any record of every type comes back from the engine exactly as it was accepted (seed ${seed})`, async () => {
  const byType = new Map(
    RECORD_TYPES.map((type) => [type, fc.sample(anyRecord(type), { numRuns: PER_TYPE, seed })] as const),
  );
  await using directory = await scratchDirectory();
  const data_dir = directory.path;
  await using store = await openEmbeddedStore({ data_dir, clock: systemClock });
  const known = { sequences: [], lineage_max: 0n };
  await using bus = await openSpool({ data_dir, bytes_max: 1e9, fsync: false, clock: systemClock, known, close_ms: 0 });
  const records: LeewayRecord[] = [...byType.values()].flat();
  await bus.publish({ source: 'any', epoch: 1, sequence: 1, records }, signal);
  const stop = new AbortController();
  await bus.consume(async (delivery) => {
    expect(await store.insert(delivery, signal), delivery.table).toEqual(ok(undefined));
    if (bus.backlog().frames === 1) stop.abort();
    return ok(undefined);
  }, stop.signal);
  for (const [type, sent] of byType) {
    const rows = await store.query<Record<string, unknown>>(`SELECT * FROM ${tableName(type)} FINAL`, {}, signal);
    const held = rows.map((row) => canonicalJson(recordOf(type, row))).toSorted();
    expect(held, type).toEqual([...new Set(sent.map(canonicalJson))].toSorted());
  }
  const [account] = await store.account(signal);
  const distinct = new Set(records.map(canonicalJson)).size;
  expect(account).toMatchObject({ frame_rows: records.length, stored: distinct });
  expect(account?.duplicates_absorbed).toBe(records.length - distinct);
}, 20_000);
