import { LIMITS } from '../core/limits.ts';
import { textField } from './message-fields.ts';
import { ProtobufReader } from './protobuf-reader.ts';
import type { LabelFault, LabelPair } from './series-labels.ts';

/** AnyValue may hold lists of lists; deeper is refused. */
const DEPTH_MAX = 16;
const UTF8_FAULT: LabelFault = { code: 'utf8', reason: 'an attribute that is not valid UTF-8' };
const DEPTH_FAULT: LabelFault = { code: 'attribute_depth', reason: `an attribute nested more than ${DEPTH_MAX} deep` };

/** An attribute's value as JSON has it; null where it is empty. */
type AnyValue = string | number | boolean | null | bigint | readonly AnyValue[] | ReadonlyMap<string, AnyValue>;

/**
 * Reads KeyValue fields (opentelemetry/proto/common/v1) that lie one after the other, whatever their tag, as labels:
 * names and texts as they are; a bool, integer or double in its usual digits; lists and maps as JSON; bytes as base64
 * (OpenTelemetry specification, common/README.md "AnyValue representation for non-OTLP protocols").
 */
export function readAttributes(fields: Uint8Array): readonly LabelPair[] | LabelFault {
  const reader = new ProtobufReader();
  reader.reset(fields);
  const pairs: LabelPair[] = [];
  try {
    while (reader.at < fields.length) {
      reader.tag();
      const [name, value] = readKeyValue(reader, reader.lengthEnd(fields.length), 0);
      pairs.push([name, labelText(value)]);
    }
  } catch (error) {
    if (error instanceof AttributeError) return error.fault;
    throw error;
  }
  return pairs;
}

class AttributeError extends Error {
  readonly fault: LabelFault;
  constructor(fault: LabelFault) {
    super(fault.reason);
    this.fault = fault;
  }
}

function readKeyValue(reader: ProtobufReader, end: number, depth: number): [name: string, value: AnyValue] {
  let name = '';
  let value: AnyValue = null;
  while (reader.at < end) {
    const tag = reader.tag();
    if (tag === 10) name = requiredText(reader, end);
    else if (tag === 18) value = readAnyValue(reader, reader.lengthEnd(end), depth);
    else reader.skip(tag, end);
  }
  reader.within(end);
  return [name, value];
}

function readAnyValue(reader: ProtobufReader, end: number, depth: number): AnyValue {
  if (depth > DEPTH_MAX) throw new AttributeError(DEPTH_FAULT);
  let value: AnyValue = null;
  while (reader.at < end) {
    const tag = reader.tag();
    if (tag === 10) value = requiredText(reader, end);
    else if (tag === 16) {
      reader.varint64();
      value = reader.low !== 0 || reader.high !== 0;
    } else if (tag === 24) {
      reader.varint64();
      value = (BigInt(reader.high) << 32n) | BigInt(reader.low >>> 0);
    } else if (tag === 33) value = reader.double(end);
    else if (tag === 42) value = readList(reader, reader.lengthEnd(end), depth);
    else if (tag === 50) value = readMap(reader, reader.lengthEnd(end), depth);
    else if (tag === 58) value = base64(bytesField(reader, end));
    else reader.skip(tag, end);
  }
  reader.within(end);
  return value;
}

function readList(reader: ProtobufReader, end: number, depth: number): AnyValue {
  const list: AnyValue[] = [];
  while (reader.at < end) {
    const tag = reader.tag();
    if (tag === 10) list.push(readAnyValue(reader, reader.lengthEnd(end), depth + 1));
    else reader.skip(tag, end);
  }
  reader.within(end);
  return list;
}

function readMap(reader: ProtobufReader, end: number, depth: number): AnyValue {
  const map = new Map<string, AnyValue>();
  while (reader.at < end) {
    const tag = reader.tag();
    if (tag === 10) map.set(...readKeyValue(reader, reader.lengthEnd(end), depth + 1));
    else reader.skip(tag, end);
  }
  reader.within(end);
  return map;
}

function requiredText(reader: ProtobufReader, end: number): string {
  const text = textField(reader, end);
  if (text === null) throw new AttributeError(UTF8_FAULT);
  return text;
}

function bytesField(reader: ProtobufReader, end: number): Uint8Array {
  const last = reader.lengthEnd(end);
  const bytes = reader.bytes.subarray(reader.at, last);
  reader.at = last;
  if (bytes.length > LIMITS.label_value_bytes_max)
    throw new AttributeError({ code: 'label_size', reason: `an attribute of ${bytes.length} bytes` });
  return bytes;
}

function base64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}

/** Lower-case hexadecimal digits. */
export function hexText(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function labelText(value: AnyValue): string {
  if (value === null) return '';
  return typeof value === 'object' ? jsonText(value) : String(value);
}

function jsonText(value: AnyValue): string {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return JSON.stringify(value);
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'number') return Number.isFinite(value) ? String(value) : JSON.stringify(String(value));
  if (isList(value)) return `[${value.map(jsonText).join(',')}]`;
  return `{${[...value].map(([name, item]) => `${JSON.stringify(name)}:${jsonText(item)}`).join(',')}}`;
}

function isList(value: readonly AnyValue[] | ReadonlyMap<string, AnyValue>): value is readonly AnyValue[] {
  return Array.isArray(value);
}
