import type { TObject, TSchema } from 'typebox';
import { type ErrorDetail, LeewayError } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { checkAgainst, propertiesOf } from '../core/schema-check.ts';
import { nestsTooDeep } from '../formats/json-values.ts';

/** A query's texts under its schema: numbers and booleans are read by their type. Throws LW-USAGE with every error. */
export function parseQuery(schema: TObject | null, query: Readonly<Record<string, unknown>>): unknown {
  const properties = schema === null ? {} : (propertiesOf(schema) ?? {});
  const values: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(query)) {
    const property = properties[key];
    values[key] = typeof value === 'string' && property !== undefined ? read(property, value) : value;
  }
  return checked(schema, values, { path: 'query', code: 'LW-USAGE' });
}

/** Path parameters under their schema. Throws LW-NOT-FOUND: nothing has an empty or endless name. */
export function parseParams(schema: TObject | null, params: unknown): unknown {
  return schema === null ? undefined : checked(schema, params, { path: 'path', code: 'LW-NOT-FOUND' });
}

/** A control route's body: JSON, closed; nothing at all counts as `{}`. Throws LW-MEDIA-TYPE or LW-BODY. */
export function parseBody(schema: TObject, bytes: Buffer, content_type: string | undefined): unknown {
  const value = bytes.length === 0 ? {} : parseJsonBody(bytes, content_type);
  return checked(schema, value, { path: 'body', code: 'LW-BODY' });
}

/** A body that is one JSON document, whatever it says. Throws LW-MEDIA-TYPE or LW-BODY. */
export function parseJsonBody(bytes: Buffer, content_type: string | undefined): unknown {
  const type = (content_type ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
  if (type !== 'application/json' && !/^application\/[a-z0-9.+-]+\+json$/.test(type)) {
    const errors = [
      { path: 'content-type', got: type === '' ? 'nothing' : type.slice(0, 100), expected: 'application/json' },
    ];
    throw new LeewayError('LW-MEDIA-TYPE', 'this route takes application/json', { errors });
  }
  return parseJson(bytes);
}

function parseJson(bytes: Buffer): unknown {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw new LeewayError('LW-BODY', 'the body is not UTF-8', { cause: error });
  }
  if (nestsTooDeep(text)) throw new LeewayError('LW-BODY', `the body is nested deeper than ${LIMITS.record_depth_max}`);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new LeewayError('LW-BODY', 'the body is not JSON', { cause: error });
  }
}

function checked(
  schema: TObject | null,
  value: unknown,
  at: { readonly path: string; readonly code: 'LW-USAGE' | 'LW-BODY' | 'LW-NOT-FOUND' },
): unknown {
  const result =
    schema === null ? { value: {}, errors: unknownParts(value, at.path) } : checkAgainst(schema, value, at.path);
  const [first] = result.errors;
  if (first === undefined) return result.value;
  const message = `${first.path}: got ${first.got}, expected ${first.expected}`;
  throw new LeewayError(at.code, message, { errors: result.errors.slice(0, 100) });
}

function unknownParts(value: unknown, path: string): ErrorDetail[] {
  const keys = typeof value === 'object' && value !== null ? Object.keys(value) : [];
  return keys.map((key) => ({
    path: `${path}.${key.slice(0, 100)}`,
    got: 'an unknown key',
    expected: 'no query here',
  }));
}

function read(schema: TSchema, text: string): unknown {
  const type: unknown = Reflect.get(schema, 'type');
  if ((type === 'integer' || type === 'number') && /^-?[0-9]{1,16}(\.[0-9]{1,9})?$/.test(text)) return Number(text);
  if (type === 'boolean' && (text === 'true' || text === 'false')) return text === 'true';
  return text;
}
