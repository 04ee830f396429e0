import type { TSchema } from 'typebox';
import type { ErrorDetail } from '../core/errors.ts';
import { branchOf, isPlainObject, join, propertiesOf, unknownKey } from '../core/schema-check.ts';

/** What the environment adds to the file: a new document, where each value came from, and names that fit nowhere. */
export type Overridden = {
  readonly document: Record<string, unknown>;
  readonly origins: ReadonlyMap<string, string>;
  /** The unparsed text by path: used where a JSON reading does not fit the schema. */
  readonly texts: ReadonlyMap<string, string>;
  readonly errors: readonly ErrorDetail[];
};

const PREFIX = 'LEEWAY__';
/** Deepest path of the file is 4; a longer name fits nowhere. */
const SEGMENTS_MAX = 16;

/**
 * Applies `LEEWAY__SERVER__PORT=9000`: the path in capitals joined by `__`, the value read as JSON, else as text. List
 * entries by index. A secret may be given itself: where the schema knows `secret_file`, `…__SECRET` makes it the
 * reference `env:LEEWAY__…__SECRET`, so that the secret never becomes part of the configuration.
 */
export function applyEnvironment(
  schema: TSchema,
  file: Readonly<Record<string, unknown>>,
  environment: Readonly<Record<string, string | undefined>>,
): Overridden {
  const document = structuredClone(file) as Record<string, unknown>; // the parse door: JSON in, JSON out
  const origins = new Map<string, string>();
  const texts = new Map<string, string>();
  const errors: ErrorDetail[] = [];
  for (const name of Object.keys(environment)
    .filter((key) => key.startsWith(PREFIX))
    .sort(kindsFirst)) {
    const text = environment[name];
    if (text === undefined) continue;
    const segments = name.slice(PREFIX.length).toLowerCase().split('__');
    const place = descend(schema, document, segments);
    if ('expected' in place) {
      errors.push({ path: name, got: 'an unknown variable', expected: place.expected });
      continue;
    }
    const value = place.secret ? `env:${name}` : parseValue(text);
    place.set(value);
    origins.set(place.path, `environment ${name}`);
    if (!place.secret) texts.set(place.path, text);
  }
  return { document, origins, texts, errors };
}

/** `kind` decides which keys its neighbours may have, so it goes first; else by name. */
function kindsFirst(a: string, b: string): number {
  const rank = Number(b.endsWith('__KIND')) - Number(a.endsWith('__KIND'));
  return rank !== 0 ? rank : a < b ? -1 : 1;
}

function parseValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text; // the contract: values that are not JSON are strings
  }
}

type Place =
  | { readonly path: string; readonly secret: boolean; readonly set: (value: unknown) => void }
  | { readonly expected: string };

function descend(schema: TSchema, document: Record<string, unknown>, segments: readonly string[]): Place {
  let at: { schema: TSchema; holder: Record<string, unknown> | unknown[]; path: string } = {
    schema,
    holder: document,
    path: '',
  };
  if (segments.length > SEGMENTS_MAX) return { expected: 'a path of the configuration' };
  for (const [index, segment] of segments.entries()) {
    const step = Array.isArray(at.holder)
      ? stepList(at.schema, at.holder, segment)
      : stepObject(at.schema, at.holder, segment);
    if (step === null) return { expected: unknownKey(at.path, segment, keysOf(at.schema, at.holder)).expected };
    const path = typeof step.key === 'number' ? `${at.path}[${step.key}]` : join(at.path, step.key);
    const { holder } = at;
    if (index === segments.length - 1)
      return { path, secret: step.secret, set: (value) => void Reflect.set(holder, step.key, value) };
    let next: unknown = Reflect.get(holder, step.key);
    if (!isPlainObject(next) && !Array.isArray(next)) {
      next = Reflect.get(step.schema, 'items') === undefined ? {} : [];
      Reflect.set(holder, step.key, next);
    }
    at = { schema: step.schema, holder: next as Record<string, unknown> | unknown[], path }; // just checked or made
  }
  return { expected: 'a path of the configuration' };
}

type Step = { readonly key: string | number; readonly schema: TSchema; readonly secret: boolean } | null;

function stepList(schema: TSchema, list: readonly unknown[], segment: string): Step {
  const items: unknown = Reflect.get(schema, 'items');
  const index = /^[0-9]{1,4}$/.test(segment) ? Number(segment) : -1;
  if (!isPlainObject(items) || index < 0 || index > list.length) return null;
  return { key: index, schema: items, secret: false };
}

function stepObject(schema: TSchema, holder: Record<string, unknown>, segment: string): Step {
  const properties = propertiesOf(branchOf(schema, holder)) ?? {};
  const same = (key: string): boolean => key.replaceAll('-', '_').toLowerCase() === segment;
  const key = Object.keys(properties).find(same);
  const property = key === undefined ? undefined : properties[key];
  if (key !== undefined && property !== undefined) return { key, schema: property, secret: false };
  const file = `${segment}_file`;
  const secret = properties[file];
  return secret === undefined ? null : { key: file, schema: secret, secret: true };
}

function keysOf(schema: TSchema, holder: Record<string, unknown> | unknown[]): readonly string[] {
  return Array.isArray(holder)
    ? ['0', String(holder.length)]
    : Object.keys(propertiesOf(branchOf(schema, holder)) ?? {});
}
