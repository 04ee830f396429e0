import { type Clock, every } from '../core/clock.ts';
import type { Control } from '../core/ports.ts';

/** A store that keeps roll-ups and drops what is old. */
export type KeptStore = {
  /** `too_old`: minutes of days whose samples were dropped, which are not rolled up again. */
  rollUp(now_ms: number, signal: AbortSignal): Promise<{ readonly too_old: number }>;
  expire(now_ms: number, signal: AbortSignal): Promise<unknown>;
};

export type UpkeepOptions = {
  readonly store: KeptStore;
  readonly control: Control;
  readonly clock: Clock;
  /** This worker's name in the lease table: one worker at a time. */
  readonly holder: string;
  readonly onError: (error: unknown) => void;
  /** Told of minutes whose late samples are in no roll-up. */
  readonly onTooOld: (minutes: number) => void;
};

/** Roll-ups are at most this much behind the minute that they sum up. */
const INTERVAL_MS = 60_000;
/** Old telemetry goes with whole days; an hour more or less does not matter. */
const EXPIRE_MS = 3_600_000;
/** A pass over a long backlog takes minutes and renews it; when its worker dies, another one goes on after this. */
const LEASE_MS = 120_000;
const RENEW_MS = LEASE_MS / 4;
const LEASE = 'upkeep';

/** Rolls up what was inserted and drops what is older than retention allows, until the signal. */
export async function upkeep(options: UpkeepOptions, signal: AbortSignal): Promise<void> {
  const { store, control, clock, holder, onError, onTooOld } = options;
  let expired_ms = -Infinity;
  const isHeld = (): Promise<boolean> => control.lease(LEASE, holder, LEASE_MS);
  const pass = async (lost: AbortSignal): Promise<void> => {
    const { too_old } = await store.rollUp(clock.now_ms(), lost);
    if (too_old > 0) onTooOld(too_old);
    if (clock.elapsed_ms() - expired_ms < EXPIRE_MS) return;
    await store.expire(clock.now_ms(), lost);
    expired_ms = clock.elapsed_ms();
  };
  const once = async (): Promise<void> => {
    if (!(await isHeld())) return;
    const over = new AbortController();
    const renew = async (): Promise<void> => {
      if (!(await isHeld())) over.abort(); // somebody else has it: of two passes the slower would win
    };
    const renewing = every(clock, RENEW_MS, renew, { signal: over.signal, onError });
    try {
      await pass(AbortSignal.any([signal, over.signal]));
    } finally {
      over.abort();
      await renewing;
    }
  };
  await every(clock, INTERVAL_MS, once, { signal, onError });
  await control.release(LEASE, holder);
}
