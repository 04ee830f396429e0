import type { Clock } from '../core/clock.ts';

/** How long a write waits for company: less than a synced write of a quick disk and its answer take together. */
const WAIT_MS = 1;
/** One write in so many waits for one more than came last time. */
const TRY_EVERY = 32;

/**
 * When a write begins. A synced write costs by the call, not by the byte, so one that waits a moment for what is about to
 * come anyway halves the cost of two senders that take turns (PostgreSQL's commit_delay with commit_siblings). Nobody
 * waits unless waiting paid the last time; now and then one write tries.
 */
export class Gathering {
  readonly #clock: Clock;
  readonly #never = new AbortController().signal;
  #company = 1;
  #writes = 0;
  #wanted = Infinity;
  #go: () => void = () => undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves when `queued()` batches, told of by `came`, are worth a write: at once, or within WAIT_MS. */
  async wait(queued: () => number): Promise<void> {
    this.#writes++;
    const wanted = this.#company + (this.#writes % TRY_EVERY === 0 ? 1 : 0);
    if (queued() < wanted) await this.#until(wanted);
    this.#company = queued();
  }

  /** Told of every batch that comes: there are `queued` now. */
  came(queued: number): void {
    if (queued >= this.#wanted) this.#go();
  }

  async #until(wanted: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wanted = wanted;
    this.#go = resolve;
    // never called off: an abort costs more than a timer that finds its wait over
    void this.#clock.sleep(WAIT_MS, this.#never).then(resolve);
    await promise;
    this.#wanted = Infinity;
  }
}
