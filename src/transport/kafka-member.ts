import type { Clock } from '../core/clock.ts';
import { LeewayError } from '../core/errors.ts';
import { GroupCommits } from './kafka-commits.ts';
import {
  answered,
  type ConsumerHandlers,
  type KafkaConsumer,
  type KafkaDriver,
  type KafkaIn,
  leaveGroup,
  type PartitionPosition,
} from './kafka-driver.ts';
import type { KafkaEvent } from './kafka-event.ts';
import type { MessagePlace } from './kafka-frames.ts';
import { SkippedMessages } from './kafka-gaps.ts';
import type { PartitionOffsets } from './kafka-offsets.ts';
import { isCut, Seat, type SeatEvents, skipped, unlocated } from './kafka-seat.ts';

export type GroupMemberOptions = {
  readonly driver: KafkaDriver;
  readonly topic: string;
  readonly group: string;
  readonly clock: Clock;
  /** Of the lineages of the topic's messages: what has to be raised when their offsets repeat. */
  readonly stream_first: number;
  /** Lag without progress for this long: the consumer is replaced. */
  readonly stall_ms: number;
  /** Every message once, in the order of its partition. */
  readonly onMessage: (partition: number, message: KafkaIn) => void;
  /** Messages are held back until it is known where the group goes on; `early_bytes` says how much. */
  readonly onEarly: () => void;
  /** The assignment has changed: what was read from other partitions is somebody else's now. */
  readonly onAssigned: () => void;
  /** Work is in hand, so that standing still is not a stall. */
  readonly isBusy: () => boolean;
  readonly onEvent: (event: KafkaEvent) => void;
};

const REBUILD_MS_MIN = 300;
const REBUILD_MS_MAX = 5_000;
/** Between two looks at a partition that ends too early. */
const CUT_CHECK_MS = 1_000;

/**
 * Membership in the consumer group: joins, replaces consumers that die or stall, keeps account of the offsets. The client
 * libraries' own notions of position are not trusted: after a rebalance they begin again or go on, and both are the same
 * here. Commits name partitions of the present assignment only.
 */
