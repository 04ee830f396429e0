import type { Clock } from '../core/clock.ts';

/** Something that one waits for and others tell about. */
export class Wake {
  readonly #clock: Clock;
  #wake: () => void = () => undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** There is news: whoever waits goes on. */
  now(): void {
    this.#wake();
  }

  /** Resolves at the next news. */
  news(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  /** Resolves when the time is over (Infinity: never), the signal fires, or there is news. */
  async within(wait_ms: number, signal: AbortSignal): Promise<void> {
    const over = new AbortController();
    const both = AbortSignal.any([signal, over.signal]);
    const never = new Promise<void>((resolve) => both.addEventListener('abort', () => resolve(), { once: true }));
    const slept = wait_ms === Infinity ? never : this.#clock.sleep(wait_ms, both).catch(() => undefined);
    if (!both.aborted) await Promise.race([slept, this.news()]);
    over.abort();
  }
}
