import type { Clock } from '../core/clock.ts';
import { LeewayError } from '../core/errors.ts';
import type { Control } from '../core/ports.ts';

export type HeldLeaseOptions = {
  readonly control: Control;
  readonly clock: Clock;
  readonly name: string;
  /** This worker's name in the lease table. */
  readonly holder: string;
  /** A worker that stops answering loses the lease after this. */
  readonly ttl_ms: number;
  readonly onError: (error: unknown) => void;
};

/** `kept`: nobody else can have had it since the last time; `taken`: somebody may have; `absent`: somebody has it. */
export type Hold = 'kept' | 'taken' | 'absent';

const NEVER = { now_ms: Number.NEGATIVE_INFINITY, elapsed_ms: Number.NEGATIVE_INFINITY };
/** Renewals within the time of a lease: one may fail and the next one still be in time. */
const RENEWALS = 3;

/** A lease as the worker sees it that takes it again and again: held without a break, or not. */
export class HeldLease {
  readonly #options: HeldLeaseOptions;
  /** When it was last asked for and given, by both clocks: a host that slept has only its wall clock to tell. */
  #given = NEVER;

  constructor(options: HeldLeaseOptions) {
    this.#options = options;
  }

  /** Takes or renews it. */
  async take(): Promise<Hold> {
    const { control, clock, name, holder, ttl_ms } = this.#options;
    const asked = { now_ms: clock.now_ms(), elapsed_ms: clock.elapsed_ms() };
    if (!(await control.lease(name, holder, ttl_ms))) {
      this.#given = NEVER;
      return 'absent';
    }
    const hold = this.#isSure ? 'kept' : 'taken';
    this.#given = asked;
    return hold;
  }

  /** Throws LW-CONFLICT where somebody else has it or may have it: of two that work at once one would undo the other's. */
  assertSure(): void {
    const { name } = this.#options;
    if (!this.#isSure)
      throw new LeewayError(
        'LW-CONFLICT',
        `another worker may have taken over ${name} meanwhile; nothing more is done`,
      );
  }

  /** Whether it cannot have ended yet: it began to count when it was given, which was after it was asked for. */
  get #isSure(): boolean {
    const { clock, ttl_ms } = this.#options;
    const { now_ms, elapsed_ms } = this.#given;
    return Math.max(clock.now_ms() - now_ms, clock.elapsed_ms() - elapsed_ms) < ttl_ms;
  }

  /** Does `work`, renewing the lease meanwhile; `lost` fires when somebody else has it or may have had it. Then it counts as taken anew. */
  async during(work: (lost: AbortSignal) => Promise<void>): Promise<void> {
    const over = new AbortController();
    const lost = new AbortController();
    const renewing = this.#renew(over.signal, lost);
    try {
      await work(lost.signal);
    } finally {
      over.abort();
      await renewing;
    }
  }

  async #renew(over: AbortSignal, lost: AbortController): Promise<void> {
    const { clock, ttl_ms, onError } = this.#options;
    while (!lost.signal.aborted) {
      const slept = await clock.sleep(ttl_ms / RENEWALS, over).then(
        () => true,
        () => false, // the work is done
      );
      if (!slept) return;
      try {
        if ((await this.take()) === 'kept') continue;
        this.#given = NEVER;
        lost.abort();
      } catch (error) {
        onError(error); // the next one may still be in time
      }
    }
  }

  /** Gives it back, so that its next holder goes on at once. */
  async release(): Promise<void> {
    const { control, name, holder } = this.#options;
    await control.release(name, holder);
  }
}
