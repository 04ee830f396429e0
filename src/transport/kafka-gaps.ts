import type { KafkaIn } from './kafka-driver.ts';

/** Skips that are remembered, 100 bytes each: more than a fetch brings messages. The oldest are forgotten first. */
const SKIPS_MAX = 20_000;

/**
 * Which messages a client passed over because the topic has lost them (retention, deletion, compaction, the marks of
 * transactions), and which it merely did not bring. The word of one consumer is not enough, and that of one that lost the
 * partition and got it back says nothing: it may go on after what it had brought. Two consumers that began where the group
 * stands must say the same. What they say is remembered of many skips, since there may be one between every two messages.
 */
export class SkippedMessages {
  /** Where skips began: `partition offset`, in the order of their being told. */
  readonly #skipped = new Set<string>();
  /** Partitions of which the present consumer has brought messages. */
  readonly #brought = new Set<number>();
  /** Where it has come to in those of which it is not believed any more. */
  readonly #followed = new Map<number, bigint>();

  /** Another consumer begins. */
  newConsumer(): void {
    this.#brought.clear();
    this.#followed.clear();
  }

  /** The consumer is given partitions: it may go on anywhere. */
  assigned(): void {
    this.#followed.clear();
  }

  brought(partition: number): void {
    this.#brought.add(partition);
  }

  /** Whether the present consumer would begin in this partition where the group stands. */
  isFresh(partition: number): boolean {
    return !this.#brought.has(partition);
  }

  /** Hears that messages from `offset` on were skipped; true when they are gone from the topic. */
  skips(partition: number, offset: bigint, isFresh: boolean): boolean {
    if (!isFresh) return false;
    const isGone = this.#skipped.has(nameOf(partition, offset));
    this.#note(partition, offset);
    if (!isGone) this.#followed.set(partition, offset);
    return isGone;
  }

  /**
   * Notes what the consumer skips in a partition of which it is not believed any more: its successor, who says the same, is
   * believed in all of it and not replaced for every single skip.
   */
  follow(partition: number, messages: readonly KafkaIn[]): void {
    let next = this.#followed.get(partition);
    if (next === undefined) return;
    for (const { offset } of messages) {
      if (offset > next) this.#note(partition, next);
      if (offset >= next) next = offset + 1n;
    }
    this.#followed.set(partition, next);
  }

  #note(partition: number, offset: bigint): void {
    this.#skipped.add(nameOf(partition, offset));
    if (this.#skipped.size <= SKIPS_MAX) return;
    for (const oldest of this.#skipped) return void this.#skipped.delete(oldest);
  }
}

function nameOf(partition: number, offset: bigint): string {
  return `${partition} ${offset}`;
}
