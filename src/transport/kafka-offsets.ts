/**
 * Which messages of one partition were taken in and which of them are dealt with. The group may go on at `frontier`: every
 * message before it is stored or set aside. Offsets come in rising order; there may be gaps.
 */
export class PartitionOffsets {
  #next: bigint;
  /** In the order of arrival, which is that of the offsets. */
  readonly #open = new Set<bigint>();
  /** Where the group stands for certain, null when that is not known. */
  committed: bigint | null = null;

  /** `start`: the offset that the group goes on from. */
  constructor(start: bigint) {
    this.#next = start;
  }

  /** One past the last message taken in. */
  get next(): bigint {
    return this.#next;
  }

  /** Takes a message in; false when that happened before (a fetch after a rebalance begins again at what is committed). */
  take(offset: bigint): boolean {
    if (offset < this.#next) return false;
    this.#next = offset + 1n;
    this.#open.add(offset);
    return true;
  }

  /** Goes on at `offset`: the messages before it are not in the topic any more. Only where nothing is open. */
  skipTo(offset: bigint): void {
    if (this.#open.size === 0 && offset > this.#next) this.#next = offset;
  }

  done(offset: bigint): void {
    this.#open.delete(offset);
  }

  /** Goes on at `offset` at least: another member of the group has dealt with the messages before it. */
  passTo(offset: bigint): void {
    for (const open of this.#open) {
      if (open >= offset) break;
      this.#open.delete(open);
    }
    if (offset > this.#next) this.#next = offset;
  }

  get frontier(): bigint {
    for (const first of this.#open) return first;
    return this.#next;
  }
}
