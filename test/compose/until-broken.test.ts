import { expect, test } from 'vitest';
import { untilBroken } from '../../src/compose/until-broken.ts';
import { absentBus, absentStore } from '../../src/compose/absent-doors.ts';
import { systemClock } from '../../src/core/clock.ts';
import { ingest } from '../../src/pipeline/ingest.ts';

const until = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));

test('a service whose ingest has died is broken: the first failure of a loop ends the wait, with that failure', async () => {
  const stop = new AbortController();
  const consume = () => Promise.reject(new RangeError('Array buffer allocation failed'));
  const bus = { ...absentBus(), consume };
  const loops = [
    until(stop.signal),
    Promise.resolve(), // no collectors: it had nothing to do
    ingest({ bus, store: absentStore(), clock: systemClock, onEvent: () => undefined }, stop.signal),
  ];
  const broken = await untilBroken(loops, stop.signal);
  expect(broken?.error).toEqual(new RangeError('Array buffer allocation failed'));
  stop.abort();
  await Promise.allSettled(loops);
});

test('a service that is told to end is not broken, whatever fails while it does', async () => {
  const stop = new AbortController();
  const fails = until(stop.signal).then(() => Promise.reject(new Error('the control store is away')));
  const waited = untilBroken([fails], stop.signal);
  stop.abort();
  expect(await waited).toBeNull();
  expect(await untilBroken([fails], stop.signal)).toBeNull(); // told before it began to wait
  await expect(fails).rejects.toThrow('away');
});
