import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { openClickHouseStore } from '../../src/store/clickhouse.ts';
import { deliveryOf, lineage } from '../contract/frames.ts';
import { START_MS, steps } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { ClickHouseDouble } from './clickhouse-double.ts';

const { signal } = new AbortController();
const DAY_MS = 86_400_000;
const retention = { raw_days: 2, rollup_1m_days: 36_500, rollup_1h_days: 36_500 };

test('what retention drops stays in the account, whichever statement of a pass fails, and roll-ups come first', async () => {
  await using directory = await scratchDirectory();
  await using double = await ClickHouseDouble.start(directory.path);
  const writer = { username: 'writer', readPassword: async () => 'w' };
  const common = { url: double.url, database: 'leeway', cluster: null, clock: systemClock, retention } as const;
  await using store = await openClickHouseStore({ ...common, writer });
  let place = 1;
  const insert = async (source: string, day: number): Promise<void> => {
    const at_ms = START_MS + day * DAY_MS;
    const frame = { lineage: lineage(0, place++), source, sequence: place };
    const samples = [0, 1, 2].map((second) => ({ id: 5n, at_ms: at_ms + second * 1_000 + place, value: second }));
    const records = steps(day * 86_400 + place * 10, day * 86_400 + place * 10 + 2);
    for (const delivery of [
      await deliveryOf(directory.path, 'samples', [{ ...frame, samples }]),
      await deliveryOf(directory.path, 'step', [{ ...frame, lineage: frame.lineage + 100_000n, records }]),
    ])
      expect(await store.insert(delivery, signal)).toMatchObject({ kind: 'ok' });
  };
  const account = async (source: string): Promise<object | undefined> =>
    (await store.account(signal)).find((one) => one.source === source);
  const samplesHeld = async (): Promise<unknown> =>
    (await store.query('SELECT count() AS n FROM leeway.samples FINAL', {}, signal))[0];

  // passes that end before or after each of their statements: 10 of them where there is a day to drop
  for (let after = 0; after < 11; after++) {
    for (const kind of ['reset_before', 'reset_after'] as const) {
      const source = `dropped-${after}-${kind}`;
      await insert(source, 0);
      const now_ms = START_MS + 3 * DAY_MS;
      expect(await store.expire(now_ms, signal)).toEqual({ partitions: 0, rows: 0 }); // not rolled up yet
      await store.rollUp(START_MS + DAY_MS, signal);
      await double.plant({ kind, times: 1, after });
      await store
        .expire(now_ms, signal)
        .catch((error: unknown) => expect(error).toMatchObject({ code: 'LW-STORE-GONE' }));
      await double.plant();
      expect(await account(source)).toMatchObject({ frame_rows: 5, duplicates_absorbed: 0, stored: 5 });
      await store.expire(now_ms, signal);
      expect(await samplesHeld()).toEqual({ n: '0' });
      expect(await account(source)).toMatchObject({ frame_rows: 5, stored: 5 });
    }
  }
  // yesterday stays; January goes when all of it is old
  await insert('kept', 2);
  expect(await store.expire(START_MS + 3 * DAY_MS, signal)).toEqual({ partitions: 0, rows: 0 });
  await store.rollUp(START_MS + 3 * DAY_MS, signal);
  // samples of the 3rd, and steps of January: 2 of this insert and of each of the 22 before
  expect(await store.expire(START_MS + 40 * DAY_MS, signal)).toEqual({ partitions: 2, rows: 3 + 2 * 23 });
  expect(await account('kept')).toMatchObject({ frame_rows: 5, stored: 5 });
}, 100_000);
