import { OUTBOX } from '../control/collections.ts';
import type { Clock } from '../core/clock.ts';
import { LeewayError } from '../core/errors.ts';
import type { Bus, Control, Store } from '../core/ports.ts';
import { untilAborted } from '../core/until-aborted.ts';
import type { Readiness } from '../server/shapes/operation.ts';
import type { RolePlan } from './role-plan.ts';

type Checked = {
  readonly plan: Pick<RolePlan, 'bus' | 'store' | 'needs'>;
  readonly bus: Bus;
  readonly store: Store;
  readonly control: Control;
  readonly clock: Clock;
};

/** A check that has not ended by then has failed: those who ask give up after a few seconds. */
const CHECK_MS_MAX = 5_000;

/**
 * What `/readyz` answers: each door that the role has and that can be away, ready when all that its plan needs are there.
 * Checks run side by side, and one that goes on is not started a second time, however often somebody asks.
 */
export function createReadiness(checked: Checked): () => Promise<Readiness> {
  const { plan, bus, store, control, clock } = checked;
  const doors = new Map<RolePlan['needs'][number], (signal: AbortSignal) => Promise<unknown>>();
  if (plan.bus && bus.reach !== undefined) doors.set('bus', bus.reach.bind(bus));
  if (plan.store) doors.set('store', (signal) => store.query('SELECT 1 AS one', {}, signal));
  doors.set('control', () => control.transaction((tx) => tx.get(OUTBOX, 'none')));
  const checks = [...doors].map(([door, reach]) => ({ door, check: sharedCheck(reach, clock) }));
  return async () => {
    const found = await Promise.all(checks.map(async ({ door, check }) => [door, await check()] as const));
    return {
      ready: found.every(([door, { ok }]) => ok || !plan.needs.includes(door)),
      checks: Object.fromEntries(found),
    };
  };
}

type Check = Readiness['checks'][string];

function sharedCheck(reach: (signal: AbortSignal) => Promise<unknown>, clock: Clock): () => Promise<Check> {
  let running: Promise<unknown> | null = null;
  const start = (signal: AbortSignal): Promise<unknown> => {
    const started = reach(signal);
    const ended = (): void => void (running = null);
    started.then(ended, ended);
    return started;
  };
  return async () => {
    const patience = new AbortController();
    const done = new AbortController();
    void clock.sleep(CHECK_MS_MAX, done.signal).then(
      () => patience.abort(new LeewayError('LW-UNREACHABLE', `no answer within ${CHECK_MS_MAX} ms`)),
      () => undefined, // it answered
    );
    try {
      running ??= start(patience.signal);
      await untilAborted(running, patience.signal);
      return { ok: true, detail: null };
    } catch (error) {
      return { ok: false, detail: error instanceof LeewayError ? error.message : 'not answering' };
    } finally {
      done.abort();
    }
  };
}
