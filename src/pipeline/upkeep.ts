import { type Clock, every } from '../core/clock.ts';
import type { Control } from '../core/ports.ts';

/** A store that keeps roll-ups and drops what is old. */
export type KeptStore = {
  rollUp(now_ms: number, signal: AbortSignal): Promise<unknown>;
  expire(now_ms: number, signal: AbortSignal): Promise<unknown>;
};

export type UpkeepOptions = {
  readonly store: KeptStore;
  readonly control: Control;
  readonly clock: Clock;
  /** This worker's name in the lease table: one worker at a time. */
  readonly holder: string;
  readonly onError: (error: unknown) => void;
};

/** Roll-ups are at most this much behind the minute that they sum up. */
const INTERVAL_MS = 60_000;
/** Old telemetry goes with whole days; an hour more or less does not matter. */
const EXPIRE_MS = 3_600_000;
/** A pass over a long backlog takes minutes; nobody else begins one meanwhile. */
const LEASE_MS = 15 * 60_000;
const LEASE = 'upkeep';

/** Rolls up what was inserted and drops what is older than retention allows, until the signal. */
export async function upkeep(options: UpkeepOptions, signal: AbortSignal): Promise<void> {
  const { store, control, clock, holder, onError } = options;
  let expired_ms = -Infinity;
  const once = async (): Promise<void> => {
    if (!(await control.lease(LEASE, holder, LEASE_MS))) return;
    await store.rollUp(clock.now_ms(), signal);
    if (clock.elapsed_ms() - expired_ms < EXPIRE_MS) return;
    await store.expire(clock.now_ms(), signal);
    expired_ms = clock.elapsed_ms();
  };
  await every(clock, INTERVAL_MS, once, { signal, onError });
  await control.release(LEASE, holder);
}
