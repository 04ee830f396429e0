/** The only source of time. Tests drive a ManualClock; everything else gets `systemClock`. */
export interface Clock {
  /** Unix time in milliseconds, UTC. May step. */
  now_ms(): number;
  /** Monotonic milliseconds for durations. Never steps back. */
  elapsed_ms(): number;
  /** Resolves after `duration_ms`; rejects with the signal's reason when aborted first. */
  sleep(duration_ms: number, signal: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now_ms: () => Date.now(),
  elapsed_ms: () => performance.now(),
  sleep: (duration_ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const abort = (): void => {
        clearTimeout(timer);
        reject(signal.reason);
      };
      const timer = setTimeout(() => {
        signal.removeEventListener('abort', abort);
        resolve();
      }, duration_ms);
      signal.addEventListener('abort', abort, { once: true });
    }),
};

type Sleeper = { readonly at_ms: number; readonly wake: () => void };

/** A clock that moves only when told: `advance` wakes sleepers in the order of their times. */
export class ManualClock implements Clock {
  #now_ms: number;
  #sleepers: Sleeper[] = [];

  constructor(start_ms = 1_767_225_600_000) {
    this.#now_ms = start_ms;
  }

  now_ms(): number {
    return this.#now_ms;
  }

  elapsed_ms(): number {
    return this.#now_ms;
  }

  sleep(duration_ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const sleeper = { at_ms: this.#now_ms + duration_ms, wake: resolve };
      this.#sleepers.push(sleeper);
      signal.addEventListener(
        'abort',
        () => {
          this.#sleepers = this.#sleepers.filter((other) => other !== sleeper);
          reject(signal.reason);
        },
        { once: true },
      );
    });
  }

  /** Moves time forward by `duration_ms`, waking sleepers on the way and letting their continuations run. */
  async advance(duration_ms: number): Promise<void> {
    const end_ms = this.#now_ms + duration_ms;
    for (;;) {
      const due = this.#sleepers.filter((sleeper) => sleeper.at_ms <= end_ms).sort((a, b) => a.at_ms - b.at_ms)[0];
      if (due === undefined) break;
      this.#now_ms = Math.max(this.#now_ms, due.at_ms);
      this.#sleepers = this.#sleepers.filter((other) => other !== due);
      due.wake();
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#now_ms = end_ms;
  }
}

/**
 * Runs `work` every `interval_ms` until aborted; the next run starts `interval_ms` after the last began, never
 * overlapping. A failure of `work` goes to `onError` and the rhythm goes on.
 */
export async function every(
  clock: Clock,
  interval_ms: number,
  work: () => Promise<void>,
  options: { signal: AbortSignal; onError: (error: unknown) => void },
): Promise<void> {
  while (!options.signal.aborted) {
    const started_ms = clock.elapsed_ms();
    try {
      await work();
    } catch (error) {
      if (options.signal.aborted) return;
      options.onError(error);
    }
    const rest_ms = Math.max(0, interval_ms - (clock.elapsed_ms() - started_ms));
    try {
      await clock.sleep(rest_ms, options.signal);
    } catch {
      return; // aborted while asleep: the loop's normal end
    }
  }
}
