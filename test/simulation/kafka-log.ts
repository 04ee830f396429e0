import type { KafkaIn, KafkaOut } from '../../src/transport/kafka-driver.ts';
import { kafkaError } from '../../src/transport/kafka-driver.ts';
import type { Life, World } from './world.ts';

/** Chances of what befalls a write. */
export type ProduceFaults = {
  readonly lost: number;
  readonly unanswered: number;
  readonly partial: number;
  readonly doubled: number;
  readonly late: number;
};

/** Milliseconds that a new leader's end of the log may lag behind what was acknowledged. */
const UNDERSTATED_MS = 200;
/** What a client gives up after, and how long a request may be on its way all the same. */
const REQUEST_MS = 2_000;
const LATE_MS_MAX = 6_000;

type Entry = { readonly message: KafkaOut; readonly at_ms: number };

/** A partition: its log, of which readers see what all replicas hold. */
export class SimulatedPartition {
  readonly number: number;
  readonly log: Entry[] = [];
  /** First offset kept. */
  low = 0;
  /** One past the last message that all replicas hold. */
  high = 0;
  /** Changes with the leader. */
  leadership = 0;
  understated_until_ms = 0;

  constructor(number: number) {
    this.number = number;
  }

  /** Messages [from, to) as a fetch brings them. */
  read(from: number, to: number): KafkaIn[] {
    return this.log.slice(from, to).map(({ message, at_ms }, index) => ({
      offset: BigInt(from + index),
      key: message.key,
      value: message.value,
      headers: new Map(Object.entries(message.headers).map(([name, text]) => [name, Buffer.from(text)])),
      at_ms,
    }));
  }
}

export type LogOptions = {
  readonly world: World;
  readonly server: Life;
  readonly topics: Readonly<Record<string, number>>;
  /** A planted bug: a write is acknowledged when the leader has it. */
  readonly acks_one: boolean;
  /** Readers have something new. */
  readonly onHigh: () => void;
};

/**
 * The brokers' log. A write is appended by the leader, then replicated, then acknowledged; when the leader changes, what
 * was not replicated may be gone, what was acknowledged never is.
 */
export class SimulatedLog {
  readonly #options: LogOptions;
  readonly #topics: ReadonlyMap<string, readonly SimulatedPartition[]>;
  faults: ProduceFaults = { lost: 0, unanswered: 0, partial: 0, doubled: 0, late: 0 };

  constructor(options: LogOptions) {
    this.#options = options;
    this.#topics = new Map(
      Object.entries(options.topics).map(([topic, count]) => [
        topic,
        Array.from({ length: count }, (_, number) => new SimulatedPartition(number)),
      ]),
    );
  }

  partitions(topic: string): readonly SimulatedPartition[] {
    return this.#topics.get(topic) ?? [];
  }

  /** As KafkaDriver.produce, by the client `life`. */
  async produce(life: Life, topic: string, messages: readonly KafkaOut[]): Promise<void> {
    const { world } = this.#options;
    const { lost, unanswered } = this.faults;
    const failed = (reason: string): Error => kafkaError(null, `a write to ${topic}`, reason);
    if (world.strikes('produce_lost', lost, life.name)) {
      await world.operation(life, 'produce finds no broker', () => undefined);
      throw failed('no broker');
    }
    const over = new AbortController();
    const timeout = world.clock(life).sleep(REQUEST_MS, over.signal);
    const parts = [...Map.groupBy(messages, (message) => message.partition).values()];
    const writes = Promise.all(parts.map((part) => this.#write(life, topic, part)));
    try {
      await Promise.race([
        writes,
        timeout.then(() => {
          throw failed('no answer in time');
        }),
      ]);
    } finally {
      over.abort();
    }
    if (world.strikes('produce_answer_lost', unanswered, life.name)) throw failed('connection reset');
    await world.operation(life, 'produce is acknowledged', () => undefined);
  }

  /** Another leader: of what not all replicas have, it may lack the newest. */
  changeLeader(partition: SimulatedPartition): void {
    const { world, onHigh } = this.#options;
    world.count('leader_changed');
    const unreplicated = partition.log.length - partition.high;
    const kept = world.below(unreplicated + 1);
    if (kept < unreplicated) world.count('unreplicated_lost');
    world.note(`! partition ${partition.number} changes its leader, ${kept} of ${unreplicated} unreplicated stay`);
    partition.log.length = partition.high + kept;
    partition.high = partition.log.length;
    partition.leadership++;
    partition.understated_until_ms = world.elapsed_ms + UNDERSTATED_MS;
    onHigh();
  }

  /** Another producer's message, replicated at once, and with it what came before. */
  add(partition: SimulatedPartition, message: KafkaOut): void {
    partition.log.push({ message, at_ms: 0 });
    partition.high = partition.log.length;
    this.#options.onHigh();
  }

  /** The part of a write that goes to one partition's leader. */
  async #write(life: Life, topic: string, part: readonly KafkaOut[]): Promise<void> {
    const { world, server, acks_one } = this.#options;
    const partition = this.partitions(topic)[part[0]?.partition ?? 0];
    if (partition === undefined) throw kafkaError('UNKNOWN_TOPIC_OR_PARTITION', `a write to ${topic}`, null);
    const { leadership } = partition;
    const moved = (): Error => kafkaError('NOT_LEADER_OR_FOLLOWER', `a write to ${topic}`, null);
    if (world.strikes('produce_partial', this.faults.partial, `partition ${partition.number}`)) throw moved();
    const append = (): number => {
      if (partition.leadership !== leadership) throw moved();
      for (const message of part) partition.log.push({ message, at_ms: world.elapsed_ms });
      return partition.log.length;
    };
    const what = `append of ${part.length} to partition ${partition.number} by ${life.name}`;
    const isLate = world.strikes('produce_late', this.faults.late, life.name);
    let end = await (isLate
      ? world.later(server, world.below(LATE_MS_MAX), what, append)
      : world.operation(server, what, append));
    if (world.strikes('produce_doubled', this.faults.doubled, life.name))
      end = await world.operation(server, `${what} again`, append);
    const replicated = world.operation(server, `replication of partition ${partition.number}`, () => {
      if (partition.leadership !== leadership) throw moved();
      partition.high = Math.max(partition.high, end);
      this.#options.onHigh();
    });
    if (acks_one)
      replicated.catch(() => undefined); // the planted bug: nobody waits for it
    else await replicated;
  }
}
