import type { Clock } from '../../src/core/clock.ts';
import { integerBelow, type Random, seededRandom } from '../../src/core/random.ts';

/** A process of the simulation from its start to its death. What it waited for when it died never comes. */
export class Life {
  readonly name: string;
  isAlive = true;

  constructor(name: string) {
    this.name = name;
  }
}

const START_MS = 1_767_225_600_000;

type Waiting = { readonly life: Life; readonly what: string; readonly run: () => void };
type Sleeper = Waiting & { readonly at_ms: number; readonly order: number };

/**
 * A world without time of its own: every operation of every process waits here until the seed picks it, and the clock
 * moves only when nothing else can happen. The same seed is the same execution, to the byte.
 */
export class World {
  readonly random: Random;
  /** What was picked, for the report of a failing seed. */
  readonly trace: string[] = [];
  #now_ms = START_MS;
  #step_ms = 0;
  #order = 0;
  #waiting: Waiting[] = [];
  #sleepers: Sleeper[] = [];

  constructor(seed: number) {
    this.random = seededRandom(seed);
  }

  /** True with probability `p`. */
  chance(p: number): boolean {
    return this.random.next() < p;
  }

  below(limit: number): number {
    return integerBelow(this.random, limit);
  }

  /** Virtual milliseconds since the start. */
  get elapsed_ms(): number {
    return this.#now_ms - START_MS;
  }

  note(text: string): void {
    this.trace.push(`${this.elapsed_ms} ms ${text}`);
  }

  /** An operation of `life`: it happens when it is picked, or never. */
  operation<Result>(life: Life, what: string, apply: () => Result): Promise<Result> {
    return new Promise((resolve, reject) => {
      const run = (): void => {
        try {
          resolve(apply());
        } catch (error) {
          reject(error);
        }
      };
      if (life.isAlive) this.#waiting.push({ life, what, run });
    });
  }

  /** The wall clock of this world may step; what is monotonic does not. */
  stepClock(by_ms: number): void {
    this.#step_ms += by_ms;
  }

  clock(life: Life): Clock {
    return {
      now_ms: () => this.#now_ms + this.#step_ms,
      elapsed_ms: () => this.#now_ms,
      sleep: (duration_ms, signal) =>
        new Promise((resolve, reject) => {
          if (signal.aborted) return reject(signal.reason);
          if (!life.isAlive) return;
          const at_ms = this.#now_ms + Math.max(0, duration_ms);
          const sleeper = { life, what: 'sleep', run: resolve, at_ms, order: this.#order++ };
          this.#sleepers.push(sleeper);
          const abort = (): void => {
            this.#sleepers = this.#sleepers.filter((other) => other !== sleeper);
            reject(signal.reason);
          };
          signal.addEventListener('abort', abort, { once: true });
        }),
    };
  }

  /** Lets time pass until `at_ms` after the start, when nothing else moves it. */
  passUntil(at_ms: number): void {
    this.#now_ms = Math.max(this.#now_ms, START_MS + at_ms);
  }

  /** Ends `life` where it stands: whatever it waits for is forgotten. */
  kill(life: Life): void {
    life.isAlive = false;
    this.#waiting = this.#waiting.filter((waiting) => waiting.life.isAlive);
    this.#sleepers = this.#sleepers.filter((sleeper) => sleeper.life.isAlive);
  }

  /** Lets one thing happen: an operation of the seed's choice, else the next timer. False when there is nothing left. */
  async step(): Promise<boolean> {
    await settled();
    if (this.#waiting.length > 0) {
      const [picked] = this.#waiting.splice(this.below(this.#waiting.length), 1);
      picked?.run();
      return true;
    }
    const next = this.#sleepers.toSorted((one, other) => one.at_ms - other.at_ms || one.order - other.order)[0];
    if (next === undefined) return false;
    this.#sleepers = this.#sleepers.filter((sleeper) => sleeper !== next);
    this.#now_ms = Math.max(this.#now_ms, next.at_ms);
    next.run();
    return true;
  }
}

/** Resolves when every promise that can settle has settled: nothing in the simulation uses real I/O or timers. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
