import type { TObject } from 'typebox';
import { Compile } from 'typebox/compile';
import { LIMITS } from './limits.ts';
import { ok, type Outcome, reject } from './outcome.ts';
import { type LeewayRecord, RECORD_SCHEMAS, type RecordType } from './records.ts';

type Checker = {
  Check(value: unknown): boolean;
  Errors(value: unknown): readonly { instancePath: string; message: string; keyword?: string; params?: object }[];
};
const compiled = new Map<RecordType, Checker>();

function checkerOf(type: RecordType): Checker {
  const known = compiled.get(type);
  if (known !== undefined) return known;
  const schema: TObject = RECORD_SCHEMAS[type];
  const checker: Checker = Compile(schema);
  compiled.set(type, checker);
  return checker;
}

/**
 * The one parse door for records: a line of JSON in, a validated record out, or the reason why not.
 * Codes: LW-RECORD-SIZE, -JSON, -KEY (`__proto__`), -DEPTH (more than 64 levels or 1,000 fields), -TYPE, -FIELD.
 */
export function parseRecord(line: string): Outcome<LeewayRecord> {
  if (line.length > LIMITS.record_bytes_max || Buffer.byteLength(line) > LIMITS.record_bytes_max)
    return reject('LW-RECORD-SIZE', `record of ${line.length} characters, at most ${LIMITS.record_bytes_max} bytes`);
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return reject('LW-RECORD-JSON', 'not a JSON object on one line');
  }
  return validateRecord(value);
}

/** As parseRecord, for a value that is already parsed JSON. */
export function validateRecord(value: unknown): Outcome<LeewayRecord> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return reject('LW-RECORD-JSON', 'expected a JSON object');
  const hostile = shapeProblem(value);
  if (hostile !== null) return hostile;
  const type: unknown = Reflect.get(value, 'type');
  if (typeof type !== 'string' || !isRecordType(type))
    return reject('LW-RECORD-TYPE', `unknown type ${JSON.stringify(type ?? null).slice(0, 80)}`);
  const checker = checkerOf(type);
  if (checker.Check(value)) return ok(value as LeewayRecord); // the parse door: just checked against the schema
  const first = checker.Errors(value)[0];
  return reject('LW-RECORD-FIELD', `${type}${describe(first)}`);
}

function describe(error: { instancePath: string; message: string; params?: object } | undefined): string {
  if (error === undefined) return ': does not fit its schema';
  const missing =
    error.params !== undefined && 'requiredProperties' in error.params ? error.params.requiredProperties : undefined;
  if (Array.isArray(missing)) return `: missing ${missing.join(', ')}`;
  return `${error.instancePath.replaceAll('/', '.')}: ${error.message}`;
}

function isRecordType(type: string): type is RecordType {
  return Object.hasOwn(RECORD_SCHEMAS, type);
}

function shapeProblem(value: object): ReturnType<typeof reject> | null {
  let fields = 0;
  const open: { item: object; depth: number }[] = [{ item: value, depth: 1 }];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (next.depth > LIMITS.record_depth_max)
      return reject('LW-RECORD-DEPTH', `nested deeper than ${LIMITS.record_depth_max}`);
    const isArray = Array.isArray(next.item);
    for (const key of isArray ? [] : Object.keys(next.item)) {
      if (key === '__proto__' || key === 'constructor' || key === 'prototype')
        return reject('LW-RECORD-KEY', `forbidden key "${key}"`);
      if (++fields > LIMITS.record_fields_max)
        return reject('LW-RECORD-DEPTH', `more than ${LIMITS.record_fields_max} fields`);
    }
    const children: unknown[] = isArray ? (next.item as unknown[]) : Object.values(next.item);
    for (const child of children)
      if (typeof child === 'object' && child !== null) open.push({ item: child, depth: next.depth + 1 });
  }
  return null;
}
