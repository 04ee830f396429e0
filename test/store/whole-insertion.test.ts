import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import type { Delivery, Store } from '../../src/core/ports.ts';
import { openEmbeddedStore } from '../../src/store/embedded.ts';
import { deliveryOf, lineage, type TestSample } from '../contract/frames.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

const signal = new AbortController().signal;
const START_MS = 1_800_000_000_000;
const SERIES = Array.from({ length: 12 }, (_, index) => BigInt(index + 1));

function at(seconds: number, ids: readonly bigint[] = SERIES): TestSample[] {
  return ids.map((id) => ({ id, at_ms: START_MS + seconds * 1_000, value: seconds }));
}

async function held(store: Store): Promise<unknown> {
  const [row] = await store.query('SELECT count() AS n, uniqExact(id, at) AS keys FROM leeway.samples', {}, signal);
  return row;
}

async function duplicates(store: Store): Promise<number | undefined> {
  return (await store.account(signal)).find(({ source }) => source === 's')?.duplicates_absorbed;
}

test('after a start, when every series is new to the process, nothing is stored twice and nothing new is left out', async () => {
  await using directory = await scratchDirectory();
  const data_dir = directory.path;
  let place = 0;
  const delivery = (samples: readonly TestSample[]): Promise<Delivery> => {
    place++;
    return deliveryOf(data_dir, 'samples', [{ lineage: lineage(0, place), source: 's', sequence: place, samples }]);
  };
  {
    await using store = await openEmbeddedStore({ data_dir, clock: systemClock });
    await store.insert(await delivery([...at(1), ...at(2)]), signal);
    expect(await held(store)).toEqual({ n: '24', keys: '24' });
  }
  {
    await using store = await openEmbeddedStore({ data_dir, clock: systemClock });
    // the first that a process sees may be what an earlier one stored
    await store.insert(await delivery(at(2)), signal);
    expect(await held(store)).toEqual({ n: '24', keys: '24' });
    expect(await duplicates(store)).toBe(12);
  }
  await using store = await openEmbeddedStore({ data_dir, clock: systemClock });
  // later than all that is stored: not looked up
  await store.insert(await delivery(at(3)), signal);
  expect(await held(store)).toEqual({ n: '36', keys: '36' });
  expect(await duplicates(store)).toBe(12);
  // new series among times that are stored: looked up, and none is there
  await store.insert(await delivery(at(2, [100n, 101n])), signal);
  expect(await held(store)).toEqual({ n: '38', keys: '38' });
  // what an earlier process stored, beside a sample that nobody has
  await store.insert(await delivery([...at(2), { id: 200n, at_ms: START_MS, value: 1 }]), signal);
  expect(await held(store)).toEqual({ n: '39', keys: '39' });
  expect(await duplicates(store)).toBe(24);
  // the same key twice in one file of new series, at times of which the store holds nothing
  await store.insert(await delivery([...at(9, [300n]), ...at(9, [300n])]), signal);
  expect(await held(store)).toEqual({ n: '40', keys: '40' });
  expect(await duplicates(store)).toBe(25);
});

test('marks change with every insert into their table and with nothing else', async () => {
  await using directory = await scratchDirectory();
  await using store = await openEmbeddedStore({ data_dir: directory.path, clock: systemClock });
  expect((await store.marks(signal)).has('samples')).toBe(false);
  const seen = new Set<string | undefined>();
  for (const place of [1, 2, 3]) {
    const frame = { lineage: lineage(0, place), source: 's', sequence: place, samples: at(place) };
    await store.insert(await deliveryOf(directory.path, 'samples', [frame]), signal);
    seen.add((await store.marks(signal)).get('samples'));
    seen.add((await store.marks(signal)).get('samples'));
  }
  expect(seen.size).toBe(3);
  expect(seen.has(undefined)).toBe(false);
});
