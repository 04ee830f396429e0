import { expect, test } from 'vitest';
import { absentStore } from '../../src/compose/absent-doors.ts';
import { ROLE_PLANS } from '../../src/compose/role-plan.ts';
import { sourcesOf } from '../../src/compose/source-list.ts';
import { ManualClock } from '../../src/core/clock.ts';
import { discover } from '../../src/discover.ts';
import { SourceRegistry } from '../../src/read/sources.ts';

test('a process that takes records lists those that it took', async () => {
  const clock = new ManualClock();
  const sources = new SourceRegistry();
  sources.counted('trainer', 'sender', 5, clock.now_ms());
  const store = { query: () => Promise.reject(new Error('not asked')) };
  const list = sourcesOf(sources, {
    loaded: { extensions: await discover() },
    clock,
    store: { ...absentStore(), ...store },
    plan: ROLE_PLANS.all,
  });
  expect(await list()).toMatchObject([{ source: 'trainer', accepted: 5, state: 'live' }]);
});
