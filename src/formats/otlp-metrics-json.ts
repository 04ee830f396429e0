import { LeewayError } from '../core/errors.ts';
import { type Outcome, reject } from '../core/outcome.ts';
import type { DecodedSamples, SampleTarget } from './decoded-samples.ts';
import { decodeOtlpMetrics } from './otlp-metrics.ts';
import { OTLP_SCHEMA, type SchemaField } from './otlp-schema.ts';
import { concatenated, doubleBytes, fieldBytes, fixed64Bytes, varintBytes } from './protobuf-bytes.ts';
import { utf8Text } from './series-labels.ts';

/** Messages inside messages: a data point is 7 deep, an attribute's lists at most 16 more, two levels each. */
const DEPTH_MAX = 48;
const TEMPORALITIES = ['UNSPECIFIED', 'DELTA', 'CUMULATIVE'].map((name) => `AGGREGATION_TEMPORALITY_${name}`);
/** An integer of 16 digits or more outside a string may be above 2^53: only then is the slow exact parse used. */
const LONG_INTEGER = /[:[,]\s*-?\d{16}/;
const WIRE: Readonly<Record<string, number>> = {
  double: 1,
  fixed64: 1,
  bool: 0,
  int64: 0,
  uint32: 0,
  sint32: 0,
  temporality: 0,
};

/**
 * Decodes ExportMetricsServiceRequest written as OTLP/JSON (opentelemetry-proto docs/specification.md, "JSON Protobuf
 * Encoding") by writing it as protobuf and decoding that: both forms of a message give the same result by construction.
 * 64-bit numbers may be strings or numbers, exact either way; NaN and infinities strings; trace and span ids
 * hexadecimal, other bytes base64; enum numbers (and, more than the specification asks, their names); names of fields in
 * camelCase or as in the proto files; unknown fields are passed over. Rejects LW-BODY for what is no such message.
 */
export function decodeOtlpMetricsJson(body: Uint8Array, target: SampleTarget): Outcome<DecodedSamples> {
  try {
    return decodeOtlpMetrics(messageBytes('Request', parsed(body), { depth: 0, path: '' }), target);
  } catch (error) {
    if (error instanceof LeewayError) return reject(error.code, error.message);
    throw error;
  }
}

type Place = { readonly depth: number; readonly path: string };

function wrong(path: string, expected: string): LeewayError {
  return new LeewayError(
    'LW-BODY',
    `OTLP/JSON: ${path === '' ? 'the body' : path.slice(1, 200)}: ${expected} expected`,
  );
}

function parsed(body: Uint8Array): unknown {
  const text = utf8Text(body);
  if (text === null) throw wrong('', 'UTF-8');
  try {
    return LONG_INTEGER.test(text) ? JSON.parse(text, exactIntegers) : JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) throw new LeewayError('LW-BODY', `OTLP/JSON: ${error.message}`, { cause: error });
    if (error instanceof RangeError) throw wrong('', 'less nesting'); // the reviver's recursion, not ours
    throw error;
  }
}

/** A reviver that reads integers above 2^53 from their source text (ECMAScript "JSON.parse source text access"). */
function exactIntegers(...[, value, context]: unknown[]): unknown {
  if (typeof value !== 'number' || Number.isSafeInteger(value)) return value;
  if (typeof context !== 'object' || context === null || !('source' in context)) return value;
  const { source } = context;
  return typeof source === 'string' && /^-?\d+$/.test(source) ? BigInt(source) : value;
}

function messageBytes(name: string, value: unknown, { depth, path }: Place): Uint8Array {
  if (depth > DEPTH_MAX) throw wrong(path, `at most ${DEPTH_MAX} levels`);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(path, 'an object');
  const fields = OTLP_SCHEMA[name] ?? {};
  const parts: Uint8Array[] = [];
  for (const [key, item] of Object.entries(value)) {
    const field = fieldOf(fields, key);
    if (field === null || item === null) continue;
    for (const part of writeField(field, item, { depth, path: `${path}.${key}` })) parts.push(part);
  }
  return concatenated(parts);
}

function fieldOf(fields: Readonly<Record<string, SchemaField>>, key: string): SchemaField | null {
  const camel = key.includes('_') ? key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()) : key;
  return Object.hasOwn(fields, camel) ? (fields[camel] ?? null) : null;
}

