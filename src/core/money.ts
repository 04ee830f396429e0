import type { Fraction } from './rational.ts';

/** Nano-USD in one USD and in one cent. All money inside Leeway is BigInt nano-USD. */
const NANO_PER_USD = 1_000_000_000n;
export const NANO_PER_CENT = 10_000_000n;

const MONEY = /^(-?)(\d{1,12})(?:\.(\d{1,9}))?$/;

/**
 * Decimal text of USD (`\d{1,12}(\.\d{1,9})?`, with `signed` also a leading `-`) as nano-USD; null when it is anything
 * else, among it exponents, signs, blanks and more digits. Source: contracts/cost.md "Money".
 * @example parseUsd('55.04') === 55_040_000_000n
 */
export function parseUsd(text: string, signed = false): bigint | null {
  const match = MONEY.exec(text);
  if (match === null || (match[1] === '-' && !signed)) return null;
  const nano = BigInt(match[2] ?? '0') * NANO_PER_USD + BigInt((match[3] ?? '').padEnd(9, '0'));
  return match[1] === '-' ? -nano : nano;
}

/**
 * Nano-USD as decimal USD with nine decimals, never an exponent.
 * @example formatUsd(-1_250_000_000n) === '-1.250000000'
 */
export function formatUsd(nano_usd: bigint): string {
  return decimal(nano_usd, 9);
}

/** Whole cents as decimal USD with two decimals: formatCents(2219n) === '22.19'. */
export function formatCents(cents: bigint): string {
  return decimal(cents, 2);
}

function decimal(units: bigint, places: number): string {
  const digits = (units < 0n ? -units : units).toString().padStart(places + 1, '0');
  return `${units < 0n ? '-' : ''}${digits.slice(0, -places)}.${digits.slice(-places)}`;
}

/** Quotient towards minus infinity; `denominator` > 0. */
export function divideFloor(numerator: bigint, denominator: bigint): bigint {
  const quotient = numerator / denominator;
  return numerator < 0n && quotient * denominator !== numerator ? quotient - 1n : quotient;
}

/** Quotient to the nearest integer, halves to the even neighbour; `denominator` > 0. */
export function divideHalfEven(numerator: bigint, denominator: bigint): bigint {
  const floor = divideFloor(numerator, denominator);
  const twice = 2n * (numerator - floor * denominator);
  if (twice < denominator) return floor;
  if (twice > denominator) return floor + 1n;
  return floor % 2n === 0n ? floor : floor + 1n;
}

/** One share of an apportionment: its exact amount and the key that breaks ties (ascending UTF-8 bytes). */
export type Share = Fraction & { readonly key: string };

/**
 * Largest remainder (Hamilton): integers that add up to `total`, each the floor of its exact amount or one more.
 * The +1 go to the largest fractional parts, ties to the key that `order` puts first. `total` must be the sum of the
 * exact amounts rounded either way, so that 0 ≤ total − Σ floors ≤ shares. O(n log n).
 */
export function largestRemainder(
  total: bigint,
  shares: readonly Share[],
  order: (a: string, b: string) => number,
): bigint[] {
  const floors = shares.map((share) => divideFloor(share.numerator, share.denominator));
  const missing = total - floors.reduce((sum, floor) => sum + floor, 0n);
  if (missing === 0n) return floors;
  const parts = shares.map((share, index) => ({
    index,
    key: share.key,
    remainder: share.numerator - (floors[index] ?? 0n) * share.denominator,
    denominator: share.denominator,
  }));
  parts.sort((a, b) => {
    const difference = b.remainder * a.denominator - a.remainder * b.denominator;
    return difference === 0n ? order(a.key, b.key) : difference > 0n ? 1 : -1;
  });
  for (const part of parts.slice(0, Number(missing))) floors[part.index] = (floors[part.index] ?? 0n) + 1n;
  return floors;
}

/**
 * `total` ≥ 0 split in proportion to integer weights ≥ 0 by largest remainder. The sum of the weights must be positive.
 * @example splitByWeight(10n, [{ key: 'a', weight: 1n }, { key: 'b', weight: 2n }], order) → [3n, 7n]
 */
export function splitByWeight(
  total: bigint,
  parts: readonly { readonly key: string; readonly weight: bigint }[],
  order: (a: string, b: string) => number,
): bigint[] {
  const denominator = parts.reduce((sum, part) => sum + part.weight, 0n);
  return largestRemainder(
    total,
    parts.map((part) => ({ key: part.key, numerator: total * part.weight, denominator })),
    order,
  );
}
