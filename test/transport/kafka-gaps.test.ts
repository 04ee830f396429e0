import { expect, test } from 'vitest';
import type { KafkaIn } from '../../src/transport/kafka-driver.ts';
import { SkippedMessages } from '../../src/transport/kafka-gaps.ts';

function messages(...offsets: readonly number[]): KafkaIn[] {
  return offsets.map((offset) => ({ offset: BigInt(offset), key: null, value: null, headers: new Map(), at_ms: 0 }));
}

test('each of two skips of a partition is believed when a second consumer tells it, whatever was told in between', () => {
  const skipped = new SkippedMessages();
  expect(skipped.skips(0, 10n, true)).toBe(false); // the first consumer comes no further
  skipped.newConsumer();
  expect([skipped.skips(0, 10n, true), skipped.skips(0, 20n, true)]).toEqual([true, false]);
  skipped.newConsumer();
  expect([skipped.skips(0, 10n, true), skipped.skips(0, 20n, true)]).toEqual([true, true]);
  expect(skipped.skips(1, 10n, true)).toBe(false); // another partition
});

test('a consumer that did not begin where the group stands says nothing of what is gone, now or later', () => {
  const skipped = new SkippedMessages();
  expect(skipped.skips(0, 10n, false)).toBe(false);
  skipped.newConsumer();
  expect(skipped.skips(0, 10n, true)).toBe(false);
  skipped.newConsumer();
  expect([skipped.skips(0, 10n, false), skipped.skips(0, 10n, true)]).toEqual([false, true]);
});

test('what a consumer skips behind its first skip is noted until it is replaced or given partitions anew', () => {
  const skipped = new SkippedMessages();
  skipped.follow(0, messages(5)); // it was believed until now: nothing to note
  expect(skipped.skips(0, 10n, true)).toBe(false);
  skipped.follow(0, messages(12, 13, 13, 12, 15)); // 14 is not among them
  skipped.follow(0, messages(16, 19)); // nor 17 and 18
  skipped.assigned();
  skipped.follow(0, messages(30)); // it goes on wherever it had come to
  skipped.newConsumer();
  expect([5n, 10n, 14n, 17n].map((offset) => skipped.skips(0, offset, true))).toEqual([false, true, true, true]);
  expect(skipped.skips(0, 20n, true)).toBe(false);
});

test('of more skips than are remembered the oldest are forgotten', () => {
  const skipped = new SkippedMessages();
  for (let offset = 0n; offset <= 20_000n; offset++) skipped.skips(0, offset, true);
  expect([skipped.skips(0, 1n, true), skipped.skips(0, 0n, true)]).toEqual([true, false]);
});