export class GroupMember {
  readonly #options: GroupMemberOptions;
  readonly #commits: GroupCommits;
  readonly #seats = new Map<number, Seat>();
  readonly #skipped = new SkippedMessages();
  readonly #events: SeatEvents = {
    onRepeats: (what) => this.#tellRepeats(what),
    onGap: (partition, from, to) => this.#tellGap(partition, from, to),
  };
  /** Partitions that ended too early at the last look. */
  readonly #short = new Set<number>();
  #positions: readonly PartitionPosition[] = [];
  /** The most partitions that the topic was seen to have. */
  #partitions_count = 0;
  /** What the group had committed at the last look. */
  #committed_sum = 0n;
  #consumer: KafkaConsumer | null = null;
  #fail: (error: LeewayError) => void = () => undefined;
  #isPaused = false;
  #progress = 0;
  #joins = 0;

  constructor(options: GroupMemberOptions) {
    this.#options = options;
    const { group, clock, onEvent } = options;
    this.#commits = new GroupCommits({ group, clock, onEvent, onFailed: (error) => this.#fail(error) });
  }

  owns(partition: number): boolean {
    return this.#seats.has(partition);
  }

  /** Messages of the topic that the group has not dealt with, as far as this process has heard. */
  get lag(): number {
    let lag = 0n;
    for (const { partition, end, low, committed } of this.#positions)
      if (this.#seats.get(partition)?.offsets == null)
        lag += end - (committed === null || committed < low ? low : committed);
    return Number(lag) + this.#own_lag;
  }

  /** Those of them that lie in partitions of ours whose beginning is known. */
  get #own_lag(): number {
    const ends = new Map(this.#positions.map(({ partition, end }) => [partition, end]));
    let lag = 0n;
    for (const [partition, { offsets }] of this.#seats) {
      if (offsets === null) continue;
      const end = ends.get(partition) ?? 0n;
      lag += (end > offsets.next ? end : offsets.next) - offsets.frontier;
    }
    return Number(lag);
  }

  /** What messages take in memory that came before it was known where the group goes on. */
  get early_bytes(): number {
    return this.#seats.values().reduce((bytes, seat) => bytes + seat.early_bytes, 0);
  }

  /** The message is stored or set aside. */
  done({ partition, offset }: MessagePlace): void {
    this.#seats.get(partition)?.done(offset);
    this.#progress++;
  }

  pause(): void {
    this.#isPaused = true;
    this.#consumer?.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#consumer?.resume();
  }

  /** Whether there is something to commit. */
  get isBehind(): boolean {
    for (const { offsets } of this.#seats.values())
      if (offsets !== null && offsets.committed !== offsets.frontier) return true;
    return false;
  }

  /** How long a commit that failed is left alone. */
  get commit_wait_ms(): number {
    return this.#commits.wait_ms;
  }

  /** Commits up to the first message of each partition that is not dealt with. A failure is tried again by the caller. */
  commit(): Promise<void> {
    return this.#commits.commit(this.#consumer, this.#seats);
  }

  /** Is a member until `signal` fires. */
  async run(signal: AbortSignal): Promise<void> {
    this.#seats.clear();
    this.#isPaused = false;
    for (let attempt = 0; !signal.aborted; attempt++) {
      const joins = this.#joins;
      const error = await this.#liveOnce(signal);
      if (error === null) return;
      this.#options.onEvent({ kind: 'kafka_consumer_failed', reason: error.message });
      if (this.#joins > joins) attempt = 0;
      const wait_ms = Math.min(REBUILD_MS_MAX, REBUILD_MS_MIN * 2 ** Math.min(attempt, 10));
      await this.#options.clock.sleep(wait_ms, signal).catch(() => undefined); // aborted: the loop ends
    }
  }

  /** Looks every quarter of `stall_ms` how far behind the group is and whether that moves. */
  async watch(signal: AbortSignal): Promise<void> {
    const { clock, stall_ms } = this.#options;
    let seen = this.#progress;
    let since_ms = clock.elapsed_ms();
    while (!signal.aborted) {
      const isHealthy = await this.#look();
      const now_ms = clock.elapsed_ms();
      if (isHealthy || seen !== this.#progress) {
        seen = this.#progress;
        since_ms = now_ms;
      } else if (now_ms - since_ms >= stall_ms && this.#consumer !== null) {
        const reason = `${this.#own_lag} messages wait here and none was handled for ${stall_ms} ms: the consumer is replaced`;
        this.#options.onEvent({ kind: 'kafka_consumer_stalled', reason });
        this.#fail(new LeewayError('LW-UNREACHABLE', reason));
        since_ms = now_ms;
      }
      await clock.sleep(Math.max(50, stall_ms / 4), signal).catch(() => undefined); // aborted: the loop ends
    }
  }

  #hasGroupMoved(): boolean {
    const before = this.#committed_sum;
    this.#committed_sum = this.#positions.reduce((sum, { committed }) => sum + (committed ?? 0n), 0n);
    return before !== this.#committed_sum;
  }

  /** A partition of ours of which it is not known where the group goes on. */
  get #hasUnknownSeat(): boolean {
    return this.#seats.values().some(({ offsets }) => offsets === null);
  }

  /** Refreshes the positions; true when nothing waits or something is being done about it. */
  async #look(): Promise<boolean> {
    const { driver, topic, group, clock, isBusy } = this.#options;
    const taken = new Map([...this.#seats].map(([partition, { offsets }]) => [partition, offsets?.next ?? 0n]));
    const said = new Map([...this.#seats.values()].map(({ offsets }) => [offsets, offsets?.committed ?? null]));
    try {
      this.#hear(await answered(driver.positions(topic, group), `the offsets of ${topic}`, clock), this.#fail);
      this.#findReplaced(taken);
      this.#passRemoved();
      this.#findPutBack(said);
    } catch (error) {
      if (!(error instanceof LeewayError)) throw error;
      return true; // without an answer from Kafka a new consumer would get none either
    }
    if (this.#joins === 0) return false;
    if (isBusy() || this.#isPaused) return true;
    // what waits for another member is that one's business, unless nobody moves and this one may have been forgotten
    if (this.#seats.size === 0) return this.#hasGroupMoved() || this.lag === 0;
    return this.#own_lag === 0 && !this.#hasUnknownSeat;
  }

  /**
   * A partition that ends before what was taken from it before is another one: the topic was created anew or cut by an
   * unclean election. Its messages would pass for repeats, so it is read again from where the group stands there. A new
   * leader may for a moment say too little: two looks must agree.
   */
  #findReplaced(taken: ReadonlyMap<number, bigint>): void {
    for (const { partition, end } of this.#positions) {
      const next = taken.get(partition) ?? 0n;
      const isShort = end < next;
      const wasShort = this.#short.has(partition);
      if (isShort) this.#short.add(partition);
      else this.#short.delete(partition);
      if (!isShort || !wasShort || !this.#seats.delete(partition)) continue;
      this.#short.delete(partition);
      const reason = `partition ${partition} ends at ${end}, after offset ${next} was read: the topic was created anew or cut`;
      this.#tellRepeats(reason);
      this.#options.onAssigned();
      this.#fail(new LeewayError('LW-CONFLICT', reason));
    }
  }

  /** Offsets count from somewhere before again: the store would take new frames for old ones. */
  #tellRepeats(what: string): void {
    const { stream_first, onEvent } = this.#options;
    const least = stream_first + this.#positions.length;
    const reason =
      `${what}; lineages repeat, and the account is wrong for its records, until every worker runs with ` +
      `bus.stream_first ${least} or more`;
    onEvent({ kind: 'kafka_gap', reason });
  }

  /**
   * Takes positions in. Partitions that were added to the topic are nobody's until the group is shared out again, and
   * @platformatic/kafka never asks for that (kafkajs does): a new consumer knows of them when it joins. The count only
   * rises, or a broker that is late with the news would have the group shared out twice.
   */
  #hear(positions: readonly PartitionPosition[], fail: (error: LeewayError) => void): void {
    this.#positions = positions;
    const before = this.#partitions_count;
    if (positions.length <= before) return;
    this.#partitions_count = positions.length;
    if (before === 0) return;
    const reason = `${this.#options.topic} has ${positions.length} partitions, ${before} before: joining again`;
    fail(new LeewayError('LW-CONFLICT', reason));
  }

  #tellGap(partition: number, from: bigint, to: bigint): void {
    const reason = `offsets ${from} to ${to - 1n} of partition ${partition} are not in the topic any more`;
    this.#options.onEvent({ kind: 'kafka_gap', reason });
  }

  /** Messages that retention removed before they were read will not come: waiting for them would be a stall for ever. */
  #passRemoved(): void {
    for (const { partition, low } of this.#positions) {
      const offsets = this.#seats.get(partition)?.offsets ?? null;
      if (offsets === null || offsets.next >= low || offsets.frontier !== offsets.next) continue;
      this.#tellGap(partition, offsets.next, low);
      offsets.skipTo(low);
      this.#options.onAssigned();
    }
  }

  /**
   * A partition of ours of which the group knows less than it was told: a coordinator forgot, or a member of an earlier
   * generation was heard. Nobody would notice before the next message of the partition, so it is said again.
   */
  #findPutBack(said: ReadonlyMap<PartitionOffsets | null, bigint | null>): void {
    for (const { partition, low, end, committed } of this.#positions) {
      const offsets = this.#seats.get(partition)?.offsets ?? null;
      const before = said.get(offsets) ?? null;
      if (offsets === null || before === null || end < offsets.next || (committed ?? low) >= before) continue;
      const reason = `the group was put back from offset ${before} of partition ${partition} to ${committed ?? low}`;
      this.#options.onEvent({ kind: 'kafka_commit_failed', reason });
      offsets.committed = null;
      this.#options.onAssigned();
    }
  }

  /** One consumer's life: null when it ended with the signal, else why it died. */
  async #liveOnce(signal: AbortSignal): Promise<LeewayError | null> {
    const { driver, topic, group, clock } = this.#options;
    const { promise: ended, resolve } = Promise.withResolvers<LeewayError | null>();
    const abort = (): void => resolve(null);
    signal.addEventListener('abort', abort, { once: true });
    let isAlive = true;
    this.#skipped.newConsumer();
    const handlers: ConsumerHandlers = {
      onAssigned: (partitions) => isAlive && this.#assigned(partitions, resolve),
      onMessages: (partition, messages) => {
        if (!isAlive) return;
        this.#skipped.brought(partition);
        this.#receive(partition, messages, resolve);
      },
      onFailed: resolve,
    };
    let consumer: KafkaConsumer | null = null;
    try {
      const joining = driver.consume(topic, group, handlers);
      const first = await Promise.race([answered(joining, `joining ${group}`, clock), ended]);
      if (first === null || first instanceof LeewayError) {
        void joining.then((late) => late.close()).catch(() => undefined); // it comes too late to be of use
        return first;
      }
      consumer = first;
      this.#consumer = consumer;
      this.#fail = resolve;
      this.#progress++;
      this.#commits.newConsumer();
      if (this.#isPaused) consumer.pause();
      return await ended;
    } catch (error) {
      if (!(error instanceof LeewayError)) throw error;
      return signal.aborted ? null : error;
    } finally {
      isAlive = false;
      this.#consumer = null;
      signal.removeEventListener('abort', abort);
      if (consumer !== null) await leaveGroup(consumer, clock);
    }
  }

  #assigned(partitions: readonly number[], fail: (error: LeewayError) => void): void {
    this.#joins++;
    this.#progress++;
    this.#commits.assigned();
    this.#skipped.assigned();
    const ours = new Set(partitions);
    for (const partition of this.#seats.keys()) if (!ours.has(partition)) this.#seats.delete(partition);
    for (const partition of ours) {
      const before = this.#seats.get(partition) ?? null;
      this.#seats.set(partition, new Seat(before, this.#skipped.isFresh(partition)));
    }
    this.#options.onAssigned();
    if (ours.size === 0) return;
    this.#locate(new Map(this.#seats), fail).catch((error: unknown) => {
      if (!(error instanceof LeewayError)) throw error;
      fail(error);
    });
  }

  /** Finds where the group goes on in the partitions of an assignment, then lets their messages in. */
  async #locate(seats: ReadonlyMap<number, Seat>, fail: (error: LeewayError) => void): Promise<void> {
    const { driver, topic, group, clock } = this.#options;
    this.#hear(await answered(driver.positions(topic, group), `the offsets of ${topic}`, clock), fail);
    if (this.#positions.some(isCut)) {
      await clock.sleep(CUT_CHECK_MS, new AbortController().signal); // a new leader may for a moment say too little
      this.#hear(await answered(driver.positions(topic, group), `the offsets of ${topic}`, clock), fail);
    }
    for (const position of this.#positions) {
      const { partition } = position;
      const seat = seats.get(partition);
      if (seat === undefined || this.#seats.get(partition) !== seat) continue; // assigned anew meanwhile
      for (const messages of seat.locate(position, this.#events)) this.#receive(partition, messages, fail);
    }
    this.#options.onAssigned();
  }

  #receive(partition: number, messages: readonly KafkaIn[], fail: (error: LeewayError) => void): void {
    const seat = this.#seats.get(partition);
    const [first] = messages;
    if (first === undefined) return;
    if (seat === undefined) return this.#skipped.follow(partition, messages);
    const { offsets } = seat;
    if (offsets === null) {
      if (!seat.hold(messages)) return fail(unlocated(partition));
      return this.#options.onEarly();
    }
    const { next } = offsets;
    if (first.offset > next && !this.#skipped.skips(partition, next, seat.isFresh)) {
      this.#seats.delete(partition);
      this.#skipped.follow(partition, messages);
      return fail(skipped(partition, next, first.offset));
    }
    if (first.offset > next) this.#tellGap(partition, next, first.offset);
    this.#progress++;
    for (const message of messages) if (offsets.take(message.offset)) this.#options.onMessage(partition, message);
  }
}
