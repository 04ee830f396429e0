import type { Batch, Bus, Published } from '../../src/core/ports.ts';
import { NumberedSender } from '../../src/pipeline/publish.ts';
import type { Door } from './sender.ts';
import { Life, type World } from './world.ts';

/** What a process does in one life: it opens its bus, hands it over as `onOpen`, and goes on until it dies. */
export type Program = (life: Life, onOpen: (bus: Bus) => void) => Promise<void>;

export type ProcessOptions = {
  readonly world: World;
  readonly name: string;
  readonly program: Program;
  /** What its death means to others: a disk, a broker that waits for its heartbeat. */
  readonly onDeath: (life: Life, hasLostPower: boolean) => void;
};

const RESTART_MS = 500;
const EPOCHS = 2 ** 40;

type Content = Pick<Batch, 'records' | 'samples'>;

/** A process of the service, in lives that follow each other; somebody starts it again whenever it dies. */
export class SimulatedProcess implements Door {
  readonly #options: ProcessOptions;
  readonly #supervisor: Life;
  #life: Life | null = null;
  #bus: Bus | null = null;
  #senders = new Map<string, NumberedSender>();
  #epoch = 0;
  #starts = 0;
  /** Calls under way, to be cut when the process dies. */
  readonly #calls = new Set<(error: Error) => void>();

  constructor(options: ProcessOptions) {
    this.#options = options;
    this.#supervisor = new Life(`supervisor of ${options.name}`);
  }

  /** Null while it is dead. */
  get life(): Life | null {
    return this.#life;
  }

  /** The bus while it answers, for the account. */
  get bus(): Bus | null {
    return this.#bus;
  }

  start(): void {
    const { world, name, program } = this.#options;
    const life = new Life(`${name}.${++this.#starts}`);
    this.#life = life;
    this.#senders = new Map();
    this.#epoch = world.below(EPOCHS) + EPOCHS;
    life.stage = 'starting';
    world.note(`${life.name} starts`);
    const onOpen = (bus: Bus): void => {
      if (!life.isAlive) return; // killed in the very moment
      life.stage = null;
      this.#bus = bus;
    };
    program(life, onOpen).catch((error: unknown) => {
      if (life.isAlive) this.#end(`died: ${String(error)}`, false);
    });
  }

  /** Kills the process; a power loss takes with it what was not synced. */
  stop(hasLostPower: boolean): void {
    const { world } = this.#options;
    if (this.#life === null) return;
    world.count(hasLostPower ? 'power_lost' : 'process_killed');
    this.#countStage(this.#life);
    this.#end(hasLostPower ? 'loses power' : 'is killed', hasLostPower);
  }

  publish(batch: Batch, signal: AbortSignal): Promise<Published> {
    return this.#call((bus) => bus.publish(batch, signal));
  }

  send(source: string, content: Content, signal: AbortSignal): Promise<void> {
    return this.#call((bus) => {
      const sender = this.#senders.get(source) ?? new NumberedSender({ bus, source, epoch: this.#epoch });
      this.#senders.set(source, sender);
      return sender.send(content, signal);
    });
  }

  #call<Result>(work: (bus: Bus) => Promise<Result>): Promise<Result> {
    const bus = this.#bus;
    if (bus === null) return Promise.reject(new Error('ECONNREFUSED'));
    return new Promise((resolve, reject) => {
      this.#calls.add(reject);
      work(bus)
        .then(resolve, reject)
        .finally(() => this.#calls.delete(reject));
    });
  }

  #countStage(life: Life): void {
    const { world } = this.#options;
    if (this.#calls.size > 0) world.count('killed_with_publish_under_way');
    if (life.stage === 'starting') world.count('killed_while_starting');
    if (life.stage === 'inserting') world.count('killed_while_inserting');
    if (life.stage === 'inserted') world.count('killed_between_insert_and_ledger');
    if (life.stage === 'noted') world.count('killed_between_ledger_and_commit');
  }

  #end(why: string, hasLostPower: boolean): void {
    const { world, onDeath } = this.#options;
    const life = this.#life;
    if (life === null) return;
    world.note(`! ${life.name} ${why}`);
    world.kill(life);
    this.#life = null;
    this.#bus = null;
    onDeath(life, hasLostPower);
    for (const cut of this.#calls) cut(new Error('ECONNRESET'));
    this.#calls.clear();
    void world.later(this.#supervisor, 1 + world.below(RESTART_MS), 'starts it again', () => this.start());
  }
}
