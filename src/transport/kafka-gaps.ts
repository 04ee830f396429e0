/**
 * Which messages a client passed over because the topic has lost them (retention, deletion), and which it merely did not
 * bring. The word of one consumer is not enough, and that of one that lost the partition and got it back says nothing: it may
 * go on after what it had brought. Two consumers that began where the group stands must say the same.
 */
export class SkippedMessages {
  /** Where the last skip of each partition began. */
  readonly #skipped = new Map<number, bigint>();
  /** Partitions of which the present consumer has brought messages. */
  readonly #brought = new Set<number>();

  /** Another consumer begins. */
  newConsumer(): void {
    this.#brought.clear();
  }

  brought(partition: number): void {
    this.#brought.add(partition);
  }

  /** Whether the present consumer would begin in this partition where the group stands. */
  isFresh(partition: number): boolean {
    return !this.#brought.has(partition);
  }

  /** Notes that messages from `offset` on were skipped; true when they are gone from the topic. */
  skips(partition: number, offset: bigint, isFresh: boolean): boolean {
    const isGone = isFresh && this.#skipped.get(partition) === offset;
    this.#skipped.set(partition, offset);
    return isGone;
  }
}
