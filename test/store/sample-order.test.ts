import { expect, test } from 'vitest';
import { integerBelow, seededRandom } from '../../src/core/random.ts';
import { SampleOrder } from '../../src/store/sample-order.ts';
import { minutesOf } from '../../src/store/sample-times.ts';
import { sampleFile, type TestSample } from '../contract/frames.ts';

const sample = (id: bigint, at_ms: number): TestSample => ({ id, at_ms, value: 1 });
const LAST = 0xffff_ffff_ffff_ffffn;

const looks = (order: SampleOrder) => {
  return (...samples: TestSample[]) => order.look(sampleFile([samples]));
};

test('a series is unsure when a sample is not later than all before it; of an empty store nothing is', () => {
  const order = new SampleOrder(-Infinity);
  const first = sampleFile([[sample(1n, 10), sample(LAST, 10)]]);
  expect(order.look(first)).toMatchObject({ rows: 2, unsure: [], span: { from_ms: 10, to_ms: 10 } });
  expect(order.look(sampleFile([[sample(1n, 11)], [sample(LAST, 12)]]))).toMatchObject({ rows: 2, unsure: [] });
  expect(order.look(sampleFile([[sample(1n, 11), sample(LAST, 13)]]))).toMatchObject({ rows: 2, unsure: [1n] });
  expect(order.look(sampleFile([[sample(LAST, 5), sample(LAST, 6)]]))).toMatchObject({ rows: 2, unsure: [LAST] });
  expect(order.look(first)).toMatchObject({ unsure: [1n, LAST], unlearned: [], span: { from_ms: 10, to_ms: 10 } });
  expect(order.look(Buffer.from('no file of samples'))).toBeNull();
});

test('a series that was not seen yet may be stored up to the horizon, however it comes in', () => {
  const look = looks(new SampleOrder(100));
  expect(look(sample(1n, 101), sample(2n, 100), sample(3n, 50))).toMatchObject({
    unsure: [2n, 3n],
    unlearned: [2n, 3n],
  });
  expect(look(sample(1n, 102), sample(2n, 101), sample(3n, 60))).toMatchObject({ unsure: [3n], unlearned: [3n] });
  expect(look(sample(1n, 60))).toMatchObject({ unsure: [1n], unlearned: [] });
  expect(look(sample(3n, 100))).toMatchObject({ unsure: [3n] });
  expect(look(sample(4n, 70), sample(4n, 170), sample(4n, 170))).toMatchObject({ unsure: [4n], unlearned: [] });
});

test('of a learned series all is new that is later than what the store holds', () => {
  const order = new SampleOrder(1_000);
  const look = looks(order);
  expect(look(sample(1n, 10), sample(LAST, 10))).toMatchObject({ unlearned: [1n, LAST] });
  order.learn(new Map([[1n, 10], [LAST, 30], [7n, 5]])); // biome-ignore format: one line
  expect(look(sample(1n, 11), sample(LAST, 30), sample(7n, 6))).toMatchObject({
    unsure: [LAST, 7n],
    unlearned: [7n],
  });
  expect(look(sample(LAST, 31))).toMatchObject({ unsure: [] });
});

test('more series than it remembers are forgotten together; what they had is then below the horizon', () => {
  const look = looks(new SampleOrder(-Infinity, 2));
  expect(look(sample(1n, 10), sample(2n, 30))).toMatchObject({ unsure: [] });
  expect(look(sample(1n, 11), sample(3n, 20), sample(2n, 30))).toMatchObject({ unsure: [2n] });
  expect(look(sample(1n, 30), sample(2n, 31))).toMatchObject({ unsure: [1n], unlearned: [1n] });
});

test('whatever the order of its series, no sample that may be stored already passes for new (seed 7)', () => {
  const random = seededRandom(7);
  const start_ms = 1_800_000_000_000;
  const order = new SampleOrder(start_ms + 700);
  const newest = new Map<bigint, number>();
  const ids = Array.from(
    { length: 40_000 },
    () => (BigInt(integerBelow(random, 2 ** 30)) * 0x9e37_79b9_7f4a_7c15n) & LAST,
  );
  for (let file = 0; file < 6; file++) {
    const rows = Array.from({ length: 60_000 }, (_, row) => {
      const id = ids[file % 2 === 0 ? row % ids.length : integerBelow(random, ids.length)] ?? 0n;
      return sample(id, start_ms + file * 1_000 + integerBelow(random, 3) * 700);
    });
    const expected = new Set<bigint>();
    for (const { id, at_ms } of rows) {
      const before = newest.get(id) ?? start_ms + 700;
      if (at_ms <= before) expected.add(id);
      newest.set(id, Math.max(before, at_ms));
    }
    const look = order.look(sampleFile([rows]));
    expect(look?.rows).toBe(rows.length);
    expect(new Set(look?.unsure)).toEqual(expected);
  }
});

test('minutes of samples are those of the years that a roll-up can say', () => {
  const file = sampleFile([
    [sample(1n, 0), sample(2n, 59_999), sample(1n, 60_000)],
    [sample(1n, -1), sample(1n, 2 ** 52)],
  ]);
  expect(minutesOf(file)).toEqual(new Set([0, 1]));
  expect(minutesOf(file, { from_ms: -1, to_ms: 2 ** 52 })).toEqual(new Set([0, 1]));
  expect(minutesOf(file, { from_ms: 60_000, to_ms: 119_999 })).toEqual(new Set([1])); // taken at its word
  expect(minutesOf(file, { from_ms: -5, to_ms: -1 })).toEqual(new Set());
});
