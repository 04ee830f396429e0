import { parseUsd } from '../core/money.ts';
import { canonicalText, DEPTH_MAX, parseExactJson } from './canonical-text.ts';
import { buildRecord } from './build-record.ts';
import { COUNT_MAX, FIELDS, type Field, type Kind, TIME_MAX_MS } from './fields.ts';
import type { CostRecord, RejectCode, Rejection } from './record.ts';

export type Place = { readonly path: string; readonly line: number };

/** What became of one line: a record, a rejection, or nothing (a type that the ledger does not know). */
export type ParsedCost =
  | { readonly kind: 'record'; readonly record: CostRecord }
  | { readonly kind: 'ignored' }
  | { readonly kind: 'rejected'; readonly rejection: Rejection; readonly canonical: string | null };

type Raw = Readonly<Record<string, unknown>>;
type Fault = { readonly code: RejectCode; readonly reason: string };

/** One NDJSON line as a cost record; codes in the order of contracts/cost.md, up to LW-COST-RANGE. */
export function parseCostLine(text: string, place: Place): ParsedCost {
  let value: unknown;
  try {
    value = parseExactJson(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return rejected(place, { code: 'LW-COST-JSON', reason: 'the line is not JSON' }, null);
  }
  return parseCostRecord(value, place);
}

/**
 * A decoded JSON value as a cost record. Checks only what the record itself shows: fields, currency, numbers, money,
 * range. Conflicts, unknown assets and capacity need the other records: book.ts.
 */
export function parseCostRecord(value: unknown, place: Place): ParsedCost {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return rejected(place, { code: 'LW-COST-JSON', reason: 'expected a JSON object' }, null);
  const raw = value as Raw; // the parse door: an object's fields are unknown until checked below
  const canonical = canonicalText(raw);
  if (canonical === null)
    return rejected(place, { code: 'LW-COST-JSON', reason: `nested deeper than ${DEPTH_MAX}` }, null);
  const type = field(raw, 'type');
  if (typeof type !== 'string')
    return rejected(place, { code: 'LW-COST-FIELD', reason: `field type: ${got(type)}, expected a string` }, canonical);
  const fields = FIELDS.get(type);
  if (fields === undefined) return { kind: 'ignored' };
  const fault = faultOf(type, raw, fields);
  if (fault !== null) return rejected(place, fault, canonical);
  const record = buildRecord(type, raw, { ...place, canonical });
  if ('to_us' in record && record.to_us !== null && record.to_us < record.from_us) {
    const reason = `to_ms ${shown(field(raw, 'to_ms'))} is before from_ms ${shown(field(raw, 'from_ms'))}`;
    return rejected(place, { code: 'LW-COST-RANGE', reason }, canonical);
  }
  return { kind: 'record', record };
}

function rejected(place: Place, fault: Fault, canonical: string | null): ParsedCost {
  return { kind: 'rejected', rejection: { ...place, ...fault }, canonical };
}

function field(raw: Raw, name: string): unknown {
  return Object.hasOwn(raw, name) ? raw[name] : undefined;
}

function faultOf(type: string, raw: Raw, fields: readonly Field[]): Fault | null {
  for (const [name, kind, required] of fields) {
    const expected = typeFault(kind, field(raw, name), required);
    if (expected !== null) return fault('LW-COST-FIELD', name, field(raw, name), expected);
  }
  const needed = neededByOthers(type, raw);
  if (needed !== null) return fault('LW-COST-FIELD', needed, undefined, 'a value');
  if (Object.hasOwn(raw, 'currency') && raw['currency'] !== 'USD')
    return fault('LW-COST-CURRENCY', 'currency', raw['currency'], '"USD"');
  for (const [name, kind] of fields) {
    const expected = limitFault(name, kind, field(raw, name));
    if (expected !== null) return fault('LW-COST-NUMBER', name, field(raw, name), expected);
  }
  for (const [name, kind] of fields) {
    const value = field(raw, name);
    if ((kind !== 'money' && kind !== 'signed_money') || value === undefined) continue;
    if (typeof value !== 'string' || parseUsd(value, kind === 'signed_money') === null)
      return fault('LW-COST-MONEY', name, value, 'a decimal string such as "55.04", at most 12.9 digits');
  }
  return null;
}

function fault(code: RejectCode, name: string, value: unknown, expected: string): Fault {
  return { code, reason: `field ${name}: ${got(value)}, expected ${expected}` };
}

function got(value: unknown): string {
  return value === undefined ? 'missing' : `got ${shown(value)}`;
}

function shown(value: unknown): string {
  const text = canonicalText(value) ?? 'a deep value';
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** Fields that another field makes necessary. The name of the missing one, or null. */
function neededByOthers(type: string, raw: Raw): string | null {
  const missing = (name: string): boolean => field(raw, name) === undefined;
  if (type === 'price' && missing('asset'))
    return ['instance_type', 'region', 'pricing'].find((name) => missing(name)) ?? null;
  if (type !== 'claim') return null;
  if (raw['mode'] === 'mig' && missing('mig_profile')) return 'mig_profile';
  if (raw['mode'] === 'time_slice' && missing('replicas')) return 'replicas';
  if (raw['mode'] === 'mps' && missing('sm_ratio') && missing('memory_ratio')) return 'sm_ratio';
  return null;
}

/** What was expected where the JSON type is wrong or a required field is missing; else null. */
function typeFault(kind: Kind, value: unknown, required: boolean): string | null {
  if (value === undefined) return required ? `a ${nameOf(kind)}` : null;
  if (typeof kind !== 'string') return kind.some((word) => word === value) ? null : `one of ${kind.join(', ')}`;
  switch (kind) {
    case 'text':
      return typeof value === 'string' ? null : 'a string';
    case 'date':
      return typeof value === 'string' || isNumber(value) ? null : 'a date';
    case 'time':
    case 'ratio':
    case 'amount':
      return isNumber(value) ? null : 'a number';
    case 'open_time':
      return value === null || isNumber(value) ? null : 'a number or null';
    case 'count':
    case 'positive_count':
    case 'seconds':
      return isNumber(value) || typeof value === 'string' ? null : 'an integer, as a number or a string';
    case 'counts':
      return isListOf(value, (item) => isNumber(item) || typeof item === 'string') ? null : 'a list of integers';
    case 'amounts':
      return isListOf(value, isNumber) ? null : 'a list of numbers';
    case 'tenant':
      return isObject(value) && Object.values(value).every((item) => typeof item === 'string')
        ? null
        : 'an object of strings';
    case 'covers':
      return isObject(value) && ['instance_type', 'region'].every((name) => typeof field(value, name) === 'string')
        ? null
        : 'an object with instance_type and region';
    case 'object':
      return isObject(value) ? null : 'an object';
    case 'money':
    case 'signed_money':
      return null; // a wrong type of money is LW-COST-MONEY
  }
}

function nameOf(kind: Kind): string {
  return typeof kind === 'string' ? kind.replaceAll('_', ' ') : `word of ${kind.join(', ')}`;
}

function isNumber(value: unknown): value is number | bigint {
  return typeof value === 'number' || typeof value === 'bigint';
}

function isObject(value: unknown): value is Raw {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isListOf(value: unknown, check: (item: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(check);
}

/** What was expected where a number of the right type is outside its limits; else null. */
function limitFault(name: string, kind: Kind, value: unknown): string | null {
  if (value === undefined || value === null || typeof kind !== 'string') return null;
  switch (kind) {
    case 'time':
    case 'open_time':
      return within(value, TIME_MAX_MS) ? null : `Unix milliseconds from 0 to ${TIME_MAX_MS}`;
    case 'ratio':
      return within(value, 1) ? null : 'a ratio from 0 to 1';
    case 'amount':
      return within(value, Number.MAX_VALUE) ? null : 'a finite number, not negative';
    case 'count':
      return countOf(value) === null ? 'an integer from 0 to 2^63-1' : null;
    case 'positive_count':
      return (countOf(value) ?? 0n) < 1n ? 'an integer from 1 to 2^63-1' : null;
    case 'seconds':
      return within(value, TIME_MAX_MS) || countOf(value) !== null ? null : `seconds, not negative, in ${name}`;
    case 'counts':
      return Array.isArray(value) && value.every((item) => countOf(item) !== null) ? null : 'integers from 0 to 2^63-1';
    case 'amounts':
      return Array.isArray(value) && value.every((item) => within(item, Number.MAX_VALUE))
        ? null
        : 'finite numbers, not negative';
    default:
      return null;
  }
}

function within(value: unknown, high: number): boolean {
  return isNumber(value) && value >= 0 && value <= high;
}

/** A count as an integer, or null when it is none or outside 0…2⁶³−1. */
function countOf(value: unknown): bigint | null {
  if (typeof value === 'number' && !Number.isInteger(value)) return null;
  if (typeof value === 'string' && !/^\d{1,40}$/.test(value)) return null;
  if (typeof value !== 'number' && typeof value !== 'string' && typeof value !== 'bigint') return null;
  const count = BigInt(value);
  return count < 0n || count > COUNT_MAX ? null : count;
}
