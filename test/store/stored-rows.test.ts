import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import type { QueryParameters } from '../../src/core/ports.ts';
import { AccountReader } from '../../src/store/account.ts';
import { openEmbeddedStore } from '../../src/store/embedded.ts';
import { countStored, type Place, type StoredRows } from '../../src/store/stored-rows.ts';
import { deliveryOf, lineage } from '../contract/frames.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

const signal = new AbortController().signal;
const DAY_MS = 86_400_000;
const START_MS = Date.UTC(2026, 0, 1);
const DAYS = 3;
const STREAMS = 3;

/** A place as it is counted: day, source and whether the ledger has its frame. */
function nameOf(day: number, source: string, known: 0 | 1): string {
  return `2026010${day + 1} ${known === 1 ? source : ''} ${known}`;
}

function totals(rows: readonly StoredRows[]): Record<string, number> {
  return Object.fromEntries(
    rows.map(({ partition, source, known, stored }) => [`${partition} ${source} ${known}`, stored]),
  );
}

test('rows counted in pieces of any number of frames are those counted at once, of frames that are missing too', async () => {
  await using directory = await scratchDirectory();
  await using store = await openEmbeddedStore({ data_dir: directory.path, clock: systemClock });
  const held: { readonly place: number; readonly stream: number; readonly day: number; readonly rows: number }[] = [];
  for (let place = 1; place <= 24; place++)
    for (let stream = 0; stream < STREAMS; stream++) {
      const day = Math.min(DAYS - 1, (place - 1) >> 3);
      const rows = 1 + ((place + stream) % 4);
      held.push({ place, stream, day, rows });
    }
  const sourceOf = (place: number): string => `source-${place % 2}`;
  // the ledger lacks one in the middle of a stream and all from the 23rd on of the last stream
  const isMissing = (stream: number, place: number): boolean =>
    (stream === 1 && place === 12) || (stream === STREAMS - 1 && place >= 23);
  const ledger = held
    .filter(({ stream, place }) => !isMissing(stream, place))
    .map(
      ({ stream, place, rows }) =>
        `(${lineage(stream, place)}, '${sourceOf(place)}', 1, ${place}, 1, 'samples', ${rows}, 0, now64(3))`,
    );
  const samples = held.flatMap(({ place, stream, day, rows }) =>
    Array.from({ length: rows }, (_, row) => {
      const at_ms = START_MS + day * DAY_MS + place * 1_000;
      return `(${stream * 10 + row}, fromUnixTimestamp64Milli(${at_ms}, 'UTC'), 1, 0, bitNot(toUInt64(${lineage(stream, place)})))`;
    }),
  );
  const insert = (into: string, values: readonly string[]): Promise<unknown> =>
    store.query(`INSERT INTO leeway.${into} SETTINGS async_insert = 0 VALUES ${values.join(', ')}`, {}, signal);
  await insert('frames', ledger);
  await insert('samples (id, at, mant, exp, precedence)', samples);

  const expected: Record<string, number> = {};
  for (const { place, stream, day, rows } of held) {
    const name = nameOf(day, sourceOf(place), isMissing(stream, place) ? 0 : 1);
    expected[name] = (expected[name] ?? 0) + rows;
  }
  const places: Place[] = ['20260101', '20260102', '20260103'].map((partition) => ({ table: 'samples', partition }));
  for (const frames_a_statement of [1_000, 10, 3, 1]) {
    const statements: string[] = [];
    const select = <Row>(sql: string): Promise<Row[]> => {
      statements.push(sql);
      return store.query<Row>(sql, {}, signal);
    };
    const rows = await countStored(select, places, { watermarks: null, frames_a_statement });
    expect(totals(rows), `${frames_a_statement} frames a statement`).toEqual(expected);
    const counting = statements.filter((sql) => sql.includes('AS held'));
    // 72 frames, of which the ledger has 69
    expect(counting.length).toBeGreaterThanOrEqual(Math.floor(69 / frames_a_statement));
    // one piece reads only the places that have rows of its frames
    if (frames_a_statement === 3) expect(counting.some((sql) => !sql.includes('20260102'))).toBe(true);
  }
  // frames above the watermark of their stream are not known yet
  const some = await countStored((sql) => store.query(sql, {}, signal), places, {
    watermarks: [lineage(0, 24), lineage(1, 8)],
    frames_a_statement: 5,
  });
  const known = some.filter((row) => row.known === 1).reduce((sum, { stored }) => sum + stored, 0);
  const isBelow = ({ stream, place }: { stream: number; place: number }): boolean =>
    stream === 0 || (stream === 1 && place <= 8);
  expect(known).toBe(held.filter(isBelow).reduce((sum, { rows }) => sum + rows, 0));
});

test('an account that counts in small pieces is the one that counts at once, and joins no frame of a month that rests', async () => {
  await using directory = await scratchDirectory();
  await using store = await openEmbeddedStore({ data_dir: directory.path, clock: systemClock });
  const statements: string[] = [];
  const select = <Row>(sql: string, parameters: QueryParameters): Promise<Row[]> => {
    statements.push(sql);
    return store.query<Row>(sql, parameters, signal);
  };
  const reader = new AccountReader(select, { ...systemClock, elapsed_ms: () => 0 }, { count_frames: 5 });
  for (let place = 1; place <= 12; place++) {
    const samples = [1, 2, 3].map((row) => ({
      id: BigInt(row),
      at_ms: START_MS + (place % 4) * DAY_MS + place,
      value: 1,
    }));
    const frame = { lineage: lineage(0, place), source: 's', sequence: place, samples };
    const outcome = await store.insert(await deliveryOf(directory.path, 'samples', [frame]), signal);
    expect(outcome).toMatchObject({ kind: 'ok' });
  }
  expect(await reader.read()).toMatchObject([{ frame_rows: 36, stored: 36 }]);
  expect(await store.account(signal)).toMatchObject([{ frame_rows: 36, stored: 36 }]);
  statements.length = 0;
  const frame = { lineage: lineage(0, 13), source: 's', sequence: 13 };
  const late = { ...frame, samples: [{ id: 9n, at_ms: START_MS + 9 * DAY_MS, value: 1 }] };
  await store.insert(await deliveryOf(directory.path, 'samples', [late]), signal);
  expect(await reader.read()).toMatchObject([{ frame_rows: 37, stored: 37 }]);
  const counting = statements.filter((sql) => sql.includes('AS held'));
  expect(counting).toHaveLength(1);
  expect(counting[0]).toContain('lineage > 12 AND lineage <= 13');
});
