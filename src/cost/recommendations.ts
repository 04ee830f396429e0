import { divideHalfEven } from '../core/money.ts';
import { byBytes, type ChargeSource, type HourRow } from './hour-row.ts';

/** Advice with the money that following it saves a month, and the rows that it rests on. */
export type Recommendation = {
  readonly rule: 'idle_asset' | 'unused_commitment' | 'stranded_mig';
  readonly subject: string;
  readonly nano_usd_per_month: bigint;
  readonly confidence: 'high' | 'medium';
  /** Hours looked at; the wasted share of the money in them (commitments: share of the hours with an unused part). */
  readonly evidence: { readonly hours: number; readonly ratio: number };
};

/** Least hours before a rule speaks: one whole day, so that a night alone is no finding. */
const HOURS_MIN = 24;
/** A week of evidence makes confidence high. */
const HOURS_SURE = 168;
const HOURS_PER_MONTH = 730n;

type Seen = { source: ChargeSource; hours: Set<number>; nano_usd: bigint; idle: bigint; stranded: bigint };

/**
 * Assets that nobody used at all, commitments of which a part is never used, and MIG layouts that strand a tenth or
 * more of their asset, each over at least HOURS_MIN hours. Ascending by subject.
 */
export function recommendationsOf(rows: readonly HourRow[]): Recommendation[] {
  const seen = new Map<string, Seen>();
  for (const row of rows) {
    if (row.correction || (row.source !== 'asset' && row.source !== 'commitment')) continue;
    let held = seen.get(row.asset);
    if (held === undefined)
      seen.set(row.asset, (held = { source: row.source, hours: new Set(), nano_usd: 0n, idle: 0n, stranded: 0n }));
    held.hours.add(row.hour);
    held.nano_usd += row.nano_usd;
    if (row.category === 'idle') held.idle += row.nano_usd;
    if (row.category === 'stranded') held.stranded += row.nano_usd;
  }
  return [...seen]
    .filter(([, of]) => of.hours.size >= HOURS_MIN && of.nano_usd > 0n)
    .sort(([a], [b]) => byBytes(a, b))
    .flatMap(([subject, of]) => {
      if (of.source === 'commitment') return [advice('unused_commitment', subject, of, of.idle)];
      if (of.idle === of.nano_usd) return [advice('idle_asset', subject, of, of.idle)];
      return of.stranded * 10n >= of.nano_usd ? [advice('stranded_mig', subject, of, of.stranded)] : [];
    });
}

function advice(rule: Recommendation['rule'], subject: string, of: Seen, waste: bigint): Recommendation {
  const hours = rule === 'unused_commitment' ? spanOf(of.hours) : of.hours.size;
  const ratio = rule === 'unused_commitment' ? of.hours.size / hours : Number((waste * 1_000_000n) / of.nano_usd) / 1e6;
  return {
    rule,
    subject,
    nano_usd_per_month: divideHalfEven(waste * HOURS_PER_MONTH, BigInt(hours)),
    confidence: hours >= HOURS_SURE ? 'high' : 'medium',
    evidence: { hours, ratio },
  };
}

/** A commitment has rows only in hours with an unused part, so its hours are counted from the first to the last. */
function spanOf(hours: ReadonlySet<number>): number {
  let first = Infinity;
  let last = -Infinity;
  for (const hour of hours) {
    first = Math.min(first, hour);
    last = Math.max(last, hour);
  }
  return last - first + 1;
}
