/** Inserts at once at first, before anything is known of the server. */
const LIMIT_START = 2;
const WAIT_MS_MIN = 200;
const WAIT_MS_MAX = 30_000;

/**
 * How many inserts run at once: one more after a round without pushback, half after one (additive increase,
 * multiplicative decrease: Chiu and Jain 1989), at least 1. Pushback also asks for a pause: 0.2 s, doubled up to 30 s
 * until an insert succeeds.
 */
export class Concurrency {
  readonly #limit_max: number;
  readonly #waiting: (() => void)[] = [];
  #limit: number;
  #running = 0;
  #pushbacks = 0;

  constructor(limit_max: number) {
    this.#limit_max = limit_max;
    this.#limit = Math.min(LIMIT_START, limit_max);
  }

  /** Inserts that may run at once now. */
  get limit(): number {
    return Math.floor(this.#limit);
  }

  /** Pause that the last pushbacks ask for; 0 after a success. */
  get wait_ms(): number {
    return this.#pushbacks === 0 ? 0 : Math.min(WAIT_MS_MAX, WAIT_MS_MIN * 2 ** (this.#pushbacks - 1));
  }

  /** Resolves when one more may run; `release` must follow. Callers come in order. */
  async acquire(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#running < this.limit) {
      this.#running++;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const abort = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(wake), 1);
        reject(signal.reason);
      };
      const wake = (): void => {
        signal.removeEventListener('abort', abort);
        resolve();
      };
      signal.addEventListener('abort', abort, { once: true });
      this.#waiting.push(wake);
    });
  }

  /** One ended: the server took it (`ok`), pushed back, or it says nothing about the server's load (`other`). */
  release(end: 'ok' | 'pushback' | 'other'): void {
    this.#running--;
    if (end === 'ok') {
      this.#pushbacks = 0;
      this.#limit = Math.min(this.#limit_max, this.#limit + 1 / this.#limit);
    }
    if (end === 'pushback') {
      this.#pushbacks = Math.min(this.#pushbacks + 1, 16);
      this.#limit = Math.max(1, this.#limit / 2);
    }
    while (this.#running < this.limit) {
      const wake = this.#waiting.shift();
      if (wake === undefined) return;
      this.#running++;
      wake();
    }
  }
}
