import type { AbsentReason } from '../core/quality.ts';
import type { Value } from './decode-result.ts';

type Unit = { readonly base: string; readonly exponent: number; readonly factor: bigint };

function decimal(base: string, exponent: number): Unit {
  return { base, exponent, factor: 1n };
}

function binary(power: number): Unit {
  return { base: 'By', exponent: 0, factor: 1024n ** BigInt(power) };
}

/** Units that sources print, with the power of ten or the factor to the base unit. K, M, G without "i" are decimal. */
const UNITS: ReadonlyMap<string, Unit> = new Map([
  ['', decimal('', 0)],
  ['%', decimal('1', -2)],
  ['B', binary(0)],
  ['KiB', binary(1)],
  ['MiB', binary(2)],
  ['GiB', binary(3)],
  ['W', decimal('W', 0)],
  ['mW', decimal('W', -3)],
  ['J', decimal('J', 0)],
  ['mJ', decimal('J', -3)],
  ['C', decimal('Cel', 0)],
  ['Hz', decimal('Hz', 0)],
  ['MHz', decimal('Hz', 6)],
  ['ns', decimal('s', -9)],
  ['us', decimal('s', -6)],
  ['ms', decimal('s', -3)],
  ['s', decimal('s', 0)],
  ['mV', decimal('V', -3)],
  ['KB/s', decimal('By/s', 3)],
  ['MB/s', decimal('By/s', 6)],
  ['GB/s', decimal('By/s', 9)],
]);

/** The most digits of an honest number: 2^64 has 20; 308 is where a double ends. */
const NUMBER_CHARACTERS_MAX = 330;
const NUMBER = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,4}))?$/;

/** The base unit of a printed unit, or null when it is unknown. */
export function baseUnit(unit: string): string | null {
  return UNITS.get(unit)?.base ?? null;
}

/**
 * A decimal number in `unit`, in the base unit, correctly rounded: powers of ten move the decimal point of the text,
 * binary factors multiply exact integers. An integer that a double cannot hold comes back as bigint.
 * Null when `text` is no finite decimal number or `unit` is unknown. O(length).
 */
export function scaled(text: string, unit = ''): Value | null {
  const known = UNITS.get(unit);
  if (known === undefined || text.length > NUMBER_CHARACTERS_MAX) return null;
  const match = NUMBER.exec(text);
  if (match === null) return null;
  const [, sign = '', whole = '', fraction = '', power = '0'] = match;
  if (whole.length + fraction.length === 0) return null;
  const digits = `${whole}${fraction}`;
  const exponent = Number(power) - fraction.length + known.exponent;
  if (known.factor === 1n && (exponent < 0 || match[4] !== undefined)) return finite(`${sign}${digits}e${exponent}`);
  return exact(`${sign === '-' ? '-' : ''}${digits}`, exponent, known.factor);
}

function exact(digits: string, exponent: number, factor: bigint): Value | null {
  if (Math.abs(exponent) > NUMBER_CHARACTERS_MAX) return null;
  const integer = BigInt(digits) * factor;
  if (exponent >= 0) return narrowed(integer * 10n ** BigInt(exponent));
  const divisor = 10n ** BigInt(-exponent);
  return integer % divisor === 0n ? narrowed(integer / divisor) : finite(`${integer}e${exponent}`);
}

/** A number when it holds the integer exactly or no 64-bit counter could; else the bigint itself. */
function narrowed(integer: bigint): Value | null {
  const number = Number(integer);
  if (Number.isSafeInteger(number)) return number;
  const is64Bit = integer >= -(2n ** 63n) && integer < 2n ** 64n;
  return is64Bit ? integer : finite(String(integer));
}

function finite(text: string): number | null {
  const value = Number(text);
  return Number.isFinite(value) ? value : null;
}

/** What stands in a cell: a value with its unit, or the reason why there is none. */
export type Reading =
  | { readonly kind: 'value'; readonly value: Value; readonly unit: string }
  | { readonly kind: 'absent'; readonly reason: AbsentReason };

/** Error texts of NVML (nvmlErrorString, API 13) that are not simply "could not be read". */
const ABSENT_TEXTS: ReadonlyMap<string, AbsentReason> = new Map([
  ['', 'unsupported'],
  ['-', 'unsupported'],
  ['n/a', 'unsupported'],
  ['not supported', 'unsupported'],
  ['not available', 'unsupported'],
  ['function not found', 'unsupported'],
  ['not found', 'unsupported'],
  ['no data', 'unsupported'],
  ['frequency not supported', 'unsupported'],
  ['vgpu ecc not supported', 'unsupported'],
  ['insufficient permissions', 'no_permission'],
  ['no permission', 'no_permission'],
  ['the operating system has blocked the request.', 'no_permission'],
  ['in use by another client', 'no_permission'],
  ['requested functionality has been deprecated', 'deprecated'],
  ['deprecated', 'deprecated'],
  ['unknown error', 'lost'],
  ['gpu is lost', 'lost'],
  ['gpu requires reset', 'lost'],
  ['err!', 'lost'],
  ['timeout', 'lost'],
]);

/**
 * The reason for absence that a cell's text names, or null when it may be a value. Any other text in square brackets
 * is an error of the driver: the value is lost, whatever its words.
 */
export function absentReason(cell: string): AbsentReason | null {
  const text = cell.trim();
  const bracketed = text.startsWith('[') && text.endsWith(']') && text.length >= 2;
  const inner = (bracketed ? text.slice(1, -1) : text).trim().toLowerCase();
  return ABSENT_TEXTS.get(inner) ?? (bracketed ? 'lost' : null);
}

/**
 * Reads "11125 MiB", "72 %", "-5 C", "16x" (with `printed` = "x") or a bare number in `assumed`. The unit must measure
 * what `assumed` measures: a power in a memory field is no value.
 */
export function readQuantity(cell: string, assumed: string): Reading {
  const reason = absentReason(cell);
  if (reason !== null) return { kind: 'absent', reason };
  const text = cell.trim();
  const blank = text.search(/\s/);
  const unit = blank === -1 ? assumed : text.slice(blank).trim();
  const value = baseUnit(unit) === baseUnit(assumed) ? scaled(blank === -1 ? text : text.slice(0, blank), unit) : null;
  return value === null ? { kind: 'absent', reason: 'parse_error' } : { kind: 'value', value, unit };
}
