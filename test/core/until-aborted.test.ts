import { getEventListeners } from 'node:events';
import { expect, test } from 'vitest';
import { untilAborted } from '../../src/core/until-aborted.ts';

test('work that ends first gives its result or its failure, and nothing listens to the signal any more', async () => {
  const { signal } = new AbortController();
  expect(await untilAborted(Promise.resolve(7), signal)).toBe(7);
  await expect(untilAborted(Promise.reject(new Error('no')), signal)).rejects.toThrow('no');
  expect(getEventListeners(signal, 'abort')).toEqual([]);
});

test('an abort ends the wait with its reason, before or during it, and a later failure of the work is no surprise', async () => {
  const early = AbortSignal.abort(new Error('gone before'));
  await expect(untilAborted(Promise.reject(new Error('unheard')), early)).rejects.toThrow('gone before');
  const stop = new AbortController();
  const work = Promise.withResolvers<void>();
  const waiting = untilAborted(work.promise, stop.signal);
  stop.abort(new Error('gone meanwhile'));
  await expect(waiting).rejects.toThrow('gone meanwhile');
  work.reject(new Error('unheard too'));
});
