import { LeewayError } from '../../src/core/errors.ts';
import { type ConsumerHandlers, kafkaError } from '../../src/transport/kafka-driver.ts';
import type { SimulatedPartition } from './kafka-log.ts';
import type { Life, World } from './world.ts';

/** A member as its client sees itself: what it was told last, and where it reads. */
export type Member = {
  readonly life: Life;
  readonly handlers: ConsumerHandlers;
  /** Of the assignment that it was told; 0: none yet. */
  generation: number;
  /** Next offset to fetch, by assigned partition. */
  positions: Map<number, number>;
  isPaused: boolean;
  isClosed: boolean;
  /** It fetches nothing any more and does not say so. */
  isSilent: boolean;
  wake: () => void;
};

export type GroupOptions = {
  readonly world: World;
  readonly server: Life;
  readonly partitions: readonly SimulatedPartition[];
  readonly session_timeout_ms: number;
  readonly heartbeat_ms: number;
};

/**
 * The coordinator of one consumer group. Each change of membership begins a generation; members learn of it with a later
 * heartbeat and believe until then what they were told before. Commits of earlier generations are refused.
 */
export class SimulatedGroup {
  readonly #options: GroupOptions;
  #members: Member[] = [];
  #generation = 0;
  #shares = new Map<Member, number[]>();
  readonly committed = new Map<number, bigint>();
  /** Commits of members that were not misled and put the group back, in words. */
  readonly put_back: string[] = [];
  /** Partitions of which the cluster said too small an end, or a client said an old commit again. */
  readonly misled = new Set<number>();
  /** Partitions that each client had once. */
  readonly #had = new WeakMap<Member, Set<number>>();

  constructor(options: GroupOptions) {
    this.#options = options;
  }

  /** Whom the coordinator counts as members. */
  get members(): readonly Member[] {
    return this.#members;
  }

  /** True while a member has not heard of the present generation. */
  get isRebalancing(): boolean {
    return this.#members.some((member) => member.generation !== this.#generation);
  }

  join(member: Member): void {
    if (member.isClosed) return;
    this.#members.push(member);
    this.rebalance(`${member.life.name} joins`);
  }

  leave(member: Member, why: string): void {
    if (!this.#members.includes(member)) return;
    this.#members = this.#members.filter((other) => other !== member);
    this.rebalance(`${member.life.name} ${why}`);
  }

  /** The process is dead: the coordinator notices when the session is over. */
  lost(life: Life): void {
    const { world, server, session_timeout_ms } = this.#options;
    for (const member of this.#members) {
      if (member.life !== life) continue;
      void world.later(server, session_timeout_ms, `session of ${life.name} ends`, () => this.leave(member, 'is gone'));
    }
  }

  /** Takes a living member for dead; its client learns that with its next heartbeat and joins again, or gives up. */
  expel(member: Member): void {
    const { world, heartbeat_ms } = this.#options;
    this.leave(member, 'is expelled');
    const learns_ms = world.below(4 * heartbeat_ms);
    void world.later(member.life, learns_ms, 'learns that it was expelled', () => {
      if (member.isClosed) return;
      if (world.chance(0.5)) this.join(member);
      else member.handlers.onFailed(kafkaError('UNKNOWN_MEMBER_ID', 'a heartbeat', null));
    });
  }

  rebalance(why: string): void {
    const { world, partitions } = this.#options;
    world.count('group_rebalanced');
    this.#generation++;
    this.#shares = new Map(this.#members.map((member) => [member, []]));
    const first = world.below(Math.max(1, this.#members.length));
    for (const { number } of partitions) {
      const member = this.#members[(first + number) % this.#members.length];
      if (member !== undefined) this.#shares.get(member)?.push(number);
    }
    world.note(`generation ${this.#generation}: ${why}; ${this.#members.length} members`);
    for (const member of this.#members) this.#tell(member);
    this.#countOwners();
  }

  /** Loses what was committed; everybody joins the new coordinator. */
  forget(partition: number): void {
    this.committed.delete(partition);
    this.rebalance('another coordinator');
  }

  /** Whether every message of the partition is committed, as far as the group remembers. */
  hasCommitted({ number, high, low }: SimulatedPartition): boolean {
    return Number(this.committed.get(number) ?? low) === high;
  }

  /** Carries out a commit of `member`, said in `generation`. */
  commit(member: Member, generation: number, offsets: ReadonlyMap<number, bigint>): void {
    const { world } = this.#options;
    if (!this.#members.includes(member) || generation !== this.#generation) {
      world.count('commit_fenced');
      throw kafkaError('ILLEGAL_GENERATION', 'a commit', null);
    }
    for (const [partition, offset] of offsets) {
      const before = this.committed.get(partition) ?? 0n;
      if (offset < before && !this.misled.has(partition))
        this.put_back.push(
          `${member.life.name} put the group back from offset ${before} of partition ${partition} to ${offset}`,
        );
      this.committed.set(partition, offset);
    }
    if (member.life.stage === 'noted') member.life.stage = null;
  }

  /** The client of `member` repeats a refused commit in the name of the generation that it has joined since. */
  sayAgain(member: Member, offsets: ReadonlyMap<number, bigint>): void {
    const { world } = this.#options;
    if (!this.#members.includes(member) || member.generation !== this.#generation) return;
    for (const [partition, offset] of offsets) {
      this.misled.add(partition);
      if (offset < (this.committed.get(partition) ?? 0n)) world.count('commit_moved_back');
      this.committed.set(partition, offset);
    }
  }

  /** By partition, how many living clients believe that it is theirs. */
  ownersOf(partition: number, clients: readonly Member[]): number {
    return clients.filter(({ life, isClosed, positions }) => life.isAlive && !isClosed && positions.has(partition))
      .length;
  }

  #countOwners(): void {
    const { world, partitions } = this.#options;
    const clients = [...this.#clients];
    if (partitions.some(({ number }) => this.ownersOf(number, clients) > 1)) world.count('two_owners_of_a_partition');
  }

  /** Every client that was ever told something. */
  readonly #clients = new Set<Member>();

  #tell(member: Member): void {
    const { world, heartbeat_ms } = this.#options;
    void world.later(member.life, world.below(2 * heartbeat_ms), 'is told its partitions', () => {
      if (member.isClosed || !this.#members.includes(member) || member.generation === this.#generation) return;
      member.generation = this.#generation;
      const share = this.#shares.get(member) ?? [];
      const had = this.#had.get(member) ?? new Set();
      this.#had.set(member, had);
      const positions = new Map<number, number>();
      for (const partition of share) {
        if (had.has(partition) && !member.positions.has(partition)) world.count('partition_came_back');
        // one client begins again at what is committed, another goes on where it was
        const kept = world.chance(0.5) ? member.positions.get(partition) : undefined;
        positions.set(partition, kept ?? Number(this.committed.get(partition) ?? this.#low(partition)));
        had.add(partition);
      }
      member.positions = positions;
      this.#clients.add(member);
      member.handlers.onAssigned(share);
      member.wake();
      this.#countOwners();
    });
  }

  #low(partition: number): bigint {
    return BigInt(this.#options.partitions[partition]?.low ?? 0);
  }
}

/** What a client says when its coordinator does not answer. */
export function unreachable(what: string): LeewayError {
  return kafkaError(null, what, 'connection reset');
}
