import { expect, test } from 'vitest';
import { Concurrency } from '../../src/store/concurrency.ts';

const { signal } = new AbortController();

async function round(concurrency: Concurrency, end: 'ok' | 'pushback' | 'other'): Promise<void> {
  const running = concurrency.limit;
  for (let index = 0; index < running; index++) await concurrency.acquire(signal);
  for (let index = 0; index < running; index++) concurrency.release(end);
}

test('a round of successes adds about one, one pushback halves, and neither passes its bounds', async () => {
  const concurrency = new Concurrency(8);
  expect(concurrency.limit).toBe(2);
  // 2 + 1/2 + 1/2.5 = 2.9, then + 1/2.9 + 1/3.24 = 3.55 … : about one a round, 8 after at most 8 rounds
  for (let time = 0; time < 8; time++) await round(concurrency, 'ok');
  expect(concurrency.limit).toBe(8);
  await concurrency.acquire(signal);
  concurrency.release('pushback');
  expect(concurrency.limit).toBe(4);
  for (let time = 0; time < 3; time++) await round(concurrency, 'pushback');
  expect(concurrency.limit).toBe(1);
});

test('pushback asks for a pause that doubles to 30 s and ends with a success; other failures ask for none', async () => {
  const concurrency = new Concurrency(1);
  const waits: number[] = [];
  for (let time = 0; time < 10; time++) {
    await round(concurrency, 'pushback');
    waits.push(concurrency.wait_ms);
  }
  expect(waits).toEqual([200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000]);
  await round(concurrency, 'other');
  expect(concurrency.wait_ms).toBe(30_000);
  await round(concurrency, 'ok');
  expect(concurrency.wait_ms).toBe(0);
});

test('no more run at once than the limit, in the order they came, and an aborted one leaves its place to the next', async () => {
  const concurrency = new Concurrency(1);
  await concurrency.acquire(signal);
  const order: string[] = [];
  const stop = new AbortController();
  const aborted = concurrency.acquire(stop.signal).catch((error: unknown) => error);
  const second = concurrency.acquire(signal).then(() => order.push('second'));
  const third = concurrency.acquire(signal).then(() => order.push('third'));
  stop.abort(new Error('enough'));
  expect(await aborted).toMatchObject({ message: 'enough' });
  expect(order).toEqual([]);
  concurrency.release('other');
  await second;
  expect(order).toEqual(['second']);
  concurrency.release('other');
  await third;
});
