import type {
  ConsumerHandlers,
  KafkaConsumer,
  KafkaDriver,
  PartitionPosition,
} from '../../src/transport/kafka-driver.ts';
import { type Member, SimulatedGroup, unreachable } from './kafka-group.ts';
import { SimulatedLog, type SimulatedPartition } from './kafka-log.ts';
import { Life, type World } from './world.ts';

/** Chances of what befalls members of the group. */
export type GroupFaults = {
  readonly join: number;
  readonly fetch: number;
  readonly repeated: number;
  readonly stale: number;
  readonly positions: number;
  readonly commit: number;
};
const NO_FAULTS: GroupFaults = { join: 0, fetch: 0, repeated: 0, stale: 0, positions: 0, commit: 0 };

export const FRAMES = 'leeway.frames.v1';
export const DEAD_LETTERS = 'leeway.deadletter.v1';
export const TIMINGS = { session_timeout_ms: 3_000, heartbeat_ms: 500, stall_ms: 6_000 } as const;
const FETCH_MESSAGES_MAX = 5;
const COMMIT_LATE_MS_MAX = 2_500;
const FETCH_LATE_MS_MAX = 1_500;

/** What a planted bug changes at the brokers or in their client. */
export type KafkaBugs = { readonly acks_one: boolean; readonly commits_on_fetch: boolean };

/** A Kafka cluster with one consumer group, and the clients that processes have of it. */
export class SimulatedKafka {
  readonly #world: World;
  readonly #bugs: KafkaBugs;
  readonly #server = new Life('kafka');
  readonly log: SimulatedLog;
  readonly group: SimulatedGroup;
  #clients: Member[] = [];
  faults: GroupFaults = NO_FAULTS;

  constructor(world: World, partitions: number, bugs: KafkaBugs) {
    this.#world = world;
    this.#bugs = bugs;
    const onHigh = (): void => {
      for (const { wake } of this.#clients) wake();
    };
    const topics = { [FRAMES]: partitions, [DEAD_LETTERS]: 1 };
    this.log = new SimulatedLog({ world, server: this.#server, topics, acks_one: bugs.acks_one, onHigh });
    const { session_timeout_ms, heartbeat_ms } = TIMINGS;
    const frames = this.log.partitions(FRAMES);
    this.group = new SimulatedGroup({
      world,
      server: this.#server,
      partitions: frames,
      session_timeout_ms,
      heartbeat_ms,
    });
  }

  /** Members as their clients see it, the dead ones not. */
  get clients(): readonly Member[] {
    this.#clients = this.#clients.filter(({ life, isClosed }) => life.isAlive && !isClosed);
    return this.#clients;
  }

  /** The client of one process. */
  driver(life: Life): KafkaDriver {
    const ask = <Result>(what: string, apply: () => Result): Promise<Result> =>
      this.#world.request(life, this.#server, what, apply);
    return {
      partitions: (topics) =>
        ask('list topics', () => new Map(topics.map((topic) => [topic, this.log.partitions(topic).length]))),
      createTopics: () => ask('create topics', () => undefined),
      produce: (topic, messages) => this.log.produce(life, topic, messages),
      consume: (_topic, _group, handlers) => this.#join(life, handlers),
      positions: (topic) => this.#positions(life, topic),
      close: async () => undefined,
    };
  }

  async #positions(life: Life, topic: string): Promise<PartitionPosition[]> {
    const positions = await this.#world.request(life, this.#server, 'positions', () =>
      this.log.partitions(topic).map((partition) => ({
        partition: partition.number,
        low: BigInt(partition.low),
        end: this.#endOf(partition),
        committed: this.group.committed.get(partition.number) ?? null,
      })),
    );
    if (this.#world.strikes('positions_failed', this.faults.positions, life.name)) throw unreachable('positions');
    return positions;
  }

  #endOf({ number, low, high, understated_until_ms }: SimulatedPartition): bigint {
    const isUnsure = this.#world.elapsed_ms < understated_until_ms && high > low;
    if (!isUnsure || !this.#world.strikes('end_understated', 0.5)) return BigInt(high);
    this.group.misled.add(number);
    return BigInt(high - 1 - this.#world.below(high - low));
  }

  async #join(life: Life, handlers: ConsumerHandlers): Promise<KafkaConsumer> {
    const world = this.#world;
    if (world.strikes('join_failed', this.faults.join, life.name)) {
      await world.operation(life, 'join fails', () => undefined);
      throw unreachable('joining');
    }
    if (world.strikes('join_unanswered', this.faults.join / 8, life.name)) return new Promise(() => undefined);
    const state = { generation: 0, isPaused: false, isClosed: false, isSilent: false, wake: (): void => undefined };
    const member: Member = { life, handlers, positions: new Map(), ...state };
    await world.request(life, this.#server, 'join', () => {
      if (life.isAlive) this.group.join(member);
    });
    this.#clients.push(member);
    void this.#fetchOn(member);
    return {
      commit: (offsets) => this.#commit(member, offsets),
      pause: () => {
        world.count('consumer_paused_for_room');
        member.isPaused = true;
      },
      resume: () => {
        member.isPaused = false;
        member.wake();
      },
      close: () => this.#close(member),
    };
  }

  async #close(member: Member): Promise<void> {
    member.isClosed = true;
    member.wake();
    this.#world.count('consumer_replaced');
    if (this.#world.strikes('close_unanswered', this.faults.join, member.life.name)) {
      this.group.lost(member.life);
      return new Promise(() => undefined);
    }
    await this.#world.request(member.life, this.#server, 'leave', () => this.group.leave(member, 'leaves'));
  }

