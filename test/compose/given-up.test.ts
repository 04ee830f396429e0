import { expect, test } from 'vitest';
import { openSqliteControl } from '../../src/control/sqlite.ts';
import { systemClock } from '../../src/core/clock.ts';
import { LeewayError } from '../../src/core/errors.ts';
import type { Bus } from '../../src/core/ports.ts';
import { givenUp, givenUpAtEnd } from '../../src/compose/given-up.ts';
import { DeclaredGaps } from '../../src/pipeline/declared-gaps.ts';
import { Publisher } from '../../src/pipeline/publish.ts';
import { steps } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

const full: Bus = {
  publish: async () => {
    throw new LeewayError('LW-SPOOL-FULL', 'full');
  },
  consume: () => Promise.resolve(),
  backlog: () => ({
    bytes: 0,
    frames: 0,
    oldest_ms: 0,
    in_flight: [],
    torn_frames: 0,
    damaged_frames: 0,
    quarantined: [],
  }),
  [Symbol.asyncDispose]: () => Promise.resolve(),
};

test('at the end what a publisher holds is given up too, less what is durable of it: emitted = durable + given up', async () => {
  const publisher = new Publisher({ bus: full, clock: systemClock, source: 'a', epoch: 7, buffer_records_max: 10 });
  publisher.offer(steps(0, 14)); // the oldest 4 go
  const name = { source: 'a', epoch: 7, run: 'r1', ranges: [] };
  expect(givenUp([publisher], 'r1')).toEqual([{ ...name, reason: 'buffer_full', records: 4 }]);
  await publisher.run(AbortSignal.abort()); // one last attempt, which the bus refuses
  expect(givenUpAtEnd([publisher], 'r1')).toEqual([
    { ...name, reason: 'buffer_full', records: 4 },
    { ...name, reason: 'unsent', records: 10 },
  ]);
  expect(givenUpAtEnd([publisher], 'r1', () => 3)).toContainEqual({ ...name, reason: 'unsent', records: 7 });
  expect(givenUpAtEnd([publisher], 'r1', () => 10)).toEqual([{ ...name, reason: 'buffer_full', records: 4 }]);
});

test('what a service gave up by its end is in the account of the next one', async () => {
  await using place = await scratchDirectory();
  const publisher = new Publisher({ bus: full, clock: systemClock, source: 'a', epoch: 7, buffer_records_max: 10 });
  publisher.offer(steps(0, 14));
  await publisher.run(AbortSignal.abort());
  {
    await using control = await openSqliteControl({ data_dir: place.path, clock: systemClock });
    await new DeclaredGaps(control, systemClock).take(givenUpAtEnd([publisher], ''));
  }
  await using control = await openSqliteControl({ data_dir: place.path, clock: systemClock });
  const next = new DeclaredGaps(control, systemClock);
  await next.refresh();
  expect(next.over(full).backlog().dropped).toEqual([
    { source: 'a', epoch: 7, reason: 'buffer_full', records: 4 },
    { source: 'a', epoch: 7, reason: 'unsent', records: 10 },
  ]);
});
