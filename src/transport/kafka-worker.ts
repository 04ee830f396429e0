import path from 'node:path';
import type { Clock } from '../core/clock.ts';
import { LeewayError, systemCode } from '../core/errors.ts';
import { type Ok, type Outcome, type Reject, retry } from '../core/outcome.ts';
import type { Delivery, NoteAside, QuarantinedFrame } from '../core/ports.ts';
import { type DeadLetter, deadLetterMessage, Quarantine } from './kafka-dead-letter.ts';
import type { KafkaDriver, KafkaIn } from './kafka-driver.ts';
import type { KafkaEvent } from './kafka-event.ts';
import { type HeldFrame, lineageAt, readMessage } from './kafka-frames.ts';
import { GroupMember } from './kafka-member.ts';
import { removeDelivery, type ScratchDisk, systemScratch, writeDelivery } from './kafka-scratch.ts';
import { FrameShelf, type ShelfOptions } from './kafka-shelf.ts';
import { UnreadableMessages } from './kafka-unreadable.ts';
import { SourceTally } from './known-sequences.ts';

export type KafkaWorkerOptions = {
  readonly driver: KafkaDriver;
  readonly topic: string;
  readonly group: string;
  readonly dead_letters: { readonly topic: string; readonly partitions: number };
  readonly clock: Clock;
  readonly scratch_dir: string;
  /** Default: the file system. */
  readonly scratch_disk?: ScratchDisk;
  /** Of the names of this bus's files. */
  readonly scratch_prefix: string;
  readonly stream_first: number;
  readonly delivery: ShelfOptions;
  /** Bytes of messages held in memory, frames or not; beyond them fetching pauses. */
  readonly buffer_bytes_max: number;
  readonly stall_ms: number;
  readonly onEvent: (event: KafkaEvent) => void;
};

type Handle = (delivery: Delivery) => Promise<Outcome>;

const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 5_000;

/**
 * The topic to the store: collects frames into deliveries, hands them on one at a time and commits a partition's offset
 * only when every earlier frame of it is stored or in the dead-letter topic. It stays a member of the group meanwhile,
 * however long the store takes.
 */
export class KafkaWorker {
  readonly #options: KafkaWorkerOptions;
  readonly #member: GroupMember;
  readonly #disk: ScratchDisk;
  readonly #inHand = new SourceTally();
  readonly #quarantine = new Quarantine();
  #shelf: FrameShelf;
  #unreadable = new UnreadableMessages();
  #in_hand_bytes = 0;
  #in_hand_at_ms: number | null = null;
  #unreadable_frames = 0;
  #next_file = 1;
  #isPaused = false;
  #isBusy = false;
  #wake: () => void = () => undefined;
  #noteAside: NoteAside = () => Promise.resolve();

