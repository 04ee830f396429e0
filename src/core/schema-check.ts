import Value from 'typebox/value';
import type { TSchema } from 'typebox';
import type { ErrorDetail } from './errors.ts';

/** A value under a schema: with its defaults filled in, and everything that does not fit. */
export type Checked = { readonly value: unknown; readonly errors: readonly ErrorDetail[] };

type Visit = {
  /** The text of an environment value by path: taken where its JSON reading does not fit ("100" meant as text). */
  readonly texts: ReadonlyMap<string, string>;
  readonly errors: ErrorDetail[];
};

type Properties = Readonly<Record<string, TSchema>>;

/**
 * Checks `value` against a TypeBox schema, fills in defaults and collects *all* errors with path, got and expected.
 * Objects are closed: a key that the schema lacks is an error, and its value is never repeated (it may be a secret).
 * A union of objects is chosen by its `kind`; without one its first branch is the default.
 */
export function checkAgainst(
  schema: TSchema,
  value: unknown,
  path: string,
  texts: ReadonlyMap<string, string> = new Map(),
): Checked {
  const visit: Visit = { texts, errors: [] };
  return { value: resolve(schema, value, path, visit), errors: visit.errors };
}

function resolve(schema: TSchema, value: unknown, path: string, visit: Visit): unknown {
  const branches = branchesOf(schema);
  if (branches.some((branch) => propertiesOf(branch)?.['kind'] !== undefined))
    return resolveByKind(branches, value, path, visit);
  const properties = propertiesOf(schema);
  if (properties !== null) return resolveObject(schema, properties, value ?? {}, { path, visit });
  if (value === undefined) return absent(schema, path, visit);
  const items: unknown = Reflect.get(schema, 'items');
  if (isPlainObject(items) && Array.isArray(value)) {
    if (!Value.Check({ ...schema, items: {} }, value)) visit.errors.push(misfit(schema, value, path));
    return value.map((item: unknown, index) => resolve(items, item, `${path}[${index}]`, visit));
  }
  const object = branches.find((branch) => propertiesOf(branch) !== null);
  if (object !== undefined && isPlainObject(value)) return resolve(object, value, path, visit);
  return resolveLeaf(schema, value, path, visit);
}

function resolveLeaf(schema: TSchema, value: unknown, path: string, visit: Visit): unknown {
  if (Value.Check(schema, value)) return value;
  const text = visit.texts.get(path);
  if (text !== undefined && Value.Check(schema, text)) return text;
  visit.errors.push(misfit(schema, value, path));
  return value;
}

function absent(schema: TSchema, path: string, visit: Visit): unknown {
  const fallback: unknown = Reflect.get(schema, 'default');
  if (fallback !== undefined) return structuredClone(fallback);
  visit.errors.push({ path, got: 'nothing', expected: describeSchema(schema) });
  return undefined;
}

function resolveObject(
  schema: TSchema,
  properties: Properties,
  value: unknown,
  { path, visit }: { path: string; visit: Visit },
): unknown {
  if (!isPlainObject(value)) {
    visit.errors.push(misfit(schema, value, path));
    return value;
  }
  const known = Object.keys(properties);
  for (const key of Object.keys(value)) if (!known.includes(key)) visit.errors.push(unknownKey(path, key, known));
  const complete: Record<string, unknown> = {};
  for (const [key, property] of Object.entries(properties)) {
    const given: unknown = Object.hasOwn(value, key) ? value[key] : undefined;
    if (given === undefined && isOptional(schema, key) && Reflect.get(property, 'default') === undefined) continue;
    complete[key] = resolve(property, given, join(path, key), visit);
  }
  return complete;
}

function resolveByKind(branches: readonly TSchema[], given: unknown, path: string, visit: Visit): unknown {
  const kinds = branches.map(kindOf);
  const value = given ?? { kind: kinds[0] };
  if (!isPlainObject(value)) {
    visit.errors.push({ path, got: show(value), expected: `an object with "kind" ${choice(kinds)}` });
    return value;
  }
  const chosen = branches.find((branch) => kindOf(branch) === value['kind']);
  if (chosen !== undefined) return resolve(chosen, value, path, visit);
  visit.errors.push({ path: join(path, 'kind'), got: show(value['kind']), expected: choice(kinds) });
  return value;
}

