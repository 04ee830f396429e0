import { LeewayError } from '../core/errors.ts';
import { type KafkaIn, messageBytes, type PartitionPosition } from './kafka-driver.ts';
import { PartitionOffsets } from './kafka-offsets.ts';

/** Messages that arrive before it is known where their partition begins: a few fetches, as many as come despite a pause. */
const EARLY_MESSAGES_MAX = 20_000;

type Messages = readonly KafkaIn[];

/** Who hears what became of a partition. */
export type SeatEvents = {
  /** Offsets count from somewhere before again. */
  readonly onRepeats: (what: string) => void;
  /** Messages [from, to) were removed before the group had read them. */
  readonly onGap: (partition: number, from: bigint, to: bigint) => void;
};

/**
 * A partition that one assignment gives this member. Until `locate` was told where the group goes on, its messages are held
 * back and nothing of it is to be committed: members that were frozen, or taken for dead, may find that others have gone on
 * meanwhile, and what they had in mind would put the group back.
 */
export class Seat {
  /** Its consumer had brought nothing of the partition before, so that it began where the group stands. */
  readonly isFresh: boolean;
  /** Also of the assignment before: what was taken in then is dealt with now. */
  #account: PartitionOffsets | null;
  #isLocated = false;
  #early: Messages[];
  #early_messages: number;
  #early_bytes: number;

  /** `before`: the seat that the assignment before gave, null for a partition that is new to us. */
  constructor(before: Seat | null, isFresh: boolean) {
    this.isFresh = isFresh;
    this.#account = before === null ? null : before.#account;
    const isKept = before !== null && !isFresh; // what another consumer brought comes again
    this.#early = isKept ? before.#early : [];
    this.#early_messages = isKept ? before.#early_messages : 0;
    this.#early_bytes = isKept ? before.#early_bytes : 0;
  }

  /** What of the partition was taken in and is dealt with; null until it is known where the group goes on. */
  get offsets(): PartitionOffsets | null {
    return this.#isLocated ? this.#account : null;
  }

  /** What the messages that are held back take in memory. */
  get early_bytes(): number {
    return this.#early_bytes;
  }

  /** The message is stored or set aside, whichever assignment brought it. */
  done(offset: bigint): void {
    this.#account?.done(offset);
  }

  /** Holds messages back until `locate`; false when they are too many. */
  hold(messages: Messages): boolean {
    this.#early.push(messages);
    this.#early_messages += messages.length;
    for (const message of messages) this.#early_bytes += messageBytes(message);
    return this.#early_messages <= EARLY_MESSAGES_MAX;
  }

  /** Goes on where the group stands; returns what was held back, in the order of arrival. */
  locate(position: PartitionPosition, events: SeatEvents): readonly Messages[] {
    const { committed } = position;
    const account = this.#account;
    // one that has read further than the cut looks for itself whether its partition is another one
    if (account === null || (isCut(position) && account.next < (committed ?? 0n))) this.#begin(position, events);
    else {
      if (committed !== null && !isCut(position)) account.passTo(committed);
      account.committed = null; // said to an earlier generation: it is said again
    }
    this.#isLocated = true;
    const held = this.#early;
    this.#early = [];
    this.#early_messages = 0;
    this.#early_bytes = 0;
    return held;
  }

  #begin(position: PartitionPosition, { onRepeats, onGap }: SeatEvents): void {
    const { partition, low, end, committed } = position;
    const start = committed === null || committed < low || isCut(position) ? low : committed;
    this.#account = new PartitionOffsets(start);
    // of a partition that was cut the group's offset is put back (messages before it are new ones), of removed ones forward
    this.#account.committed = committed !== null && committed !== start ? null : start;
    if (committed !== null && committed < low) onGap(partition, committed, low);
    if (!isCut(position)) return;
    onRepeats(`partition ${partition} ends at ${end}, before the group's offset ${committed}: read from its beginning`);
  }
}

/** The group stands behind the end: the topic was created anew or cut by an unclean election. */
export function isCut({ end, committed }: PartitionPosition): boolean {
  return committed !== null && committed > end;
}

/** Where the group goes on was not heard before too many messages came. */
export function unlocated(partition: number): LeewayError {
  return new LeewayError('LW-UNREACHABLE', `partition ${partition}: the group's offset could not be read in time`);
}

/** The client left messages out. */
export function skipped(partition: number, from: bigint, to: bigint): LeewayError {
  return new LeewayError('LW-CONFLICT', `partition ${partition}: expected offset ${from}, got ${to}; reading again`);
}
