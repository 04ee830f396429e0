import { expect, test } from 'vitest';
import { absentBus, absentStore } from '../../src/compose/absent-doors.ts';
import { createReadiness } from '../../src/compose/readiness.ts';
import { type PlannedRole, ROLE_PLANS } from '../../src/compose/role-plan.ts';
import { openSqliteControl } from '../../src/control/sqlite.ts';
import { busOver } from '../../src/core/bus-over.ts';
import { ManualClock } from '../../src/core/clock.ts';
import { LeewayError } from '../../src/core/errors.ts';

type Door = 'bus' | 'store' | 'control';

/** The readiness of a role whose doors are away when `gone` has them, and hang when `hanging` has them. */
async function readinessOf(role: PlannedRole, options: { readonly embedded?: boolean } = {}) {
  const clock = new ManualClock();
  const own = await openSqliteControl({ data_dir: ':memory:', clock });
  const gone = new Set<Door>();
  const hanging = new Set<Door>();
  const asked: Door[] = [];
  const reach = async (door: Door): Promise<void> => {
    asked.push(door);
    if (hanging.has(door)) await new Promise(() => undefined);
    if (gone.has(door)) throw new LeewayError('LW-UNREACHABLE', `${door} is away`);
  };
  const plan = ROLE_PLANS[role];
  const bus = options.embedded === true ? absentBus() : busOver({ ...absentBus(), reach: () => reach('bus') }, {}); // as it is wrapped in the service
  const query = async <Row>(): Promise<Row[]> => {
    await reach('store');
    return [];
  };
  const control: typeof own = {
    transaction: async (work) => {
      await reach('control');
      return own.transaction(work);
    },
    lease: (...given) => own.lease(...given),
    release: (...given) => own.release(...given),
    [Symbol.asyncDispose]: () => own[Symbol.asyncDispose](),
  };
  const readiness = createReadiness({ plan, bus, store: { ...absentStore(), query }, control, clock });
  return { readiness, gone, hanging, asked, clock, [Symbol.asyncDispose]: () => own[Symbol.asyncDispose]() };
}

/** By role the doors that it checks, and those of them without which it is not ready. */
const NEEDS: readonly (readonly [PlannedRole, readonly Door[], readonly Door[]])[] = [
  ['gateway', ['bus', 'control'], ['bus']], // acknowledges when Kafka has it, whatever PostgreSQL does
  ['worker', ['bus', 'store', 'control'], ['bus', 'store', 'control']],
  ['console', ['store', 'control'], ['store', 'control']],
  ['all', ['bus', 'store', 'control'], ['bus', 'store', 'control']],
];

test.each(NEEDS)('role %s checks %j and is ready unless one of %j is away', async (role, doors, needed) => {
  await using place = await readinessOf(role);
  const all = Object.fromEntries(doors.map((door) => [door, { ok: true, detail: null }]));
  expect(await place.readiness()).toEqual({ ready: true, checks: all });
  for (const door of doors) {
    place.gone.add(door);
    const checks = { ...all, [door]: { ok: false, detail: `${door} is away` } };
    expect(await place.readiness()).toEqual({ ready: !needed.includes(door), checks });
    place.gone.delete(door);
  }
  expect((await place.readiness()).ready).toBe(true);
});

test('a bus on its own disk is not asked', async () => {
  await using place = await readinessOf('all', { embedded: true });
  expect(Object.keys((await place.readiness()).checks)).toEqual(['store', 'control']);
});

test('a door that hangs is waited for five seconds, asked once however many wait, and does not hold up the others', async () => {
  await using place = await readinessOf('gateway');
  place.hanging.add('bus');
  const answers = [place.readiness(), place.readiness()];
  await new Promise((resolve) => setImmediate(resolve));
  await place.clock.advance(5_000);
  const checks = { bus: { ok: false, detail: 'no answer within 5000 ms' }, control: { ok: true, detail: null } };
  expect(await Promise.all(answers)).toEqual([
    { ready: false, checks },
    { ready: false, checks },
  ]);
  const later = place.readiness();
  await new Promise((resolve) => setImmediate(resolve));
  await place.clock.advance(5_000);
  expect(await later).toMatchObject({ ready: false });
  expect(place.asked.filter((door) => door === 'bus')).toHaveLength(1);
});