/** The path of `key` below `path`: `server` + `port` = `server.port`. */
export function join(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`;
}

/** The error of a key that is not known at `path`; its value stays unsaid. */
export function unknownKey(path: string, key: string, known: readonly string[]): ErrorDetail {
  const expected = known.length === 0 ? 'no keys here' : `one of ${known.slice(0, 40).join(', ')}`;
  return { path: join(path, key.slice(0, 100)), got: 'an unknown key', expected };
}

function misfit(schema: TSchema, value: unknown, path: string): ErrorDetail {
  return { path: path === '' ? 'the file' : path, got: show(value), expected: describeSchema(schema) };
}

/** A value as an error names it: JSON, cut at 120 characters. */
export function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  const json = JSON.stringify(value);
  return json.length > 120 ? `${json.slice(0, 117)}...` : json;
}

/** What a schema accepts, in words: `an integer 0 to 65535`, `"block"`, `text or null`. */
export function describeSchema(schema: TSchema): string {
  const description: unknown = Reflect.get(schema, 'description');
  if (typeof description === 'string') return description;
  const branches = branchesOf(schema);
  if (branches.length > 0) return branches.map(describeSchema).join(' or ');
  const constant: unknown = Reflect.get(schema, 'const');
  if (constant !== undefined) return JSON.stringify(constant);
  const options: unknown = Reflect.get(schema, 'enum');
  if (Array.isArray(options)) return choice(options);
  const type: unknown = Reflect.get(schema, 'type');
  if (type === 'integer' || type === 'number')
    return `${type === 'integer' ? 'an integer' : 'a number'}${range(schema)}`;
  if (type === 'string') {
    const pattern: unknown = Reflect.get(schema, 'pattern');
    return typeof pattern === 'string' ? `text like ${pattern}` : `text${lengths(schema)}`;
  }
  if (type === 'boolean') return 'true or false';
  if (type === 'null') return 'null';
  if (type === 'array') return `a list${counts(schema)}`;
  return type === 'object' ? 'an object' : 'a value';
}

function range(schema: TSchema): string {
  const low = limit(schema, 'minimum');
  const above = limit(schema, 'exclusiveMinimum');
  const high = limit(schema, 'maximum');
  const from = low === null ? (above === null ? '' : ` above ${above}`) : ` ${low}`;
  if (high === null) return from === '' ? '' : `${from} or more`;
  return `${from} to ${high}`;
}

function lengths(schema: TSchema): string {
  const high = limit(schema, 'maxLength');
  return high === null ? '' : ` of ${limit(schema, 'minLength') ?? 0} to ${high} characters`;
}

function counts(schema: TSchema): string {
  const high = limit(schema, 'maxItems');
  return high === null ? '' : ` of ${limit(schema, 'minItems') ?? 0} to ${high}`;
}

function limit(schema: TSchema, keyword: string): number | null {
  const value: unknown = Reflect.get(schema, keyword);
  return typeof value === 'number' ? value : null;
}

function choice(values: readonly unknown[]): string {
  return values.map((value) => JSON.stringify(value)).join(' or ');
}

function branchesOf(schema: TSchema): readonly TSchema[] {
  const branches: unknown = Reflect.get(schema, 'anyOf');
  return Array.isArray(branches) ? branches.filter(isPlainObject) : [];
}

/** The named properties of an object schema, or null where the schema is none (or a free-form record). */
export function propertiesOf(schema: TSchema): Properties | null {
  const properties: unknown = Reflect.get(schema, 'properties');
  return isPlainObject(properties) ? (properties as Properties) : null; // the parse door of a JSON schema
}

/** The branch of a union that a document's `kind` names (the first without one); any other schema as it is. */
export function branchOf(schema: TSchema, document: Readonly<Record<string, unknown>>): TSchema {
  const objects = branchesOf(schema).filter((branch) => propertiesOf(branch) !== null);
  return objects.find((branch) => kindOf(branch) === document['kind']) ?? objects[0] ?? schema;
}

function isOptional(schema: TSchema, key: string): boolean {
  const required: unknown = Reflect.get(schema, 'required');
  return !Array.isArray(required) || !required.includes(key);
}

function kindOf(branch: TSchema): unknown {
  const kind = propertiesOf(branch)?.['kind'];
  return kind === undefined ? undefined : Reflect.get(kind, 'const');
}

/** A JSON object: not null, not a list. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
