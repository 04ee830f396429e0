import type { ProtobufReader } from './protobuf-reader.ts';
import { utf8Text } from './series-labels.ts';

/** A message inside the reader's bytes: half-open. */
export type Span = { readonly start: number; readonly end: number };

/** A length-delimited field as text, null when it is not UTF-8. */
export function textField(reader: ProtobufReader, end: number): string | null {
  const last = reader.lengthEnd(end);
  const text = utf8Text(reader.bytes.subarray(reader.at, last));
  reader.at = last;
  return text;
}

/**
 * The message with the fields that `first` accepts moved to its front, order kept otherwise; protobuf leaves the order
 * of fields free, the fast paths do not. The cursor is at its start again.
 */
export function reordered(reader: ProtobufReader, message: Span, first: (tag: number) => boolean): Uint8Array {
  const front = fieldsOf(reader, message, first);
  const rest = fieldsOf(reader, message, (tag) => !first(tag));
  const out = new Uint8Array(front.length + rest.length);
  out.set(front);
  out.set(rest, front.length);
  return out;
}

/** Copies of the fields of a message whose tag `wanted` accepts, one after the other; the cursor is at its start again. */
export function fieldsOf(reader: ProtobufReader, { start, end }: Span, wanted: (tag: number) => boolean): Uint8Array {
  const out = new Uint8Array(end - start);
  let length = 0;
  reader.at = start;
  while (reader.at < end) {
    const from = reader.at;
    const tag = reader.tag();
    reader.skip(tag, end);
    if (!wanted(tag)) continue;
    out.set(reader.bytes.subarray(from, reader.at), length);
    length += reader.at - from;
  }
  reader.within(end);
  reader.at = start;
  return out.subarray(0, length);
}

/** Whether the message has a field whose tag `wanted` accepts. The cursor is at its start again. */
export function hasField(reader: ProtobufReader, { start, end }: Span, wanted: (tag: number) => boolean): boolean {
  let found = false;
  reader.at = start;
  while (!found && reader.at < end) {
    const tag = reader.tag();
    found = wanted(tag);
    reader.skip(tag, end);
  }
  reader.at = start;
  return found;
}

/** How many fields of the message `wanted` accepts. The cursor is at its end. */
export function countFields(reader: ProtobufReader, { start, end }: Span, wanted: (tag: number) => boolean): number {
  let count = 0;
  reader.at = start;
  while (reader.at < end) {
    const tag = reader.tag();
    if (wanted(tag)) count++;
    reader.skip(tag, end);
  }
  reader.within(end);
  return count;
}
