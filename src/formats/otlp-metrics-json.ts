import { LeewayError } from '../core/errors.ts';
import { type Outcome, reject } from '../core/outcome.ts';
import type { DecodedSamples, SampleTarget } from './decoded-samples.ts';
import { decodeOtlpMetrics } from './otlp-metrics.ts';
import { OTLP_SCHEMA, type SchemaField } from './otlp-schema.ts';
import { ProtobufWriter } from './protobuf-writer.ts';
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
    return decodeOtlpMetrics(new RequestWriter().bytes(parsed(body)), target);
  } catch (error) {
    if (error instanceof LeewayError) return reject(error.code, error.message);
    throw error;
  }
}

function wrong(path: string, expected: string): LeewayError {
  return new LeewayError(
    'LW-BODY',
    `OTLP/JSON: ${path === '' ? 'the body' : path.slice(1, 200)}: ${expected} expected`,
  );
}

/** Bodies up to this size can do little harm; only larger ones are counted before they are parsed. */
const COUNT_FROM_BYTES = 1_048_576;
/**
 * What the largest body of honest telemetry can hold, points of nothing but attributes of one character: an attribute takes
 * 37 bytes, with 2 objects, 3 colons, 2 commas; a bucket count 4 bytes and a comma. Parsed, 2 M objects take 110 MB; the
 * 11 M that 32 MiB of `{},` are would take the process down.
 */
const COUNTS_MAX = { containers: 2_000_000, colons: 3_000_000, commas: 8_500_000 } as const;

function requireModest(body: Uint8Array): void {
  if (body.length < COUNT_FROM_BYTES) return;
  let containers = 0;
  let colons = 0;
  let commas = 0;
  for (let at = 0; at < body.length; at++) {
    const byte = body[at];
    if (byte === 0x2c) commas++;
    else if (byte === 0x3a) colons++;
    else if (byte === 0x7b || byte === 0x5b) containers++;
  }
  if (containers <= COUNTS_MAX.containers && colons <= COUNTS_MAX.colons && commas <= COUNTS_MAX.commas) return;
  const max = `at most ${COUNTS_MAX.containers}, ${COUNTS_MAX.colons} and ${COUNTS_MAX.commas}`;
  throw new LeewayError(
    'LW-BODY-SIZE',
    `OTLP/JSON: ${containers} lists and objects, ${colons} fields, ${commas} items; ${max}; send smaller batches`,
  );
}

