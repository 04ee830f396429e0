import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { ok } from '../../src/core/outcome.ts';
import type { Store } from '../../src/core/ports.ts';
import { openEmbeddedStore } from '../../src/store/embedded.ts';
import { deliveryOf, lineage } from '../contract/frames.ts';
import { steps } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

const signal = new AbortController().signal;

/** Asks `count` times at once; by what came of them: `ok`, the code of the refusal, or `gone`. */
async function ask(store: Store, sql: string, count: number, asking: AbortSignal): Promise<Record<string, number>> {
  const asked = Array.from({ length: count }, () => store.query(sql, {}, asking));
  const ends: Record<string, number> = {};
  for (const end of await Promise.allSettled(asked)) {
    const code: unknown = end.status === 'rejected' ? Reflect.get(Object(end.reason), 'code') : 'ok';
    const name = typeof code === 'string' ? code : 'gone';
    ends[name] = (ends[name] ?? 0) + 1;
  }
  return ends;
}

test('readers that gave up hold no place: inserts go on, and the next reader need not wait for them', async () => {
  await using directory = await scratchDirectory();
  await using store = await openEmbeddedStore({ data_dir: directory.path, clock: systemClock });
  const started_ms = systemClock.elapsed_ms();
  for (let place = 1; place <= 5; place++) {
    const gone = new AbortController();
    const asked = ask(store, 'SELECT sleep(0.1)', 400, gone.signal);
    gone.abort();
    expect(await asked).toEqual({ gone: 400 });
    const frame = { lineage: lineage(0, place), source: 's', sequence: place, records: steps(place, place + 1) };
    expect(await store.insert(await deliveryOf(directory.path, 'step', [frame]), signal)).toEqual(ok(undefined));
  }
  expect(await store.query('SELECT 1 AS one', {}, signal)).toEqual([{ one: 1 }]);
  // 2,000 sleeps of 0.1 s in two sessions are 100 s
  expect(systemClock.elapsed_ms() - started_ms).toBeLessThan(30_000);
});

test('readers beyond 500 are told to come again, whatever is inserted meanwhile', async () => {
  await using directory = await scratchDirectory();
  await using store = await openEmbeddedStore({ data_dir: directory.path, clock: systemClock });
  const asked = ask(store, 'SELECT 1', 1_100, signal);
  const frame = { lineage: lineage(0, 1), source: 's', sequence: 1, records: steps(1, 2) };
  expect(await store.insert(await deliveryOf(directory.path, 'step', [frame]), signal)).toEqual(ok(undefined));
  expect(await asked).toEqual({ ok: 500, 'LW-OVERLOADED': 600 });
});
