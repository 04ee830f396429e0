/** An exact quotient of integers; `denominator` > 0, not necessarily in lowest terms. */
export type Fraction = { readonly numerator: bigint; readonly denominator: bigint };

const ZERO: Fraction = { numerator: 0n, denominator: 1n };

/**
 * Exact sum. Adds in a balanced tree, so that thousands of coprime denominators cost a few large products instead of
 * a quadratic number of small ones; equal denominators are added without growth.
 */
export function sumFractions(terms: readonly Fraction[]): Fraction {
  if (terms.length === 0) return ZERO;
  let level = terms;
  while (level.length > 1) {
    const next: Fraction[] = [];
    for (let index = 0; index < level.length; index += 2)
      next.push(add(level[index] ?? ZERO, level[index + 1] ?? ZERO));
    level = next;
  }
  return level[0] ?? ZERO;
}

function add(a: Fraction, b: Fraction): Fraction {
  if (a.numerator === 0n) return b;
  if (b.numerator === 0n) return a;
  if (a.denominator === b.denominator) return { numerator: a.numerator + b.numerator, denominator: a.denominator };
  return {
    numerator: a.numerator * b.denominator + b.numerator * a.denominator,
    denominator: a.denominator * b.denominator,
  };
}

/** An integer minus a fraction. */
export function subtractFrom(whole: bigint, part: Fraction): Fraction {
  return { numerator: whole * part.denominator - part.numerator, denominator: part.denominator };
}

const DECIMAL = /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/;

/**
 * round(value × 10^digits), halves up, of a finite number ≥ 0 taken as the shortest decimal that names it, so that
 * 1.0005 × 10³ is 1000.5 → 1001 and not the binary 1000.4999…
 */
export function scaledDecimal(value: number, digits: number): bigint {
  if (Number.isInteger(value)) return BigInt(value) * 10n ** BigInt(digits);
  const match = DECIMAL.exec(String(value));
  if (match === null) throw new RangeError(`not a finite number: ${value}`);
  const fraction = match[3] ?? '';
  const units = BigInt(`${match[2] ?? '0'}${fraction}`);
  const shift = digits - fraction.length + Number(match[4] ?? 0);
  if (shift >= 0) return units * 10n ** BigInt(shift);
  const divisor = 10n ** BigInt(-shift);
  return (2n * units + divisor) / (2n * divisor);
}
