import type { Clock } from '../../src/core/clock.ts';
import { integerBelow, type Random } from '../../src/core/random.ts';
import type { Census, Event } from './census.ts';
import { random64 } from './random.ts';

/** What a process is in the middle of, for the states that a kill can meet. */
export type Stage = 'starting' | 'inserting' | 'inserted' | 'noted';

/** A process of the simulation from its start to its death. What it waited for when it died never comes. */
export class Life {
  readonly name: string;
  isAlive = true;
  /** Nothing of it happens before then. */
  frozen_until_ms = 0;
  stage: Stage | null = null;

  constructor(name: string) {
    this.name = name;
  }
}

const START_MS = 1_767_225_600_000;
/** Events of a failing seed that its report shows. */
const TRACE_MAX = Number(process.env['LEEWAY_TRACE'] ?? 60);

type Waiting = { readonly life: Life; readonly what: string; readonly run: () => void };
type Sleeper = Waiting & { readonly at_ms: number; readonly order: number };
type Line = { readonly at_ms: number; readonly text: string };

/** Chance of an operation to take long, and how long at most. */
export type Slowness = { readonly chance: number; readonly most_ms: number };

/**
 * A world without time of its own: every operation of every process waits here until the seed picks it, and the clock
 * moves only when nothing else can happen. The same seed is the same execution, to the byte.
 */
export class World {
  readonly random: Random;
  readonly census: Census = new Map();
  slowness: Slowness = { chance: 0, most_ms: 0 };
  /** Of the order of everything that happened: equal for equal executions. */
  fingerprint = 0;
  #trace: Line[] = [];
  #now_ms = START_MS;
  #step_ms = 0;
  #order = 0;
  #waiting: Waiting[] = [];
  #sleepers: Sleeper[] = [];

  constructor(seed: bigint) {
    this.random = random64(seed);
  }

  /** True with probability `p`. */
  chance(p: number): boolean {
    return this.random.next() < p;
  }

  below(limit: number): number {
    return integerBelow(this.random, limit);
  }

  /** One of `items`. */
  pick<Item>(items: readonly Item[]): Item | undefined {
    return items[this.below(items.length)];
  }

  /** Virtual milliseconds since the start. */
  get elapsed_ms(): number {
    return this.#now_ms - START_MS;
  }

  /** The last events, oldest first. */
  get trace(): readonly string[] {
    return this.#trace.slice(-TRACE_MAX).map(({ at_ms, text }) => `${String(at_ms).padStart(7)} ms  ${text}`);
  }

  note(text: string): void {
    this.#trace.push({ at_ms: this.elapsed_ms, text });
    if (this.#trace.length > 4 * TRACE_MAX) this.#trace = this.#trace.slice(-TRACE_MAX);
  }

  /** Counts a fault or a state. */
  count(name: Event): void {
    this.census.set(name, (this.census.get(name) ?? 0) + 1);
  }

  /** Whether a fault of this kind and probability strikes now; counts and notes it. */
  strikes(fault: Event, p: number, where = ''): boolean {
    if (p <= 0 || !this.chance(p)) return false;
    this.count(fault);
    this.note(`! ${fault}${where === '' ? '' : ` (${where})`}`);
    return true;
  }

  /** An operation of `life`: it happens when it is picked, or never. */
  operation<Result>(life: Life, what: string, apply: () => Result): Promise<Result> {
    const { chance, most_ms } = this.slowness;
    if (!this.strikes('operation_slow', chance, `${life.name}: ${what}`)) return this.#await(life, what, { apply });
    return this.later(life, 1 + this.below(most_ms), what, apply);
  }

  /** The same, not before `delay_ms` have passed. */
  later<Result>(life: Life, delay_ms: number, what: string, apply: () => Result): Promise<Result> {
    return this.#await(life, what, { apply, at_ms: this.#now_ms + delay_ms });
  }

  /** A request of `client` that `server` carries out, also when the client is dead by then; the answer comes, or does not. */
  async request<Result>(client: Life, server: Life, what: string, apply: () => Result): Promise<Result> {
    const work = await this.operation(server, `${what} for ${client.name}`, () => settledOf(apply));
    return this.operation(client, `answer to ${what}`, () => {
      if (work.isOk) return work.value;
      throw work.error;
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
          const sleeper = { life, what: 'wakes', run: resolve, at_ms, order: this.#order++ };
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

  /** Nothing of `life` happens for so long: a stopped process, a long collection of garbage, a cut network. */
  freeze(life: Life, for_ms: number): void {
    life.frozen_until_ms = Math.max(life.frozen_until_ms, this.#now_ms + for_ms);
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
    while (this.#waiting.length > 0) {
      const index = this.below(this.#waiting.length);
      const picked = this.#waiting[index];
      const last = this.#waiting.pop();
      if (picked === undefined || last === undefined) break;
      if (picked !== last) this.#waiting[index] = last;
      if (!this.#postponed(picked)) return this.#happen(picked);
    }
    for (;;) {
      const next = this.#nextSleeper();
      if (next === null) return false;
      this.#now_ms = Math.max(this.#now_ms, next.at_ms);
      if (!this.#postponed(next)) return this.#happen(next);
    }
  }

  #await<Result>(
    life: Life,
    what: string,
    { apply, at_ms }: { readonly apply: () => Result; readonly at_ms?: number },
  ): Promise<Result> {
    return new Promise((resolve, reject) => {
      const run = (): void => {
        try {
          resolve(apply());
        } catch (error) {
          reject(error);
        }
      };
      if (!life.isAlive) return;
      if (at_ms === undefined) this.#waiting.push({ life, what, run });
      else this.#sleepers.push({ life, what, run, at_ms, order: this.#order++ });
    });
  }

  #happen({ life, what, run }: Waiting): true {
    this.note(`${life.name}: ${what}`);
    this.fingerprint = (Math.imul(this.fingerprint, 31) + what.length + this.#now_ms) | 0;
    run();
    return true;
  }

  /** Of a frozen process: it happens when that is over. */
  #postponed({ life, what, run }: Waiting): boolean {
    if (life.frozen_until_ms <= this.#now_ms) return false;
    this.#sleepers.push({ life, what, run, at_ms: life.frozen_until_ms, order: this.#order++ });
    return true;
  }

  #nextSleeper(): Sleeper | null {
    let first: Sleeper | null = null;
    for (const sleeper of this.#sleepers)
      if (
        first === null ||
        sleeper.at_ms < first.at_ms ||
        (sleeper.at_ms === first.at_ms && sleeper.order < first.order)
      )
        first = sleeper;
    if (first !== null) this.#sleepers.splice(this.#sleepers.indexOf(first), 1);
    return first;
  }
}

type Settled<Result> =
  | { readonly isOk: true; readonly value: Result }
  | { readonly isOk: false; readonly error: unknown };

function settledOf<Result>(apply: () => Result): Settled<Result> {
  try {
    return { isOk: true, value: apply() };
  } catch (error) {
    return { isOk: false, error };
  }
}

/** Resolves when every promise that can settle has settled: nothing in the simulation uses real I/O or timers. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
