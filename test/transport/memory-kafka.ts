import { LeewayError } from '../../src/core/errors.ts';
import type {
  ConsumerHandlers,
  KafkaConsumer,
  KafkaDriver,
  KafkaIn,
  KafkaOut,
  PartitionPosition,
} from '../../src/transport/kafka-driver.ts';

/** What a member of the memory broker's group is told and has said. */
export type Member = {
  readonly handlers: ConsumerHandlers;
  readonly commits: ReadonlyMap<number, bigint>[];
  isPaused: boolean;
  isClosed: boolean;
};

/**
 * A broker in memory behind the driver's interface: topics are lists, and the test plays the group coordinator. It hands
 * out partitions, sends messages again as after a rebalance, loses them, or refuses to answer.
 */
export class MemoryKafka implements KafkaDriver {
  readonly topics = new Map<string, KafkaOut[]>();
  readonly committed = new Map<number, bigint>();
  readonly members: Member[] = [];
  /** Failures of the next calls, by call. */
  readonly fail = { produce: 0, commit: 0 };
  low = 0n;
  partitions_count = 2;
  /** Messages at the end of partition 0 that `positions` does not know of. */
  hidden = 0;
  /** What consume does before it answers. */
  onConsume: () => Promise<void> = () => Promise.resolve();
  /** What the coordinator does before it answers a commit that it has taken. */
  onCommit: () => Promise<void> = () => Promise.resolve();
  /** What the brokers do before they say where partitions begin and end. */
  onPositions: () => Promise<void> = () => Promise.resolve();
  /** Every call of produce, answered or not. */
  readonly calls: (readonly KafkaOut[])[] = [];
  /** What produce does before it answers. */
  onProduce: (messages: readonly KafkaOut[]) => Promise<void> = () => Promise.resolve();

  partitions(topics: readonly string[]): Promise<ReadonlyMap<string, number>> {
    return Promise.resolve(new Map(topics.map((topic) => [topic, this.partitions_count])));
  }

  createTopics(): Promise<void> {
    return Promise.resolve();
  }

  async produce(topic: string, messages: readonly KafkaOut[]): Promise<void> {
    this.calls.push(messages);
    await this.onProduce(messages);
    if (this.fail.produce-- > 0) throw new LeewayError('LW-UNREACHABLE', 'no broker');
    this.topics.set(topic, [...(this.topics.get(topic) ?? []), ...messages]);
  }

  async consume(_topic: string, _group: string, handlers: ConsumerHandlers): Promise<KafkaConsumer> {
    await this.onConsume();
    const commits: ReadonlyMap<number, bigint>[] = [];
    const member: Member = { handlers, commits, isPaused: false, isClosed: false };
    this.members.push(member);
    return {
      commit: async (offsets: ReadonlyMap<number, bigint>) => {
        if (this.fail.commit-- > 0) throw new LeewayError('LW-UNREACHABLE', 'no coordinator');
        commits.push(offsets);
        for (const [partition, offset] of offsets) this.committed.set(partition, offset);
        await this.onCommit();
      },
      pause: () => {
        member.isPaused = true;
      },
      resume: () => {
        member.isPaused = false;
      },
      close: () => {
        member.isClosed = true;
        return Promise.resolve();
      },
    };
  }

  async positions(topic: string): Promise<readonly PartitionPosition[]> {
    await this.onPositions();
    return Array.from({ length: this.partitions_count }, (_, partition) => ({
      partition,
      low: this.low,
      end: BigInt(this.#log(topic, partition).length - (partition === 0 ? this.hidden : 0)),
      committed: this.committed.get(partition) ?? null,
    }));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  /** The newest member, once it has joined. */
  get member(): Member {
    const last = this.members.at(-1);
    if (last === undefined) throw new Error('nobody has joined');
    return last;
  }

  /** Messages [from, to) of a partition as a fetch brings them. */
  fetch(topic: string, partition: number, from = 0, to = Infinity): KafkaIn[] {
    return this.#log(topic, partition)
      .map((message, index) => ({
        offset: BigInt(index),
        key: message.key,
        value: message.value,
        headers: new Map(Object.entries(message.headers).map(([name, text]) => [name, Buffer.from(text)])),
        at_ms: 0,
      }))
      .slice(from, to);
  }

  #log(topic: string, partition: number): KafkaOut[] {
    return (this.topics.get(topic) ?? []).filter((message) => message.partition === partition);
  }
}
