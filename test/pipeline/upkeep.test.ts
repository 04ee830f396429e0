import { expect, test } from 'vitest';
import { openSqliteControl } from '../../src/control/sqlite.ts';
import { ManualClock } from '../../src/core/clock.ts';
import { upkeep } from '../../src/pipeline/upkeep.ts';

test('one worker at a time rolls up every minute and expires every hour; a stopped one hands over at once', async () => {
  const clock = new ManualClock();
  await using control = await openSqliteControl({ data_dir: ':memory:', clock });
  const done: string[] = [];
  const errors: unknown[] = [];
  const tooOld: number[] = [];
  const worker = (holder: string, signal: AbortSignal) =>
    upkeep(
      {
        store: {
          rollUp: async () => ({ too_old: done.push(`${holder} rolls up`) === 1 ? 7 : 0 }),
          expire: async () => void done.push(`${holder} expires`),
        },
        control,
        clock,
        holder,
        onError: (error) => errors.push(error),
        onTooOld: (minutes) => tooOld.push(minutes),
      },
      signal,
    );
  const [first, second] = [new AbortController(), new AbortController()];
  const running = [worker('one', first.signal), worker('two', second.signal)];
  const minute = async (): Promise<void> => {
    await clock.advance(60_000);
    await new Promise((resolve) => setImmediate(resolve)); // the control store's transactions take some turns
  };
  for (let time = 0; time < 3; time++) await minute();
  const early = [...done];
  first.abort();
  await running[0];
  await minute();
  second.abort();
  await running[1];
  expect(new Set(early)).toEqual(new Set(['one rolls up', 'one expires']));
  expect(early.filter((what) => what === 'one expires')).toHaveLength(1);
  expect(early.length).toBeGreaterThanOrEqual(3);
  expect(done.slice(early.length)).toContain('two rolls up');
  expect(errors).toEqual([]);
  expect(tooOld).toEqual([7]); // of the first pass; the others left nothing out
});

test('a worker that dies hands over within three minutes; one that works for long does not', async () => {
  const clock = new ManualClock();
  await using control = await openSqliteControl({ data_dir: ':memory:', clock });
  const done: string[] = [];
  const stop = new AbortController();
  const worker = (holder: string, own: ManualClock, rollUp: () => Promise<unknown>) => {
    const store = { rollUp: () => rollUp().then(() => ({ too_old: 0 })), expire: () => Promise.resolve() };
    const onError = (error: unknown): unknown => done.push(String(error));
    return upkeep({ store, control, clock: own, holder, onError, onTooOld: () => undefined }, stop.signal);
  };
  const minutes = async (count: number): Promise<void> => {
    for (let step = 0; step < count * 4; step++) {
      await clock.advance(15_000);
      for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve)); // transactions take turns
    }
  };
  const dead = new ManualClock(); // its time has stopped
  const running = [worker('dead', dead, async () => void done.push('dead'))];
  await minutes(1);
  const { promise: long, resolve: finish } = Promise.withResolvers<void>();
  running.push(
    worker('long', clock, () => {
      done.push('long');
      return long;
    }),
  );
  await minutes(3);
  expect(done).toEqual(['dead', 'long']);
  running.push(worker('third', clock, async () => void done.push('third')));
  await minutes(20);
  expect(done).toEqual(['dead', 'long']);
  finish();
  stop.abort();
  await Promise.all(running);
});