  /** What a client does all the time: it fetches what is new, of one partition at a time. */
  async #fetchOn(member: Member): Promise<void> {
    while (member.life.isAlive && !member.isClosed && !member.isSilent) {
      const partition = member.isPaused ? undefined : this.#readable(member);
      if (partition === undefined) {
        await new Promise<void>((resolve) => (member.wake = resolve));
        continue;
      }
      if (!(await this.#fetch(member, partition))) return;
    }
  }

  #readable({ positions }: Member): SimulatedPartition | undefined {
    return this.#world.pick(
      this.log.partitions(FRAMES).filter(({ number, high }) => (positions.get(number) ?? Infinity) < high),
    );
  }

  async #fetch(member: Member, partition: SimulatedPartition): Promise<boolean> {
    const world = this.#world;
    const { number } = partition;
    const { generation, life, handlers } = member;
    const from = Math.max(partition.low, member.positions.get(number) ?? 0);
    const what = `fetch of partition ${number} from ${from}`;
    const messages = await world.operation(this.#server, `${what} for ${life.name}`, () =>
      partition.read(from, Math.min(partition.high, from + 1 + world.below(FETCH_MESSAGES_MAX))),
    );
    const isSlow = world.strikes('fetch_slow', this.faults.stale / 4, life.name);
    return world.later(life, isSlow ? world.below(FETCH_LATE_MS_MAX) : 0, what, () => {
      if (member.isClosed) return false;
      if (world.strikes('fetch_failed', this.faults.fetch, life.name)) {
        handlers.onFailed(unreachable('a fetch'));
        return false;
      }
      if (member.generation !== generation) {
        // brought by an earlier assignment: most clients drop it
        if (world.strikes('fetch_stale', this.faults.stale, life.name)) handlers.onMessages(number, messages);
        return true;
      }
      const next = from + messages.length;
      const again = world.strikes('fetch_repeated', this.faults.repeated, life.name) ? world.below(4) : 0;
      member.positions.set(number, Math.max(next - again, partition.low));
      if (this.#bugs.commits_on_fetch) this.group.committed.set(number, BigInt(next));
      handlers.onMessages(number, messages);
      return true;
    });
  }

  async #commit(member: Member, offsets: ReadonlyMap<number, bigint>): Promise<void> {
    const world = this.#world;
    const { life, generation } = member;
    if (this.#bugs.commits_on_fetch) return; // what the group has is what was fetched
    if (world.strikes('commit_lost', this.faults.commit, life.name)) {
      await world.operation(life, 'commit fails', () => undefined);
      throw unreachable('a commit');
    }
    if (world.strikes('commit_late', this.faults.commit, life.name))
      await world.later(
        this.#server,
        world.below(COMMIT_LATE_MS_MAX),
        `commit of ${life.name} is on its way`,
        () => null,
      );
    const said = [...offsets].map(([partition, offset]) => `${partition}: ${offset}`).join(', ');
    try {
      await world.request(life, this.#server, `commit {${said}}`, () => this.group.commit(member, generation, offsets));
    } catch (error) {
      if (world.strikes('commit_said_again', this.faults.commit, life.name))
        await world.later(this.#server, world.below(COMMIT_LATE_MS_MAX), `commit {${said}} is said again`, () =>
          this.group.sayAgain(member, offsets),
        );
      throw error;
    }
    if (world.strikes('commit_answer_lost', this.faults.commit, life.name)) throw unreachable('a commit');
  }
}
