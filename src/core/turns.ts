/**
 * Work that must be alone and looks that may be together. They take turns: whoever waits is next when the other side has
 * ended, so that neither keeps the other waiting for longer than one turn.
 */
export class Turns {
  #looks = 0;
  #busy = false;
  #worker: (() => void) | null = null;
  #waiting: (() => void)[] = [];

  /** Runs `work` when no look is under way. One caller at a time. */
  async alone<T>(work: () => Promise<T>): Promise<T> {
    if (this.#looks > 0) {
      const turn = Promise.withResolvers<void>();
      this.#worker = turn.resolve;
      await turn.promise;
    }
    this.#worker = null;
    this.#busy = true;
    try {
      return await work();
    } finally {
      this.#busy = false;
      const waiting = this.#waiting.splice(0);
      this.#looks += waiting.length; // before the next work can begin
      for (const begin of waiting) begin();
    }
  }

  /** Runs `look` beside other looks, when no work is under way. Rejects with the signal's reason when it ends the wait. */
  async together<T>(look: () => Promise<T>, signal: AbortSignal): Promise<T> {
    if (this.#busy || this.#worker !== null) await this.#admission(signal);
    else this.#looks++;
    try {
      return await look();
    } finally {
      this.#looks--;
      if (this.#looks === 0) this.#worker?.();
    }
  }

  async #admission(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const turn = Promise.withResolvers<void>();
    const giveUp = (): void => {
      if (!this.#waiting.includes(turn.resolve)) return; // its turn has come
      this.#waiting = this.#waiting.filter((begin) => begin !== turn.resolve);
      turn.reject(signal.reason);
    };
    this.#waiting.push(turn.resolve);
    signal.addEventListener('abort', giveUp, { once: true });
    await turn.promise.finally(() => signal.removeEventListener('abort', giveUp));
  }
}
