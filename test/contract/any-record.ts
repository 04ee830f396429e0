import fc from 'fast-check';
import type { TSchema } from 'typebox';
import { validateRecord } from '../../src/core/parse-record.ts';
import { type LeewayRecord, RECORD_SCHEMAS, type RecordType } from '../../src/core/records.ts';
import { START_MS } from './records.ts';

/** Text that breaks careless encoders: quotes, NUL, line ends, astral characters, lone surrogates. */
const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 12 }),
  fc.constantFrom(
    '',
    '\u0000',
    '\'"`\\',
    '\n\t\r',
    '漢字🚀',
    '\ud800',
    'a\udfffb',
    '\\N',
    'null',
    '%',
    '＿'.repeat(50),
  ),
);
const real = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.constantFrom(0, -0, 1e308, 5e-324, 0.1 + 0.2, 2 ** 53, 1 / 3),
);
/** Times of few months, since every month is a part on disk: with fractions, at the ends of what the schema takes. */
const time = fc.oneof(
  fc.double({ min: START_MS, max: START_MS + 86_400_000, noNaN: true }),
  fc.constantFrom(START_MS, START_MS + 0.5, 946_684_800_000, 4_102_444_800_000),
);

type Bounds = { minimum?: number; maximum?: number; minLength?: number; maxItems?: number };

/** Any JSON that a schema of core/records.ts accepts; `undefined` where a field is left out. */
function anyOf(schema: TSchema): fc.Arbitrary<unknown> {
  const { const: literal, anyOf: choices, type } = schema as { const?: unknown; anyOf?: TSchema[]; type?: string };
  const bounds = schema as Bounds;
  if (literal !== undefined) return fc.constant(literal);
  if (choices !== undefined) return fc.oneof(...choices.map(anyOf));
  switch (type) {
    case 'string':
      return (bounds.minLength ?? 0) > 0 ? text.filter((value) => value !== '') : text;
    case 'integer':
      return fc.oneof(fc.maxSafeNat(), fc.constantFrom(0, Number.MAX_SAFE_INTEGER, 2 ** 32, 2 ** 31));
    case 'number':
      return numberWithin(bounds);
    case 'boolean':
      return fc.boolean();
    case 'null':
      return fc.constant(null);
    case 'array':
      return fc.array(anyOf((schema as unknown as { items: TSchema }).items), {
        maxLength: Math.min(4, bounds.maxItems ?? 4),
      });
    case 'object':
      return anyObject(schema);
    default:
      throw new Error(`no arbitrary for a schema of type ${type}`);
  }
}

function numberWithin({ minimum, maximum }: Bounds): fc.Arbitrary<number> {
  if (maximum === 1) return fc.double({ min: 0, max: 1, noNaN: true });
  if (maximum !== undefined) return time.filter((value) => value >= (minimum ?? 0));
  return minimum === undefined ? real : real.map(Math.abs);
}

function anyObject(schema: TSchema): fc.Arbitrary<unknown> {
  const {
    properties,
    required = [],
    patternProperties,
  } = schema as {
    properties?: Record<string, TSchema>;
    required?: string[];
    patternProperties?: Record<string, TSchema>;
  };
  const pattern = Object.values(patternProperties ?? {})[0];
  if (pattern !== undefined) return fc.dictionary(text, anyOf(pattern), { maxKeys: 3 });
  const fields = Object.entries(properties ?? {}).map(([name, field]) => [name, anyOf(field)] as const);
  return fc.record(Object.fromEntries(fields), { requiredKeys: required });
}

/** Any valid record of `type`, sometimes with fields that the schema does not know. */
export function anyRecord(type: RecordType): fc.Arbitrary<LeewayRecord> {
  const unknownFields = fc.oneof(
    { weight: 3, arbitrary: fc.constant({}) },
    { weight: 1, arbitrary: fc.dictionary(text, fc.jsonValue({ maxDepth: 2 }), { maxKeys: 3 }) },
  );
  return fc
    .tuple(unknownFields, anyOf(RECORD_SCHEMAS[type]))
    .map(([unknown, known]): unknown => JSON.parse(JSON.stringify({ ...unknown, ...(known as object) })))
    .map(validateRecord)
    .filter((outcome) => outcome.kind === 'ok')
    .map((outcome) => outcome.value);
}
