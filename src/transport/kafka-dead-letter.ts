import { crc32 } from 'node:zlib';
import { LIMITS } from '../core/limits.ts';
import type { FrameHeader } from '../core/ports.ts';
import type { KafkaIn, KafkaOut } from './kafka-driver.ts';
import type { MessagePlace } from './kafka-frames.ts';

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
