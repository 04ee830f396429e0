import { LeewayError } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import type { Batch, FrameHeader } from '../core/ports.ts';
import { TABLE_NAMES, type TableName } from '../core/tables.ts';
import { encodeParts } from './batch-parts.ts';
import { bodyOf, encodeFrame, frameAt, versionFault } from './frame.ts';
import type { KafkaIn } from './kafka-driver.ts';
import { frameBytes, splitPart } from './kafka-split.ts';
import type { Part } from './segment.ts';

/**
 * One frame is one message: key the source, header `table`, value the frame with lineage 0. The lineage is given when the
 * message is read, because only then its place in the log is known. A table that a worker does not know is a dead letter:
 * workers are upgraded before gateways.
 */

/** Upper bits of a lineage name the stream; 12 bits, so 4,096 partitions at most. */
const STREAM_SHIFT = 52n;
export const STREAMS_MAX = 4_096;

/** A frame's count of parts is one byte. */
const PARTS_MAX = 255;

export type FrameMessage = { readonly table: TableName; readonly rows: number; readonly value: Buffer };

/**
 * The messages of a batch. A part above LIMITS.kafka_frame_bytes_max is cut between rows; then `parts` counts all frames of
 * the batch, more than it has tables. Failures: LW-BODY-SIZE when there would be more than 255 of them or one row alone is
 * larger than a topic takes.
 */
export function frameMessages(batch: Batch): FrameMessage[] {
  const whole = encodeParts(batch);
  const cut = whole.flatMap((part) => splitPart(part, LIMITS.kafka_frame_bytes_max));
  if (cut.length > PARTS_MAX)
    throw new LeewayError(
      'LW-BODY-SIZE',
      `batch ${batch.sequence} of ${batch.source} makes ${cut.length} frames, at most ${PARTS_MAX}: send less at once`,
    );
  return cut.map((part) => encodeMessage({ ...part, parts: cut.length }));
}

function encodeMessage(part: Part): FrameMessage {
  if (frameBytes(part) > LIMITS.kafka_message_bytes_max)
    throw new LeewayError(
      'LW-BODY-SIZE',
      `a row of ${part.table} from ${part.source} takes ${frameBytes(part)} bytes, at most ${LIMITS.kafka_message_bytes_max}`,
    );
  const { body, ...header } = part;
  const value = Buffer.concat(encodeFrame({ ...header, lineage: 0n, origin: 0 }, body));
  return { table: part.table, rows: part.rows, value };
}

/** Where a message stands in the topic. */
export type MessagePlace = { readonly partition: number; readonly offset: bigint };

/** A frame read from the topic and checked, not yet stored. */
export type HeldFrame = MessagePlace & {
  readonly header: FrameHeader;
  readonly body: Buffer;
  readonly message: KafkaIn;
  readonly at_ms: number;
};

/** The lineage of a message: stream (first stream + partition) and offset + 1, since 0 stands for nothing accepted yet. */
export function lineageAt({ partition, offset }: MessagePlace, stream_first: number): bigint {
  return (BigInt(stream_first + partition) << STREAM_SHIFT) | (offset + 1n);
}

/** The frame of a message, or the reason why it holds none. `lineage`: the one that its place gives it. */
export function readMessage(message: KafkaIn, place: MessagePlace, lineage: bigint): HeldFrame | string {
  const { value } = message;
  const table = message.headers.get('table')?.toString();
  if (!isTable(table)) return `header "table" is ${table ?? 'missing'}, expected the name of a stored table`;
  if (value === null) return 'the message has no value, expected a frame';
  const found = frameAt(value, 0, table);
  if (found === null) return versionFault(value, 0) ?? `${value.length} bytes are no undamaged frame of ${table}`;
  if (found.end !== value.length) return `${value.length - found.end} bytes follow the frame`;
  const header = { ...found.header, lineage };
  return { ...place, header, body: bodyOf(value, found), message, at_ms: message.at_ms };
}

function isTable(name: string | undefined): name is TableName {
  return TABLE_NAMES.some((table) => table === name);
}
