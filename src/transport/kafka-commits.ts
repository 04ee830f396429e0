import type { Clock } from '../core/clock.ts';
import { LeewayError } from '../core/errors.ts';
import { answered, type KafkaConsumer } from './kafka-driver.ts';
import type { KafkaEvent } from './kafka-event.ts';
import type { PartitionOffsets } from './kafka-offsets.ts';
import type { Seat } from './kafka-seat.ts';

export type GroupCommitsOptions = {
  readonly group: string;
  readonly clock: Clock;
  readonly onEvent: (event: KafkaEvent) => void;
  /** Too many commits in a row have failed. */
  readonly onFailed: (error: LeewayError) => void;
};

type Seats = ReadonlyMap<number, Seat>;

/** kafkajs keeps dialling a dead coordinator until it returns; a new consumer asks for the living one. */
const FAILURES_MAX = 4;
/** After a commit that failed: 4 of them are 1.5 s, which a coordinator's move takes. */
const RETRY_MS = 500;

/** Tells the group up to where a member's partitions are dealt with. Names partitions of the present assignment only. */
export class GroupCommits {
  readonly #options: GroupCommitsOptions;
  #assignments = 0;
  #failures = 0;
  #not_before_ms = 0;

  constructor(options: GroupCommitsOptions) {
    this.#options = options;
  }

  /** Another consumer speaks from now on. */
  newConsumer(): void {
    this.#failures = 0;
  }

  /** What was said before counts no more. */
  assigned(): void {
    this.#assignments++;
    this.#not_before_ms = 0;
  }

  /** How long a commit that failed is left alone. */
  get wait_ms(): number {
    return Math.max(1, this.#not_before_ms - this.#options.clock.elapsed_ms());
  }

  /** Commits up to the first message of each partition that is not dealt with. A failure is tried again by the caller. */
  async commit(consumer: KafkaConsumer | null, partitions: Seats): Promise<void> {
    const due = new Map<number, bigint>();
    const seats = new Map<PartitionOffsets, bigint>();
    for (const [partition, { offsets }] of partitions) {
      if (offsets === null || offsets.committed === offsets.frontier) continue;
      due.set(partition, offsets.frontier);
      seats.set(offsets, offsets.frontier);
    }
    const { clock, group } = this.#options;
    if (due.size === 0 || clock.elapsed_ms() < this.#not_before_ms) return;
    this.#not_before_ms = clock.elapsed_ms() + RETRY_MS; // unless it succeeds
    if (consumer === null) return;
    const assignments = this.#assignments;
    try {
      await answered(consumer.commit(due), `a commit of ${group}`, clock);
      this.#failures = 0;
      this.#not_before_ms = 0;
      if (assignments !== this.#assignments) return; // an answer of before: another coordinator may not know of it
      for (const [offsets, frontier] of seats) offsets.committed = frontier;
    } catch (error) {
      if (!(error instanceof LeewayError)) throw error;
      if (error.code === 'LW-CONFLICT') return; // a rebalance: the next assignment says what is ours
      this.#options.onEvent({ kind: 'kafka_commit_failed', reason: error.message });
      if (++this.#failures >= FAILURES_MAX) this.#options.onFailed(error);
    }
  }
}