  constructor(options: KafkaWorkerOptions) {
    this.#options = options;
    this.#disk = options.scratch_disk ?? systemScratch();
    this.#shelf = new FrameShelf(options.delivery);
    const { driver, topic, group, clock, stream_first, stall_ms, onEvent } = options;
    this.#member = new GroupMember({
      driver,
      topic,
      group,
      clock,
      stream_first,
      stall_ms,
      onEvent,
      onMessage: (partition, message) => this.#receive(partition, message),
      onEarly: () => this.#pauseWhenFull(),
      onAssigned: () => this.#reassigned(),
      isBusy: () => this.#isBusy,
    });
  }

  get bytes(): number {
    return this.#shelf.bytes + this.#in_hand_bytes;
  }

  /** Frames of the topic that wait, of all partitions, as last heard. */
  get frames(): number {
    return this.#member.lag;
  }

  get unreadable_frames(): number {
    return this.#unreadable_frames;
  }

  /** Age of the oldest frame in memory, by the time its producer gave it. */
  get oldest_ms(): number {
    const ages = [this.#shelf.oldest_at_ms, this.#in_hand_at_ms].filter((at_ms) => at_ms !== null);
    return ages.length === 0 ? 0 : Math.max(0, this.#options.clock.now_ms() - Math.min(...ages));
  }

  /** Records read and not yet stored, then records set aside by this process. */
  get tallies(): { readonly held: readonly SourceTally[]; readonly quarantined: SourceTally } {
    return { held: [this.#shelf.tally, this.#inHand], quarantined: this.#quarantine.tally };
  }

  /** What `quarantined` counts. */
  get quarantined_frames(): QuarantinedFrame[] {
    return this.#quarantine.frames;
  }

  async consume(handle: Handle, signal: AbortSignal, noteAside: NoteAside = () => Promise.resolve()): Promise<void> {
    this.#noteAside = noteAside;
    this.#shelf = new FrameShelf(this.#options.delivery);
    this.#unreadable = new UnreadableMessages();
    this.#isPaused = false;
    const leaving = new AbortController();
    const background = Promise.all([this.#member.run(leaving.signal), this.#member.watch(leaving.signal)]);
    const wake = (): void => this.#wake();
    signal.addEventListener('abort', wake, { once: true });
    try {
      await Promise.race([this.#deliverAll(handle, signal), background]);
    } finally {
      signal.removeEventListener('abort', wake);
      leaving.abort();
      this.#shelf = new FrameShelf(this.#options.delivery); // not committed: the group's next member reads it again
      await background;
    }
  }

  #receive(partition: number, message: KafkaIn): void {
    const { stream_first, clock } = this.#options;
    const place = { partition, offset: message.offset };
    const frame = readMessage(message, place, lineageAt(place, stream_first));
    if (typeof frame === 'string') {
      this.#unreadable_frames++;
      this.#unreadable.add({ ...place, message, header: null, code: 'LW-INPUT', reason: frame });
    } else this.#shelf.add(frame, clock.elapsed_ms());
    this.#pauseWhenFull();
    this.#wake();
  }

  /** What was read and waits here: frames, what is none, and what came before it was known where the group goes on. */
  get #waiting_bytes(): number {
    return this.#shelf.bytes + this.#unreadable.bytes + this.#member.early_bytes;
  }

  #pauseWhenFull(): void {
    if (this.#isPaused || this.#waiting_bytes <= this.#options.buffer_bytes_max) return;
    this.#isPaused = true;
    this.#member.pause();
  }

  #reassigned(): void {
    this.#shelf.retain((partition) => this.#member.owns(partition));
    this.#unreadable.retain((partition) => this.#member.owns(partition));
    this.#wake();
  }

  async #deliverAll(handle: Handle, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (!signal.aborted) {
      const letter = this.#unreadable.take();
      const frames = letter === undefined ? this.#shelf.takeDue(clock.elapsed_ms(), this.#isPaused) : null;
      if (letter === undefined && frames === null) {
        await this.#idle(signal);
        continue;
      }
      this.#isBusy = true;
      if (letter !== undefined) await this.#setAside(letter, signal);
      if (frames !== null) await this.#deliver(frames, handle, signal);
      this.#isBusy = false;
      await this.#member.commit();
      this.#resumeWhenRoom();
    }
  }

  #resumeWhenRoom(): void {
    if (!this.#isPaused || this.#waiting_bytes > this.#options.buffer_bytes_max / 2) return;
    this.#isPaused = false;
    this.#member.resume();
  }

  /** Waits until a delivery is due, something arrives or the signal fires; repeats a commit that failed. */
  async #idle(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    await this.#member.commit();
    this.#resumeWhenRoom();
    const due_ms = this.#shelf.dueAt_ms(this.#isPaused);
    const wait_ms = Math.min(
      due_ms === null ? Infinity : Math.max(0, due_ms - clock.elapsed_ms()),
      this.#member.isBehind ? this.#member.commit_wait_ms : Infinity,
    );
    if (signal.aborted || wait_ms === 0 || !this.#unreadable.isEmpty) return;
    const over = new AbortController();
    const woken = new Promise<void>((resolve) => (this.#wake = resolve));
    if (wait_ms === Infinity) await woken;
    else await Promise.race([clock.sleep(wait_ms, over.signal).catch(() => undefined), woken]);
    over.abort();
  }

  /** Hands `frames` on until the store takes or refuses them. What is refused is narrowed down by halves to single frames. */
  async #deliver(frames: readonly HeldFrame[], handle: Handle, signal: AbortSignal): Promise<void> {
    this.#hold(frames, 1);
    try {
      const outcome = await this.#untilSettled(frames, handle, signal);
      if (outcome?.kind === 'ok')
        for (const frame of frames) {
          this.#member.done(frame);
          this.#quarantine.stored(frame);
        }
      if (outcome?.kind !== 'reject') return;
      const [first] = frames;
      if (frames.length === 1 && first !== undefined) {
        const { code, reason } = outcome;
        await this.#setAside({ ...first, code, reason }, signal);
        return;
      }
    } finally {
      this.#hold(frames, -1);
    }
    const middle = frames.length >>> 1;
    for (const half of [frames.slice(0, middle), frames.slice(middle)]) {
      // a partition that was given away meanwhile is left alone: its later frames must not overtake the earlier ones
      const ours = half.filter((frame) => this.#member.owns(frame.partition));
      if (ours.length > 0) await this.#deliver(ours, handle, signal);
    }
  }

  #hold(frames: readonly HeldFrame[], sign: 1 | -1): void {
    for (const { header, body } of frames) {
      this.#inHand.add(header, sign * header.rows);
      this.#in_hand_bytes += sign * body.length;
    }
    this.#in_hand_at_ms = sign === 1 ? frames.reduce((oldest, { at_ms }) => Math.min(oldest, at_ms), Infinity) : null;
  }

  /** The same delivery again and again while the answer is retry; null when it is not ours any more or the bus ends. */
  async #untilSettled(
    frames: readonly HeldFrame[],
    handle: Handle,
    signal: AbortSignal,
  ): Promise<Ok<void> | Reject | null> {
    const { clock, onEvent, scratch_dir, scratch_prefix } = this.#options;
    let delivery: Delivery | null = null;
    try {
      for (let attempt = 0; frames.some((frame) => this.#member.owns(frame.partition)); attempt++) {
        let outcome: Outcome;
        try {
          const stem = path.join(scratch_dir, `${scratch_prefix}-${this.#next_file++}`);
          delivery ??= await writeDelivery(this.#disk, stem, frames);
          outcome = await handle(delivery);
        } catch (error) {
          if (delivery !== null || systemCode(error) === null) throw error;
          outcome = retry('LW-SPOOL-IO', `${scratch_dir}: ${systemCode(error)}`);
          await this.#disk.makeDirectory(scratch_dir).catch(() => undefined); // somebody may have removed it
        }
        if (outcome.kind !== 'retry') return outcome;
        if (signal.aborted) return null;
        if (outcome.code === 'LW-SPOOL-IO' && delivery !== null) {
          await removeDelivery(this.#disk, delivery); // the store could not read it: it is written again
          delivery = null;
        }
        const wait_ms = outcome.after_ms ?? Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** Math.min(attempt, 10));
        onEvent({ kind: 'kafka_retry', reason: `${outcome.code} ${outcome.reason}; again in ${wait_ms} ms` });
        await clock.sleep(wait_ms, signal).catch(() => undefined); // aborted: one last attempt
      }
      return null;
    } finally {
      if (delivery !== null) await removeDelivery(this.#disk, delivery);
    }
  }

  /**
   * Puts a message into the dead-letter topic and has that noted, however long it takes: until then its partition does not
   * move on, so that a frame that is neither stored nor waiting is known to be lost, whatever ends this process.
   */
  async #setAside(letter: DeadLetter, signal: AbortSignal): Promise<void> {
    const { driver, topic, dead_letters, onEvent } = this.#options;
    const message = deadLetterMessage(letter, topic, dead_letters.partitions);
    const what = `partition ${letter.partition} offset ${letter.offset}: ${letter.code} ${letter.reason}`;
    const write = (): Promise<void> => driver.produce(dead_letters.topic, [message]);
    if (!(await this.#untilDone(write, what, signal))) return;
    const frame = this.#quarantine.add(letter);
    const note = (): Promise<void> => (frame === null ? Promise.resolve() : this.#noteAside(frame));
    if (!(await this.#untilDone(note, what, signal))) return;
    this.#member.done(letter);
    onEvent({ kind: 'kafka_dead_letter', reason: what });
  }

  /** Repeats what a dead letter needs; false when the bus ends before it is done. */
  async #untilDone(work: () => Promise<void>, what: string, signal: AbortSignal): Promise<boolean> {
    const { clock, onEvent } = this.#options;
    for (let attempt = 0; ; attempt++) {
      try {
        await work();
        return true;
      } catch (error) {
        if (!(error instanceof LeewayError)) throw error;
        onEvent({ kind: 'kafka_dead_letter_failed', reason: `${what}; ${error.message}` });
        if (signal.aborted) return false;
        const wait_ms = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** Math.min(attempt, 10));
        await clock.sleep(wait_ms, signal).catch(() => undefined); // aborted: one last attempt
      }
    }
  }
}