function parsed(body: Uint8Array): unknown {
  requireModest(body);
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

/** Writes parsed JSON as protobuf, last to first; knows where it is, for the reason of a refusal. */
class RequestWriter {
  readonly #writer = new ProtobufWriter();
  readonly #path: (string | number)[] = [];

  bytes(request: unknown): Uint8Array {
    this.#message('Request', request, 0);
    return this.#writer.take();
  }

  #message(name: string, value: unknown, depth: number): void {
    if (depth > DEPTH_MAX) throw this.#wrong(`at most ${DEPTH_MAX} levels`);
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw this.#wrong('an object');
    const fields = OTLP_SCHEMA[name] ?? {};
    const keys = Object.keys(value);
    for (let index = keys.length - 1; index >= 0; index--) {
      const key = keys[index] ?? '';
      const field = fieldOf(fields, key);
      const item: unknown = field === null ? null : Reflect.get(value, key);
      if (field === null || item === null) continue;
      this.#path.push(key);
      this.#field(field, item, depth);
      this.#path.pop();
    }
  }

  #field({ number, type, repeated }: SchemaField, item: unknown, depth: number): void {
    const writer = this.#writer;
    const wire = WIRE[type] ?? 2;
    const mark = writer.length;
    if (!repeated) {
      this.#value(type, item, depth);
      return writer.field(number, wire, mark);
    }
    if (!Array.isArray(item)) throw this.#wrong('a list');
    const isPacked = type in WIRE;
    for (let index = item.length - 1; index >= 0; index--) {
      const start = writer.length;
      this.#path.push(index);
      this.#value(type, item[index], depth);
      this.#path.pop();
      if (!isPacked) writer.field(number, 2, start);
    }
    if (isPacked) writer.field(number, 2, mark);
  }

  #value(type: string, value: unknown, depth: number): void {
    const writer = this.#writer;
    switch (type) {
      case 'string':
        if (typeof value !== 'string') throw this.#wrong('a text');
        return writer.raw(utf8.encode(value));
      case 'bytes':
        return writer.raw(base64Bytes(value) ?? this.#fail('base64'));
      case 'hex':
        return writer.raw(hexBytes(value) ?? this.#fail('hexadecimal digits'));
      case 'bool':
        if (typeof value !== 'boolean') throw this.#wrong('true or false');
        return writer.varint(value ? 1n : 0n);
      case 'double':
        return writer.double(doubleOf(value) ?? this.#fail('a number'));
      case 'fixed64':
        return writer.fixed64(this.#integer(value));
      case 'int64':
        return writer.varint(this.#integer(value));
      case 'uint32':
        return writer.varint(this.#ranged(this.#integer(value), 0n, 0xffffffffn));
      case 'sint32':
        return writer.varint(zigzag(this.#ranged(this.#integer(value), -0x80000000n, 0x7fffffffn)));
      case 'temporality': {
        const named = TEMPORALITIES.indexOf(String(value));
        return writer.varint(named >= 0 ? BigInt(named) : this.#ranged(this.#integer(value), 0n, 0x7fffffffn));
      }
      default:
        return this.#message(type, value, depth + 1);
    }
  }

  /** An integer of 64 bits, signed or not. */
  #integer(value: unknown): bigint {
    const integer = rawInteger(value);
    if (integer === null) throw this.#wrong('an integer');
    return this.#ranged(integer, -(2n ** 63n), 2n ** 64n - 1n);
  }

  #ranged(value: bigint, min: bigint, max: bigint): bigint {
    if (value < min || value > max) throw this.#wrong(`an integer from ${min} to ${max}`);
    return value;
  }

  #fail(expected: string): never {
    throw this.#wrong(expected);
  }

  #wrong(expected: string): LeewayError {
    return wrong(this.#path.map((step) => (typeof step === 'number' ? `[${step}]` : `.${step}`)).join(''), expected);
  }
}

const utf8 = new TextEncoder();

function fieldOf(fields: Readonly<Record<string, SchemaField>>, key: string): SchemaField | null {
  const camel = key.includes('_') ? key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()) : key;
  return Object.hasOwn(fields, camel) ? (fields[camel] ?? null) : null;
}

function doubleOf(value: unknown): number | null {
  if (typeof value === 'number') return value;
  if (typeof value === 'bigint') return Number(value);
  if (value === 'NaN' || value === 'Infinity' || value === '-Infinity') return Number(value);
  if (typeof value === 'string' && /^-?\d+(\.\d+)?([eE][-+]?\d+)?$/.test(value)) return Number(value);
  return null;
}

function rawInteger(value: unknown): bigint | null {
  if (typeof value === 'bigint') return value;
  if (typeof value === 'number') return Number.isSafeInteger(value) ? BigInt(value) : null;
  return typeof value === 'string' && /^-?\d{1,20}$/.test(value) ? BigInt(value) : null;
}

function zigzag(value: bigint): bigint {
  return value < 0n ? -value * 2n - 1n : value * 2n;
}

function base64Bytes(value: unknown): Uint8Array | null {
  if (typeof value !== 'string' || !/^[A-Za-z0-9+/_-]*={0,2}$/.test(value)) return null;
  const standard = value.replaceAll('-', '+').replaceAll('_', '/').replace(/=+$/, '');
  return standard.length % 4 === 1 ? null : Uint8Array.from(atob(standard), (letter) => letter.charCodeAt(0));
}

function hexBytes(value: unknown): Uint8Array | null {
  if (typeof value !== 'string' || !/^([0-9a-fA-F]{2})*$/.test(value)) return null;
  return Uint8Array.from({ length: value.length / 2 }, (_, index) =>
    Number.parseInt(value.slice(index * 2, index * 2 + 2), 16),
  );
}
