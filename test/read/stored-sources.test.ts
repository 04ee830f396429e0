import { expect, test } from 'vitest';
import { ROLE_PLANS } from '../../src/compose/role-plan.ts';
import { sourcesOf } from '../../src/compose/source-list.ts';
import { ManualClock } from '../../src/core/clock.ts';
import { discover } from '../../src/discover.ts';
import { SourceRegistry } from '../../src/read/sources.ts';
import { openEmbeddedStore } from '../../src/store/embedded.ts';
import { openSpool } from '../../src/transport/spool.ts';
import { steps } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

const signal = new AbortController().signal;

test('a console, which takes no records itself, lists the sources of the store with what is stored and when it last was', async () => {
  await using resources = new AsyncDisposableStack();
  const { path: data_dir } = resources.use(await scratchDirectory());
  const clock = new ManualClock();
  const store = resources.use(await openEmbeddedStore({ data_dir, clock }));
  const known = { sequences: [], lineage_max: 0n };
  const bus = resources.use(await openSpool({ data_dir, bytes_max: 1e9, fsync: false, clock, known, close_ms: 0 }));
  const send = async (source: string, records: ReturnType<typeof steps>): Promise<void> => {
    await bus.publish({ source, epoch: 1, sequence: 1, records }, signal);
    const stop = new AbortController();
    await bus.consume(async (delivery) => {
      stop.abort();
      return store.insert(delivery, signal);
    }, stop.signal);
  };
  const extensions = await discover();
  const list = sourcesOf(new SourceRegistry(), { loaded: { extensions }, clock, store, plan: ROLE_PLANS.console });
  expect(await list()).toEqual([]);

  const start_ms = clock.now_ms();
  await send('host@node-1', steps(0, 10));
  await clock.advance(20_000);
  await send('trainer', steps(10, 15));
  const unknown = { rejected: {}, quality: {}, detail: expect.stringContaining('gateways') };
  const host = { source: 'host@node-1', kind: 'collector', accepted: 10, last_seen_ms: start_ms, ...unknown };
  const trainer = { source: 'trainer', kind: 'sender', accepted: 5, last_seen_ms: start_ms + 20_000, ...unknown };
  expect(await list()).toEqual([
    { ...host, state: 'live' },
    { ...trainer, state: 'live' },
  ]);
  await clock.advance(10_001);
  expect(await list()).toEqual([
    { ...host, state: 'silent' },
    { ...trainer, state: 'live' },
  ]);
});
