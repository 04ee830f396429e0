import { crc32 } from 'node:zlib';
import { LIMITS } from '../core/limits.ts';
import type { FrameHeader, QuarantinedFrame } from '../core/ports.ts';
import type { KafkaIn, KafkaOut } from './kafka-driver.ts';
import type { HeldFrame, MessagePlace } from './kafka-frames.ts';
import { SourceTally } from './known-sequences.ts';

/** A message that will never be stored, and why. `header`: what it said of itself, null when it could not be read. */
export type DeadLetter = MessagePlace & {
  readonly message: KafkaIn;
  readonly header: FrameHeader | null;
  readonly code: string;
  readonly reason: string;
};

const REASON_CHARACTERS_MAX = 1_000;

/**
 * The message that keeps a dead letter: the bytes as they were, up to LIMITS.kafka_dead_letter_bytes_max, and headers that
 * say what is wrong and where it came from. Replaying it is producing key, header `table` and value to the frames topic.
 */
export function deadLetterMessage(letter: DeadLetter, topic: string, partitions: number): KafkaOut {
  const { message, header, partition, offset, code, reason } = letter;
  const value = message.value ?? Buffer.alloc(0);
  const kept = value.subarray(0, LIMITS.kafka_dead_letter_bytes_max);
  const key = message.key ?? Buffer.alloc(0);
  const table = header?.table ?? message.headers.get('table')?.toString();
  return {
    partition: crc32(key) % partitions,
    key,
    value: kept,
    headers: {
      code,
      reason: reason.slice(0, REASON_CHARACTERS_MAX),
      topic,
      partition: String(partition),
      offset: String(offset),
      bytes: String(value.length),
      truncated: String(kept.length < value.length),
      ...(table === undefined ? {} : { table: table.slice(0, LIMITS.source_name_max) }),
      ...(header === null
        ? {}
        : {
            source: header.source,
            epoch: String(header.epoch),
            sequence: String(header.sequence),
            rows: String(header.rows),
          }),
    },
  };
}

/** Frames set aside that are remembered one by one: 100 B each. Beyond them a replay leaves the declared loss as it is. */
const QUARANTINE_FRAMES_MAX = 100_000;

/** What this process has set aside and not stored since: a replay brings the same bytes again, in another place. */
export class Quarantine {
  readonly #frames = new Map<string, QuarantinedFrame>();
  readonly tally = new SourceTally();

  /** The frame of the letter; null where nobody can tell what it holds. */
  add({ header, message }: Pick<DeadLetter, 'header' | 'message'>): QuarantinedFrame | null {
    if (header === null) return null;
    const { source, epoch, sequence, parts, rows } = header;
    const frame = { id: nameOf(header, message), source, epoch, sequence, parts, records: rows };
    if (this.#frames.has(frame.id)) return frame; // refused once more: it is the same loss
    if (this.#frames.size < QUARANTINE_FRAMES_MAX) this.#frames.set(frame.id, frame);
    this.tally.add(header, rows);
    return frame;
  }

  get frames(): QuarantinedFrame[] {
    return [...this.#frames.values()];
  }

  stored({ header, message }: Pick<HeldFrame, 'header' | 'message'>): void {
    if (this.#frames.size > 0 && this.#frames.delete(nameOf(header, message))) this.tally.add(header, -header.rows);
  }
}

/** Frames of one batch and table differ in their bytes where the table was cut. */
function nameOf({ source, epoch, sequence, table }: FrameHeader, { value }: KafkaIn): string {
  return `${epoch} ${sequence} ${table} ${crc32(value ?? Buffer.alloc(0))} ${source}`;
}
