import type { Decoded } from './decoded-samples.ts';
import { exactBits, exactInteger } from './exact-number.ts';
import { fieldsOf } from './message-fields.ts';
import { hexText, readAttributes } from './otlp-attributes.ts';
import { milliseconds } from './otlp-time.ts';
import { ProtobufReader } from './protobuf-reader.ts';
import { type LabelPair, labelRecord } from './series-labels.ts';

/** A trace id has 16 bytes, a span id 8; what is longer is cut there. */
const ID_BYTES_MAX = 64;

/**
 * Reads Exemplar fields (metrics/v1) that lie one after the other: their filtered attributes are labels, and so are the
 * ids as `trace_id` and `span_id`, lower-case hexadecimal (OpenTelemetry, "Prometheus and OpenMetrics compatibility").
 */
export function readExemplars(decoded: Decoded, fields: Uint8Array, series: string): void {
  const reader = new ProtobufReader();
  reader.reset(fields);
  while (reader.at < fields.length) {
    reader.tag();
    readExemplar(decoded, reader, { end: reader.lengthEnd(fields.length), series });
  }
}

function readExemplar(
  decoded: Decoded,
  reader: ProtobufReader,
  { end, series }: { readonly end: number; readonly series: string },
): void {
  const attributes = readAttributes(fieldsOf(reader, { start: reader.at, end }, (tag) => tag === 58));
  const ids: LabelPair[] = [];
  let value = exactBits(0, 0);
  let at_ms = 0;
  while (reader.at < end) {
    const tag = reader.tag();
    if (tag === 17 || tag === 25 || tag === 49) {
      reader.fixed64(end);
      if (tag === 17) at_ms = milliseconds(reader.low, reader.high);
      else if (tag === 25) value = exactBits(reader.low, reader.high);
      else value = exactInteger((BigInt(reader.high) << 32n) | BigInt(reader.low >>> 0));
    } else if (tag === 34 || tag === 42) {
      const last = reader.lengthEnd(end);
      const id = reader.bytes.subarray(reader.at, Math.min(last, reader.at + ID_BYTES_MAX));
      if (id.length > 0) ids.push([tag === 34 ? 'span_id' : 'trace_id', hexText(id)]);
      reader.at = last;
    } else reader.skip(tag, end);
  }
  reader.within(end);
  if ('code' in attributes) decoded.refuseExemplar(attributes);
  else decoded.exemplar({ series, at_ms, value, labels: labelRecord([...attributes, ...ids]) });
}