function writeField({ number, type, repeated }: SchemaField, item: unknown, place: Place): Uint8Array[] {
  if (!repeated) return fieldBytes(number, WIRE[type] ?? 2, valueBytes(type, item, place));
  if (!Array.isArray(item)) throw wrong(place.path, 'a list');
  const values = item.map((one: unknown, index) =>
    valueBytes(type, one, { depth: place.depth, path: `${place.path}[${index}]` }),
  );
  if (type in WIRE) return fieldBytes(number, 2, concatenated(values));
  return values.flatMap((value) => fieldBytes(number, 2, value));
}

function valueBytes(type: string, value: unknown, place: Place): Uint8Array {
  const { path } = place;
  switch (type) {
    case 'string':
      if (typeof value !== 'string') throw wrong(path, 'a text');
      return new TextEncoder().encode(value);
    case 'bytes':
      return base64Bytes(value, path);
    case 'hex':
      return hexBytes(value, path);
    case 'bool':
      if (typeof value !== 'boolean') throw wrong(path, 'true or false');
      return varintBytes(value ? 1n : 0n);
    case 'double':
      return doubleBytes(doubleOf(value, path));
    case 'fixed64':
      return fixed64Bytes(integerOf(value, path));
    case 'int64':
      return varintBytes(integerOf(value, path));
    case 'uint32':
      return varintBytes(ranged(integerOf(value, path), { min: 0n, max: 0xffffffffn }, path));
    case 'sint32':
      return varintBytes(zigzag(ranged(integerOf(value, path), { min: -0x80000000n, max: 0x7fffffffn }, path)));
    case 'temporality':
      return varintBytes(temporalityOf(value, path));
    default:
      return messageBytes(type, value, { depth: place.depth + 1, path });
  }
}

function doubleOf(value: unknown, path: string): number {
  if (typeof value === 'number') return value;
  if (typeof value === 'bigint') return Number(value);
  if (value === 'NaN' || value === 'Infinity' || value === '-Infinity') return Number(value);
  if (typeof value === 'string' && /^-?\d+(\.\d+)?([eE][-+]?\d+)?$/.test(value)) return Number(value);
  throw wrong(path, 'a number');
}

/** An integer of 64 bits, signed or not. */
function integerOf(value: unknown, path: string): bigint {
  const integer = rawInteger(value);
  if (integer === null) throw wrong(path, 'an integer');
  return ranged(integer, { min: -(2n ** 63n), max: 2n ** 64n - 1n }, path);
}

function rawInteger(value: unknown): bigint | null {
  if (typeof value === 'bigint') return value;
  if (typeof value === 'number') return Number.isSafeInteger(value) ? BigInt(value) : null;
  return typeof value === 'string' && /^-?\d{1,20}$/.test(value) ? BigInt(value) : null;
}

function ranged(value: bigint, { min, max }: { readonly min: bigint; readonly max: bigint }, path: string): bigint {
  if (value < min || value > max) throw wrong(path, `an integer from ${min} to ${max}`);
  return value;
}

function zigzag(value: bigint): bigint {
  return value < 0n ? -value * 2n - 1n : value * 2n;
}

function temporalityOf(value: unknown, path: string): bigint {
  const named = TEMPORALITIES.indexOf(String(value));
  return named >= 0 ? BigInt(named) : ranged(integerOf(value, path), { min: 0n, max: 0x7fffffffn }, path);
}

function base64Bytes(value: unknown, path: string): Uint8Array {
  if (typeof value !== 'string' || !/^[A-Za-z0-9+/_-]*={0,2}$/.test(value)) throw wrong(path, 'base64');
  const standard = value.replaceAll('-', '+').replaceAll('_', '/').replace(/=+$/, '');
  if (standard.length % 4 === 1) throw wrong(path, 'base64');
  return Uint8Array.from(atob(standard), (letter) => letter.charCodeAt(0));
}

function hexBytes(value: unknown, path: string): Uint8Array {
  if (typeof value !== 'string' || !/^([0-9a-fA-F]{2})*$/.test(value)) throw wrong(path, 'hexadecimal digits');
  return Uint8Array.from({ length: value.length / 2 }, (_, index) =>
    Number.parseInt(value.slice(index * 2, index * 2 + 2), 16),
  );
}
