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
    if (signal.aborted) return;
    const over = new AbortController();
    const end = (): void => over.abort();
    // not AbortSignal.any: what waits on one for ever is never let go (Node keeps such signals alive)
    signal.addEventListener('abort', end, { once: true });
    over.signal.addEventListener('abort', () => this.#wake(), { once: true });
    const news = this.news();
    const slept = wait_ms === Infinity ? news : this.#clock.sleep(wait_ms, over.signal).catch(() => undefined);
    await Promise.race([slept, news]);
    signal.removeEventListener('abort', end);
    over.abort();
  }
}
